"""What changed in a directory, as a layer: removals, links, attributes; and nothing from outside of it."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from hakobune.layers import walk
from hakobune.layers.pack import Packer

OUTSIDE = "a secret of the host"


def packed(old: Path | None, new: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(stream(old, new))) as archive:
        return {member.name: member for member in archive}


def stream(old: Path | None, new: Path) -> bytes:
    out = io.BytesIO()
    packer = Packer(out)
    if old is None:
        packer.upper(str(new))
    else:
        packer.changes(str(old), str(new))
    packer.close()
    return out.getvalue()


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("old", "new"):
        (tmp_path / name / "dir").mkdir(parents=True)
        for file in ("same", "dir/same"):
            (tmp_path / name / file).write_text("same")
            os.utime(tmp_path / name / file, (5, 5))
    return tmp_path / "old", tmp_path / "new"


def test_two_directories(two: tuple[Path, Path]) -> None:
    old, new = two
    (old / "gone").write_text("x")
    (old / "dir" / "tree").mkdir()
    (old / "dir" / "tree" / "leaf").write_text("x")
    (new / "dir" / "fresh").write_text("data")
    os.link(new / "dir" / "fresh", new / "twin")
    (new / "link").symlink_to("/etc/passwd")
    found = packed(old, new)
    assert set(found) == {".wh.gone", "dir/.wh.tree", "dir/fresh", "twin", "link"}
    assert (found["twin"].type, found["twin"].linkname) == (tarfile.LNKTYPE, "dir/fresh")
    assert found["link"].linkname == "/etc/passwd"


def test_nothing_changed_is_the_empty_archive(two: tuple[Path, Path]) -> None:
    """Its digest is the one that every tool knows."""
    digest = hashlib.sha256(stream(*two)).hexdigest()
    assert digest == "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"


def test_content_counts_where_time_and_size_do_not_tell(two: tuple[Path, Path]) -> None:
    old, new = two
    (new / "same").write_text("emas")
    (new / "dir" / "same").write_text("same")  # another time, and nothing else
    assert set(packed(old, new)) == {"same"}


def test_a_link_in_the_old_tree_does_not_lead_out(two: tuple[Path, Path], tmp_path: Path) -> None:
    """It is a directory now: what is in it is new, whatever lies where the link led to."""
    old, new = two
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "file").write_text("same")
    os.utime(tmp_path / "host" / "file", (5, 5))
    (old / "way").symlink_to(tmp_path / "host")
    (new / "way").mkdir()
    (new / "way" / "file").write_text("same")
    os.utime(new / "way" / "file", (5, 5))
    assert {"way", "way/file"} <= set(packed(old, new))


def test_a_directory_that_becomes_a_link_while_we_look(tmp_path: Path) -> None:
    """As a running container may do it: nothing of the host gets into the layer."""
    host, new = tmp_path / "host", tmp_path / "new"
    (host / "deep").mkdir(parents=True)
    (host / "deep" / "secret").write_text(OUTSIDE)
    (new / "a" / "deep").mkdir(parents=True)
    (new / "a" / "deep" / "secret").write_text("the container's own")
    root = os.open(new, os.O_RDONLY)
    seen = []
    for found in walk.walk(root):
        if found.path == "a":
            (new / "a").rename(new / "away")
            (new / "a").symlink_to(host)
        seen.append((found.path, b"".join(walk.content(found)) if found.name == "secret" else b""))
    os.close(root)
    assert OUTSIDE.encode() not in [data for _, data in seen]
    assert "a/deep/secret" not in dict(seen)


def test_a_file_that_becomes_a_link_or_goes(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(OUTSIDE)
    new = tmp_path / "new"
    new.mkdir()
    for name in ("f", "g", "h"):
        (new / name).write_text("own")
    root = os.open(new, os.O_RDONLY)
    seen = {}
    for found in walk.walk(root):
        if found.name == "f":
            (new / "f").unlink()
            (new / "f").symlink_to(tmp_path / "secret")
            (new / "h").unlink()
        seen[found.name] = b"".join(walk.content(found))
    os.close(root)
    assert seen == {"f": b"", "g": b"own"}


@pytest.mark.root
def test_an_upper_directory(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    os.setxattr(tmp_path / "dir", "trusted.overlay.opaque", b"y")
    os.setxattr(tmp_path / "dir", "user.note", b"\xff\x00")
    os.mknod(tmp_path / "gone", 0o020000, 0)
    found = packed(None, tmp_path)
    assert set(found) == {"dir", "dir/.wh..wh..opq", ".wh.gone"}
    assert [name for name in found["dir"].pax_headers if name.startswith("SCHILY")] == [
        "SCHILY.xattr.user.note"
    ]
