"""A directory is what its layer unpacks to, or each difference is told."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hakobune.layers.apply import apply
from hakobune.layers.verify import differences

pytestmark = pytest.mark.root


def layer() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, data, link in (
            ("d", tarfile.DIRTYPE, b"", ""), ("d/f", tarfile.REGTYPE, b"data", ""), ("d/twin", tarfile.LNKTYPE, b"", "d/f"),
            ("l", tarfile.SYMTYPE, b"", "/etc/passwd"), ("p", tarfile.FIFOTYPE, b"", ""), ("dev", tarfile.CHRTYPE, b"", ""),
            ("implied/x/y", tarfile.REGTYPE, b"1", ""), ("twice", tarfile.DIRTYPE, b"", ""),
            ("twice/in", tarfile.REGTYPE, b"", ""), ("twice", tarfile.REGTYPE, b"now a file", ""),
            (".wh.gone", tarfile.REGTYPE, b"", ""), ("d/.wh..wh..opq", tarfile.REGTYPE, b"", ""),
        ):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size, member.mode = kind, link, len(data), 0o755
            member.devmajor, member.devminor, member.uid = (1, 3, 5) if kind == tarfile.CHRTYPE else (0, 0, 5)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    apply(io.BytesIO(layer()), str(tmp_path))
    return tmp_path


def found(directory: Path) -> list[str]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return list(differences(io.BytesIO(layer()), fd))
    finally:
        os.close(fd)


def test_what_was_unpacked_is_the_layer(unpacked: Path) -> None:
    assert found(unpacked) == []


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (lambda top: (top / "d/f").write_text("atad"), "/d/f: has another content"),
        (lambda top: (top / "d/f").chmod(0o700), "/d/f: has mode 700, not 755"),
        (lambda top: os.chown(top / "d", 0, 0), "/d: belongs to 0:0, not to 5:0"),
        (lambda top: ((top / "l").unlink(), (top / "l").symlink_to("/")), "/l: belongs to 0:0, not to 5:0"),
        (lambda top: (top / "p").unlink(), "/p is missing"),
        (lambda top: ((top / "p").unlink(), (top / "p").touch()), "/p: is another kind of file"),
        (lambda top: (top / "more").touch(), "/more is not in the layer"),
        (lambda top: (top / "implied/more").touch(), "/implied/more is not in the layer"),
        (lambda top: (top / "gone").unlink(), "/gone is missing"),
        (lambda top: ((top / "gone").unlink(), (top / "gone").touch()), "/gone: removal and file are mixed up"),
        (lambda top: os.removexattr(top / "d", "trusted.overlay.opaque"), "/d does not hide what is below any more"),
        (lambda top: ((top / "dev").unlink(), os.mknod(top / "dev", 0o20755, os.makedev(1, 5)), os.chown(top / "dev", 5, 0)),
         "/dev: is another device"),
    ],
)  # fmt: skip
def test_each_difference(unpacked: Path, alter: Callable[[Path], object], said: str) -> None:
    alter(unpacked)
    assert said in found(unpacked)
