"""Unpacking: what a layer may hold arrives, what is hostile stays inside or is refused."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import tarfile
from pathlib import Path
from typing import Any

import pytest

from hakobune.errors import InvalidArgument, ResourceExhausted
from hakobune.layers import apply as layer
from hakobune.layers.apply import PLAIN, apply, clean

pytestmark = pytest.mark.root

Member = tuple[str, bytes, dict[str, Any], bytes]


def file(name: str, content: bytes = b"x", **values: Any) -> Member:
    return name, tarfile.REGTYPE, values, content


def directory(name: str, **values: Any) -> Member:
    return name, tarfile.DIRTYPE, {"mode": 0o755, **values}, b""


def symlink(name: str, target: str) -> Member:
    return name, tarfile.SYMTYPE, {"linkname": target}, b""


def hard_link(name: str, target: str) -> Member:
    return name, tarfile.LNKTYPE, {"linkname": target}, b""


def archive(*members: Member) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as packed:
        for name, kind, values, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mtime = kind, len(content), 1000
            for key, value in values.items():
                setattr(info, key, value)
            packed.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty target beside a file that must never change."""
    (tmp_path / "secret").write_text("host")
    target = tmp_path / "root"
    target.mkdir()
    return target


def unpack(root: Path, *members: Member, **options: Any) -> layer.Applied:
    return apply(io.BytesIO(archive(*members)), str(root), **options)


def assert_untouched(root: Path) -> None:
    assert sorted(path.name for path in root.parent.iterdir()) == ["root", "secret"]
    assert (root.parent / "secret").read_text() == "host"
    assert (root.parent / "secret").stat().st_nlink == 1


def test_everything_a_layer_may_hold(root: Path) -> None:
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    done = unpack(
        root,
        directory("d", mode=0o1777, uid=7, gid=8, mtime=5),
        file("d/f", b"content", mode=0o4755, uid=1000, gid=2**31, mtime=77),
        file("d/cap", pax_headers={"SCHILY.xattr.security.capability": capability.decode("latin-1")}),
        hard_link("d/h", "d/f"),
        symlink("abs", "/etc/passwd"),
        ("null", tarfile.CHRTYPE, {"devmajor": 1, "devminor": 3, "mode": 0o666}, b""),
        ("pipe", tarfile.FIFOTYPE, {"mode": 0o600}, b""),
    )
    status = (root / "d/f").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o4755, 1000, 2**31)
    assert (status.st_mtime, status.st_nlink) == (77, 2)
    assert (root / "d").stat().st_mtime == 5
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o1777
    assert os.readlink(root / "abs") == "/etc/passwd"
    assert (root / "null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO((root / "pipe").stat().st_mode)
    assert len(os.getxattr(root / "d/cap", "security.capability")) == 20
    assert done.content == 8


def test_digest_and_size_are_those_of_the_whole_stream(root: Path) -> None:
    data = archive(file("a")) + b"behind the end"
    done = apply(io.BytesIO(data), str(root))
    assert done.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert done.size == len(data)


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "..", "/../secret"])
def test_names_that_lead_out_are_refused(root: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="leads out"):
        unpack(root, file(name))
    assert_untouched(root)


def test_absolute_and_winding_names_stay_inside(root: Path) -> None:
    unpack(root, file("/etc/a"), file("./b//c"), file("x/../d"))
    assert [(root / name).exists() for name in ("etc/a", "b/c", "d")] == [True] * 3


@pytest.mark.parametrize("target", ["..", "../..", "/"])
def test_parents_that_are_links_are_followed_inside_only(root: Path, target: str) -> None:
    unpack(root, symlink("link", target), file("link/secret", b"evil"))
    assert_untouched(root)


@pytest.mark.parametrize("target", ["/proc/self/root", "../root/..", "link"])
def test_parents_that_are_links_to_nowhere_are_refused(root: Path, target: str) -> None:
    with pytest.raises(InvalidArgument):
        unpack(root, symlink("link", target), file("link/secret", b"evil"))
    assert_untouched(root)


def test_a_link_to_the_host_is_replaced_not_followed(root: Path) -> None:
    (root / "f").symlink_to(root.parent / "secret")
    unpack(root, file("f", b"new"))
    assert (root / "f").read_text() == "new"
    assert not (root / "f").is_symlink()
    assert_untouched(root)


@pytest.mark.parametrize("target", ["../secret", "/../secret", "missing", "", "."])
def test_hard_links_out_or_nowhere_are_refused(root: Path, target: str) -> None:
    with pytest.raises(InvalidArgument):
        unpack(root, hard_link("h", target))
    assert_untouched(root)


def test_a_hard_link_to_a_link_is_that_link(root: Path) -> None:
    unpack(root, symlink("s", "../secret"), hard_link("h", "s"), file("h", b"new"))
    assert (root / "h").read_text() == "new"
    assert_untouched(root)


def test_a_hard_link_to_itself_and_to_a_directory(root: Path) -> None:
    unpack(root, file("f"), hard_link("f", "f"))
    assert (root / "f").read_text() == "x"
    with pytest.raises(InvalidArgument, match="directory"):
        unpack(root, directory("d"), hard_link("e", "d"))


def test_a_name_may_change_its_kind(root: Path) -> None:
    unpack(root, directory("a/b/c"), file("a/b/f"), file("a", b"now a file"), directory("a"), symlink("a", "x"),
           directory("a"), file("a/z"))  # fmt: skip
    assert os.listdir(root / "a") == ["z"]


def test_a_directory_that_is_there_keeps_its_content(root: Path) -> None:
    unpack(root, file("d/f"), directory("d", mode=0o700))
    assert (root / "d/f").exists()
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o700


def test_deep_trees_are_removed_without_a_deep_stack(root: Path) -> None:
    step = "/".join(["d"] * 900)
    links = [symlink(f"l{level + 1}", f"l{level}/{step}") for level in range(1)]
    unpack(root, symlink("l0", "t"), directory("t"), *links, directory(f"t/{step}"), directory(f"l1/{step}"),
           file(f"l1/{step}/f"), file("t", b"flat"))  # fmt: skip
    assert (root / "t").read_text() == "flat"


@pytest.mark.parametrize("owner", [{"uid": 2**32 - 1}, {"gid": 2**32}, {"uid": 2**40}])
def test_owners_that_would_wrap_are_refused(root: Path, owner: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument, match="owner"):
        unpack(root, file("f", **owner))


def test_names_too_long_are_refused(root: Path) -> None:
    with pytest.raises(InvalidArgument, match="too long"):
        unpack(root, file("n" * 256))


def test_a_file_as_parent_is_refused(root: Path) -> None:
    with pytest.raises(InvalidArgument):
        unpack(root, file("f"), file("f/g"))


def test_attributes_of_overlayfs_are_dropped(root: Path) -> None:
    headers = {"SCHILY.xattr.trusted.overlay.redirect": "/x", "SCHILY.xattr.trusted.mine": "kept"}
    unpack(root, directory("d", pax_headers=headers))
    assert os.listxattr(root / "d") == ["trusted.mine"]


def test_an_attribute_with_a_nul_in_its_name(root: Path) -> None:
    with pytest.raises(InvalidArgument):
        unpack(root, file("f", pax_headers={"SCHILY.xattr.user.a\0b": "x"}))


def test_sparse_file(root: Path) -> None:
    headers = {"GNU.sparse.size": str(1 << 30), "GNU.sparse.map": f"0,3,{1 << 29},2", "GNU.sparse.name": "f"}
    unpack(root, file("fake", b"abcde", pax_headers=headers))
    status = (root / "f").stat()
    assert status.st_size == 1 << 30
    assert status.st_blocks < 100
    with (root / "f").open("rb") as opened:
        opened.seek(1 << 29)
        assert opened.read(3) == b"de\0"


def test_missing_parents_look_like_those_below(root: Path, tmp_path: Path) -> None:
    lower = root / ".." / "secret"
    lower.unlink()
    lower.mkdir()
    (lower / "a").mkdir(mode=0o700)
    os.chown(lower / "a", 5, 6)
    unpack(root, file("a/b/f"), lowers=lambda: [str(lower)])
    assert (root / "a").stat().st_uid == 5
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o700
    assert stat.S_IMODE((root / "a/b").stat().st_mode) == 0o755


def is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def opaque(path: Path) -> bool:
    return "trusted.overlay.opaque" in os.listxattr(path)


def test_whiteouts_for_overlay(root: Path) -> None:
    unpack(root, directory("d"), file("d/.wh.gone"), directory("o"), file("o/.wh..wh..opq"), file("o/f"),
           file(".wh..wh.plnk/1.2"), file("e/.wh..wh.aufs"))  # fmt: skip
    assert is_whiteout(root / "d/gone")
    assert opaque(root / "o")
    assert not opaque(root / "d")


def test_whiteouts_speak_of_lower_layers_only(root: Path) -> None:
    unpack(root, file("f", b"mine"), file(".wh.f"), directory("d"), file("d/x"), file(".wh.d"))
    assert (root / "f").read_text() == "mine"
    assert (root / "d/x").exists()
    assert opaque(root / "d")


def test_what_replaces_a_whiteout_hides_what_is_below(root: Path) -> None:
    unpack(root, file(".wh.d"), directory("d"), file(".wh.f"), file("f", b"new"))
    assert opaque(root / "d")
    assert (root / "f").read_text() == "new"


def test_plain_whiteouts_are_carried_out(root: Path) -> None:
    unpack(root, file("a"), file("d/x"), file("d/sub/y"), file("d/sub/keep/z"), file("e"))
    unpack(root, file(".wh.a"), file("d/sub/mine"), file("d/.wh..wh..opq"), file("d/new"), whiteouts=PLAIN)
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert found == ["d/new", "d/sub/mine", "e"]


@pytest.mark.parametrize("name", [".wh.", "d/.wh..", "d/.wh..."])
def test_whiteouts_of_nothing_are_refused(root: Path, name: str) -> None:
    with pytest.raises(InvalidArgument):
        unpack(root, directory("d"), file(name))
    assert_untouched(root)


def test_a_whiteout_through_a_link_stays_inside(root: Path) -> None:
    unpack(root, symlink("l", ".."), file("l/.wh.secret"), whiteouts=PLAIN)
    assert_untouched(root)


def test_limit(root: Path) -> None:
    with pytest.raises(ResourceExhausted, match="more than"):
        unpack(root, file("f", bytes(1 << 20)), most=1 << 19)


def test_disk_full_is_told_apart(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(layer, "write_all", full)
    with pytest.raises(ResourceExhausted, match="no space left"):
        unpack(root, file("f"))


def test_descriptors_are_closed(root: Path) -> None:
    before = os.listdir("/proc/self/fd")
    unpack(root, file("a/b/c"), file("d"), symlink("s", "a"))
    with pytest.raises(InvalidArgument):
        unpack(root, file("../x"))
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    ("name", "expected"), [("a/b", "a/b"), ("/a/./b/", "a/b"), ("", ""), ("./", ""), ("a/..", "")]
)
def test_clean(name: str, expected: str) -> None:
    assert clean(name) == expected
