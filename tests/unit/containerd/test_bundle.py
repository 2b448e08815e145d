"""Bundles on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from hakobune.containerd.tasks.bundle import Bundle, left_behind
from hakobune.errors import InvalidArgument, ResourceExhausted


def test_made_found_and_removed(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    bundle = Bundle.of(str(tmp_path), "ns", "one")
    bundle.create(b'{"x": 1}')
    assert Path(bundle.path, "config.json").read_bytes() == b'{"x": 1}'
    assert Path(bundle.path, "address").read_text() == f"unix://{bundle.socket}"
    assert list(left_behind(str(tmp_path))) == [bundle]
    Path(bundle.path, "junk").touch()
    bundle.create(b"{}")  # in place of what a crash left
    assert not Path(bundle.path, "junk").exists()
    bundle.remove()
    bundle.remove()
    assert list(left_behind(str(tmp_path))) == []


def test_files_of_record(tmp_path: Path) -> None:
    bundle = Bundle.of(str(tmp_path), "ns", "one")
    bundle.create(b"{}")
    assert (bundle.cgroup(), bundle.pid(), bundle.exit_status()) == ("", 0, None)
    Path(bundle.path, "cgroup").write_text("/docker/x")
    Path(bundle.path, "init.pid").write_text("42")
    assert (bundle.cgroup(), bundle.pid()) == ("/docker/x", 42)
    status, at = bundle.record_exit(137)
    assert bundle.exit_status() == (status, at)
    assert bundle.record_exit(1) == (137, at)
    Path(bundle.path, "exit_status").write_text("garbage")
    assert bundle.exit_status() is None


def test_one_socket_for_each_name_and_none_too_long(tmp_path: Path) -> None:
    sockets = {Bundle.of("/run/x", ns, name).socket for ns in "ab" for name in ("one", "two")}
    assert len(sockets) == 4
    with pytest.raises(InvalidArgument):
        Bundle.of("/" + "x" * 100, "ns", "one")


def test_no_room_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(ResourceExhausted):
        Bundle.of(str(blocked), "ns", "one").create(b"{}")
