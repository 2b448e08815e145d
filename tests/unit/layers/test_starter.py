"""The plan of the starter image on made-up hosts: merged /usr with glibc's ways, and busybox with musl's."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from tests.unit.layers.test_elf import make

from hakobune.errors import NotFound
from hakobune.layers import starter


def put(root: Path, path: str, data: bytes, mode: int = 0o755) -> None:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    place.chmod(mode)


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    multi = "usr/lib/x86_64-linux-gnu"
    put(tmp_path, "usr/bin/dash", make(needed=("libc.so.6",), interpreter="/lib64/ld.so"))
    put(tmp_path, "usr/bin/mawk", make(needed=("libc.so.6", "libodd.so"), interpreter="/lib64/ld.so"), 0o4755)
    put(tmp_path, "usr/bin/cat", b"#!/bin/sh\n")
    put(tmp_path, "usr/bin/ls", make(needed=("libmissing.so",)))
    put(tmp_path, f"{multi}/libc.so.6", make(), 0o644)
    put(tmp_path, f"{multi}/ld-2.so", make())
    put(tmp_path, f"{multi}/libnss_files.so.2", make(needed=("libc.so.6",)), 0o644)
    put(tmp_path, "opt/odd/libodd.so.1", make(), 0o644)
    put(tmp_path, "etc/ld.so.conf", b"/opt/odd\n")
    (tmp_path / "opt/odd/libodd.so").symlink_to("libodd.so.1")
    (tmp_path / "usr/lib64").mkdir()
    (tmp_path / "usr/lib64/ld.so").symlink_to("/usr/lib/x86_64-linux-gnu/ld-2.so")
    for name in ("bin", "lib", "lib64"):
        (tmp_path / name).symlink_to("usr/" + name)
    (tmp_path / "usr/bin/sh").symlink_to("dash")
    (tmp_path / "etc/alternatives").mkdir()
    (tmp_path / "etc/alternatives/awk").symlink_to("/usr/bin/mawk")
    (tmp_path / "usr/bin/awk").symlink_to("/etc/alternatives/awk")
    return tmp_path


def test_merged_usr(merged: Path) -> None:
    plan = starter.plan(str(merged), programs=("sh", "awk", "cat", "ls", "nothing"))
    assert plan.programs == ["awk", "sh"]
    assert plan.skipped == {"cat": "a script", "ls": "needs libmissing.so"}
    assert plan.links["/bin"] == "usr/bin"
    assert plan.links["/usr/bin/sh"] == "dash"
    assert plan.links["/usr/bin/awk"] == "mawk"
    assert plan.links["/usr/lib64/ld.so"] == "../lib/x86_64-linux-gnu/ld-2.so"
    assert "/usr/lib/x86_64-linux-gnu/libnss_files.so.2" in plan.files
    assert not any("alternatives" in path for path in (*plan.files, *plan.links))


def test_a_library_known_only_to_the_hosts_cache_is_put_beside_libc(merged: Path) -> None:
    plan = starter.plan(str(merged), programs=("awk",))
    link = plan.links["/usr/lib/x86_64-linux-gnu/libodd.so"]
    assert link == "../../../opt/odd/libodd.so.1"


def test_links_are_never_also_directories(merged: Path) -> None:
    plan = starter.plan(str(merged))
    assert not set(plan.links) & (set(plan.directories) | set(plan.files) | set(plan.texts))


def test_stream_is_deterministic_and_clean(merged: Path) -> None:
    first, second = io.BytesIO(), io.BytesIO()
    starter.write_tar(first, root=str(merged))
    (merged / "usr/bin/dash").touch()
    starter.write_tar(second, root=str(merged))
    assert first.getvalue() == second.getvalue()
    first.seek(0)
    with tarfile.open(fileobj=first) as archive:
        found = {info.name: info for info in archive}
    assert found["usr/bin/mawk"].mode == 0o755
    assert found["tmp"].mode == 0o1777
    assert {(info.uid, info.gid, info.mtime) for info in found.values()} == {(0, 0, 1704067200)}
    assert not any(".." in name or name.startswith("/") for name in found)


def test_busybox_and_musl(tmp_path: Path) -> None:
    table = (
        make(interpreter="/lib/ld-musl-x86_64.so.1", needed=("libc.musl-x86_64.so.1",))
        + b"\0cat\0id\0ls\0sh\0"
    )
    put(tmp_path, "bin/busybox", table)
    put(tmp_path, "lib/ld-musl-x86_64.so.1", make())
    (tmp_path / "lib/libc.musl-x86_64.so.1").symlink_to("ld-musl-x86_64.so.1")
    for name in ("sh", "ls"):
        (tmp_path / "bin" / name).symlink_to("/bin/busybox")
    plan = starter.plan(str(tmp_path))
    assert set(plan.programs) >= {"sh", "ls", "cat", "id", "busybox"}
    assert plan.links["/bin/sh"] == "busybox"
    assert plan.links["/lib/libc.musl-x86_64.so.1"] == "ld-musl-x86_64.so.1"
    assert plan.directories["/bin"] == 0o755


def test_any_shell_will_do(tmp_path: Path) -> None:
    put(tmp_path, "usr/bin/bash", make())
    plan = starter.plan(str(tmp_path), programs=("bash",))
    assert plan.links["/bin/sh"] == "../usr/bin/bash"


def test_no_shell(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        starter.plan(str(tmp_path))
