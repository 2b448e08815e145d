"""Hostile layers: nothing outside the directory that they are unpacked into changes, and memory and disk are bounded.

Rows: CVE-2014-9356, CVE-2014-6407, CVE-2021-32760, CVE-2025-47290, CVE-2021-29136, tarfile's CVE-2007-4559, 2024-12718, 2025-4138,
2025-4330, 2025-4435 and 2025-4517; CVE-2017-14992 and CVE-2023-25153 for what unpacks to too much.
"""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import gzip
import io
import lzma
import os
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hakobune.containerd.diff import unpack as diff
from hakobune.containerd.transfer.blobs import parse
from hakobune.errors import HakoError, InvalidArgument, ResourceExhausted
from hakobune.layers import decompress, tar
from hakobune.layers.apply import OVERLAY, PLAIN, apply
from hakobune.spec.mount import Mount

pytestmark = pytest.mark.root
KIND = {"file": b"0", "hard link": b"1", "link": b"2", "device": b"3", "directory": b"5", "fifo": b"6"}
MOST_RSS = 96 << 20


def member(name: str, kind: str = "file", data: bytes = b"evil", **values: Any) -> bytes:
    """One member as a hostile tool writes it: tarfile would clean some of these up."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = KIND[kind], len(data) if kind == "file" else 0, 1000
    info.mode = 0o755
    pax = values.pop("pax", {})
    for key, value in values.items():
        setattr(info, key, value)
    head = b""
    if pax:
        head = tarfile.TarInfo._create_pax_generic_header(pax, tarfile.XHDTYPE, "utf-8")  # type: ignore[attr-defined]
    body = data if kind == "file" else b""
    return head + info.tobuf(tarfile.GNU_FORMAT) + body + bytes(-len(body) % tar.BLOCK)


def link(name: str, target: str) -> bytes:
    return member(name, "link", linkname=target)


def hard(name: str, target: str) -> bytes:
    return member(name, "hard link", linkname=target)


END = bytes(2 * tar.BLOCK)
OUT = "../" * 24  # more than the target is deep


def slips(host: str) -> dict[str, bytes]:
    """Archives by what they try, `host` being a directory that they have no business with."""
    return {
        "..": member("../secret"),
        ".. below": member("a/b/../../../secret"),
        ".. as the name": member(".."),
        "absolute": member(host + "/secret"),
        "link, then through it": link("l", host) + member("l/secret"),
        "relative link, then through it": link("l", OUT + host) + member("l/secret"),
        "a chain of links": link("a", "b") + link("b", OUT + host) + member("a/secret"),
        "link in place of a directory": member("d", "directory") + link("d", host) + member("d/secret"),
        "a parent that changes between two members":
            member("d/x") + link("d", host) + member("d/secret") + member("d/x"),
        "link over a file's own name": link("secret", host + "/secret") + member("secret"),
        "hard link out": hard("h", OUT + "secret") + member("h"),
        "hard link to an absolute name": hard("h", host + "/secret") + member("h"),
        "hard link through a link": link("l", host) + hard("h", "l/secret") + member("h"),
        "hard link to a link": link("l", host + "/secret") + hard("h", "l") + member("h"),
        "mode of a link's target": link("d", host) + member("d", "directory", mode=0o777),
        "owner of a link's target": link("secret", host + "/secret") + link("secret", host + "/secret") + member(
            "secret", "hard link", linkname="secret", uid=1234),
        "attribute through a link": link("secret", host + "/secret") + member(
            "secret", "link", linkname=host + "/secret", pax={"SCHILY.xattr.user.evil": "1"}),
        "PAX path": member("fine", pax={"path": OUT + host + "/secret"}),
        "PAX path, absolute": member("fine", pax={"path": host + "/secret"}),
        "PAX link path": member("h", "hard link", linkname="fine", pax={"linkpath": OUT + "secret"}) + member("h"),
        "PAX sparse name": member("fine", pax={
            "GNU.sparse.name": "../secret", "GNU.sparse.size": "4", "GNU.sparse.map": "0,4"}),
        "whiteout": member("../.wh.secret", data=b""),
        "whiteout through a link": link("l", host) + member("l/.wh.secret", data=b""),
        "whiteout of ..": member("d/.wh...", data=b""),
        "whiteout of .": member("d/.wh..", data=b""),
        "whiteout with a slash": member(".wh./../secret", data=b""),
        "opaque through a link": link("l", host) + member("l/.wh..wh..opq", data=b""),
        "whiteout, then through what it left": link("l", host) + member(".wh.l", data=b"") + member("l/secret"),
        "a FIFO that nobody reads": member("f", "fifo") + member("f"),
        "a device, then written to": member("n", "device", devmajor=1, devminor=3) + member("n"),
        "a name of bytes that are no text": member("\udcff/../../secret"),
        "a name too long": member("x" * 5000 + "/../secret"),
        "NUL in a PAX path": member("fine", pax={"path": "a\0/../../secret"}),
    }  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """`root` to unpack into, and beside it what must stay as it is."""
    before = outside(tmp_path)
    yield tmp_path
    assert picture(tmp_path) == before, "something outside the target has changed"


def picture(place: Path) -> dict[str, Any]:
    """Everything that can be seen of what lies outside `root`."""
    found = {}
    for path in (place / "host", place / "host" / "secret", place / "secret"):
        status = path.lstat()
        found[path.name + str(len(path.parts))] = (
            status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_mtime_ns, status.st_ctime_ns,
            os.listxattr(path), path.read_text() if path.is_file() else sorted(os.listdir(path)),
        )  # fmt: skip
    return {**found, "names": sorted(os.listdir(place))}


def outside(place: Path) -> dict[str, Any]:
    """Make `root` and what lies around it; the picture of that."""
    (place / "host").mkdir(parents=True, mode=0o755)
    (place / "host" / "secret").write_text("host")
    (place / "secret").write_text("host")
    (place / "root").mkdir()
    return picture(place)


@pytest.mark.parametrize("whiteouts", [OVERLAY, PLAIN])
@pytest.mark.parametrize("what", slips(""))
def test_nothing_outside_changes(what: str, whiteouts: str, place: Path) -> None:
    archive = slips(str(place / "host"))[what] + END
    with contextlib.suppress(InvalidArgument):
        apply(io.BytesIO(archive), str(place / "root"), whiteouts=whiteouts)


_PARTS = st.sampled_from(
    ("..", ".", "a", "b", "c", "secret", ".wh.a", ".wh.secret", ".wh..wh..opq", ".wh...", "HOST", "")
)
_PATHS = st.lists(_PARTS, min_size=1, max_size=4).map("/".join)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(KIND)), _PATHS, _PATHS), max_size=8),
    st.sampled_from((OVERLAY, PLAIN)),
)
def test_no_sequence_of_members_leads_out(members: list[tuple[str, str, str]], whiteouts: str) -> None:
    with tempfile.TemporaryDirectory(prefix="hk-") as made:
        place = Path(made)
        before = outside(place)

        def name(path: str) -> str:
            return path.replace("HOST", str(place / "host"))

        archive = b"".join(member(name(path), kind, linkname=name(target)) for kind, path, target in members)
        with contextlib.suppress(InvalidArgument):
            apply(io.BytesIO(archive + END), str(place / "root"), whiteouts=whiteouts)
        assert picture(place) == before


@pytest.mark.parametrize(
    "what", ["..", "absolute", "link, then through it", "relative link, then through it", "PAX path"]
)
def test_the_trap_would_spring(what: str, tmp_path: Path) -> None:
    """What a trusting program does with some of these, so that the test above is known to see it."""
    before = outside(tmp_path)
    archive = slips(str(tmp_path / "host"))[what] + END
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        for one in packed:
            packed.extract(one, tmp_path / "root", filter="fully_trusted")
    assert picture(tmp_path) != before


def test_a_tree_that_changes_meanwhile(place: Path) -> None:
    """Somebody swaps a directory for a link to the host while whiteouts and files go through it."""
    root, over = place / "root", threading.Event()
    (root / "d").mkdir()
    layer = b"".join(
        member(f"d/{name}", data=b"x") for name in ("secret", ".wh.secret", "new", ".wh..wh..opq")
    ) * 20 + END  # fmt: skip

    def swap() -> None:
        while not over.is_set():
            os.rename(root / "d", root / "e")
            os.symlink(place / "host", root / "d")
            os.unlink(root / "d")
            os.rename(root / "e", root / "d")

    def trying() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):  # what the other one does is made or gone meanwhile
                swap()

    other = threading.Thread(target=trying)
    other.start()
    tries = 0
    try:
        for tries in range(40):
            with contextlib.suppress(HakoError, OSError):
                apply(io.BytesIO(layer), str(root), whiteouts=PLAIN if tries % 2 else OVERLAY)
    finally:
        over.set()
        other.join()
    assert tries == 39


def mounted(place: Path) -> tuple[Mount, ...]:
    return (Mount("bind", str(place / "root"), options=("rw", "rbind")),)


def used(directory: Path) -> int:
    """Bytes on the disk."""
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*"))


def test_a_layer_may_not_unpack_to_any_size(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff, "_MOST_MORE", 4 << 20)
    bomb = bz2.compress(member("bomb", data=bytes(64 << 20)) + END)
    assert diff.bound(len(bomb)) < 12 << 20
    (place / "root" / "layer").write_bytes(bomb)
    with pytest.raises(ResourceExhausted, match="more than"):
        asyncio.run(diff.unpack(str(place / "root" / "layer"), mounted(place)))
    assert used(place / "root") <= 12 << 20


def xz_of(size: int) -> bytes:
    """A stream that says of itself that a dictionary of `size` (2 ** n bytes) is needed."""
    packed = bytearray(lzma.compress(b"x" * 100, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 4096}]))
    length = 4 * (packed[12] + 1)  # of the block's header, xz-file-format 3.1
    assert packed[14] == 0x21
    packed[16] = 2 * (size.bit_length() - 1 - 12)
    packed[12 + length - 4 : 12 + length] = zlib.crc32(packed[12 : 12 + length - 4]).to_bytes(4, "little")
    return bytes(packed)


def test_a_header_does_not_say_how_much_memory_there_is() -> None:
    """4 GiB of dictionary or window for 100 bytes; what the programs' highest presets make is taken."""
    honest = lzma.compress(bytes(1 << 20), preset=9 | lzma.PRESET_EXTREME)
    assert sum(map(len, decompress.chunks(io.BytesIO(honest)))) == 1 << 20
    assert b"".join(decompress.chunks(io.BytesIO(xz_of(64 << 20)))) == b"x" * 100
    window = bytes.fromhex(
        "28b52ffd" + "00" + f"{21 << 3:02x}" + "090000" + "78"
    )  # RFC 8878: 2 ** 31 bytes, one raw block
    for bomb in (xz_of(1 << 30), xz_of(1 << 31), window):
        with pytest.raises(InvalidArgument, match="is damaged"):
            list(decompress.chunks(io.BytesIO(bomb)))


def test_what_deflate_can_do_is_no_bomb() -> None:
    """The bound refuses no gzip that is honest."""
    zeros = gzip.compress(bytes(64 << 20), 9)
    assert diff.bound(len(zeros)) - diff._MOST_MORE > 64 << 20


def test_memory_does_not_grow_with_the_layer(place: Path) -> None:
    """256 MB of zeros in 256 kB: what the unpacker's own memory was at most, and not what it was before its exec."""
    info = tarfile.TarInfo("f")
    info.size = 256 << 20
    packer = zlib.compressobj(9, wbits=31)
    bomb = packer.compress(info.tobuf(tarfile.GNU_FORMAT))
    for _ in range(256):
        bomb += packer.compress(bytes(1 << 20))
    bomb += packer.compress(END) + packer.flush()
    program = (
        "import sys; from hakobune.cmd.unpack import main; failed = main(sys.argv[1:]);"
        "print(open('/proc/self/status').read()); sys.exit(failed)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, "--target", str(place / "root")],
        input=bomb, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    told = dict(line.split(b":", 1) for line in done.stdout.splitlines() if line.startswith(b"VmHWM"))
    assert int(told[b"VmHWM"].split()[0]) << 10 < MOST_RSS
    assert (place / "root" / "f").stat().st_size == 256 << 20


@pytest.mark.parametrize("size", [1 << 62, 1 << 40])
def test_a_sparse_file_takes_no_more_than_its_data(place: Path, size: int) -> None:
    pax = {"GNU.sparse.size": str(size), "GNU.sparse.map": f"{size - 4},4"}
    with contextlib.suppress(OSError, InvalidArgument):  # larger than the file system has files
        apply(io.BytesIO(member("f", pax=pax) + END), str(place / "root"))
    assert used(place / "root") < 1 << 20


@pytest.mark.parametrize(
    "text", [b"[" * 1_000_000, b'{"a":' * 1_000_000, b'{"a":1' + b"," * 10, b"\xff\xfe{}", b"9" * 5000]
)
def test_a_json_bomb_is_no_document(text: bytes) -> None:
    with pytest.raises(InvalidArgument, match="not JSON"):
        parse(text, "manifest")


def test_capabilities_outlive_the_owner_and_the_mode(place: Path) -> None:
    """chown(2) clears both setuid and security.capability, so they come after it."""
    capability = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
    pax = {"SCHILY.xattr.security.capability": capability.decode("utf-8")}
    apply(io.BytesIO(member("ping", uid=1234, gid=5, mode=0o6755, pax=pax) + END), str(place / "root"))
    found = place / "root" / "ping"
    assert os.getxattr(found, "security.capability") == capability
    assert (stat.S_IMODE(found.stat().st_mode), found.stat().st_uid, found.stat().st_gid) == (0o6755, 1234, 5)
