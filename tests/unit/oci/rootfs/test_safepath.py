"""Paths in a root full of traps: nothing is opened or made outside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hakobune.oci.rootfs import safepath


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "secret").write_text("host")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (root / "up").symlink_to("../../../../../../host")
    (root / "abs").symlink_to(str(tmp_path / "host"))
    (root / "magic").symlink_to("/proc/self/root")
    (root / "inside").symlink_to("/etc")
    os.mkfifo(root / "fifo")
    return root


@pytest.fixture
def root(tree: Path) -> Iterator[int]:
    fd = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("path", ["/up/secret", "/abs/secret", "/../host/secret", "up/../../host/secret"])
def test_no_way_out(root: int, path: str) -> None:
    with pytest.raises(OSError, match="No such file"):
        safepath.open_path(root, path)


def test_links_resolve_inside(root: int, tree: Path) -> None:
    fd = safepath.open_path(root, "/inside/passwd", os.O_RDONLY)
    assert os.fstat(fd).st_ino == (tree / "etc/passwd").stat().st_ino
    os.close(fd)


@pytest.mark.parametrize("path", ["/a/b/c", "/inside/new", "/", "/etc", "abs/x"])
def test_directories_are_made_inside(root: int, tree: Path, path: str) -> None:
    before = sorted(os.listdir(tree.parent / "host"))
    try:
        fd = safepath.ensure_directory(root, path)
    except OSError:
        assert path == "abs/x"  # a dangling link is not followed to the host
    else:
        assert os.readlink(f"/proc/self/fd/{fd}").startswith(str(tree))
        os.close(fd)
    assert sorted(os.listdir(tree.parent / "host")) == before


def test_files_are_made_inside(root: int, tree: Path) -> None:
    for path in ("/x/y", "/x/y", "/inside/hosts"):
        fd = safepath.ensure_file(root, path)
        assert os.readlink(f"/proc/self/fd/{fd}").startswith(str(tree))
        os.close(fd)
    assert (tree / "etc" / "hosts").exists()


def test_read_small(root: int, tree: Path) -> None:
    assert safepath.read_small(root, "/etc/passwd").startswith(b"root:")
    assert safepath.read_small(root, "/etc/passwd", 4) == b"root"
    for path in ("/fifo", "/etc", "/none", "/up/secret", "/magic/etc/passwd"):
        assert safepath.read_small(root, path) == b""
