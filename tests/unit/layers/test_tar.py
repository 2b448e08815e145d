"""The tar reader against archives of `tarfile` and against damaged and hostile bytes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hakobune.errors import InvalidArgument
from hakobune.layers import tar


def chunked(data: bytes, size: int = 700) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def entries(data: bytes, size: int = 700) -> list[tuple[tar.Entry, bytes]]:
    reader = tar.Reader(chunked(data, size))
    return [(entry, b"".join(reader.data())) for entry in reader]


def archive(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as file:
        for info, content in members:
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, **values: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in values.items():
        setattr(info, key, value)
    return info


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(
                st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]),
                min_size=1,
                max_size=150,
            ),
            st.binary(max_size=2000),
            st.integers(0, (1 << 32) - 2),
            st.integers(-(1 << 31), 7_000_000_000),
        ),
        max_size=4,
    ),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.integers(1, 1500),
)
def test_what_tarfile_writes_is_read(
    members: list[tuple[str, bytes, int, int]], form: int, size: int
) -> None:
    items = [
        (member("f/" + name.rstrip("/") + "x", uid=uid, mtime=time), data)
        for name, data, uid, time in members
    ]
    found = entries(archive(*items, form=form), size)
    assert [(e.name, data, e.uid, e.mtime_ns // 10**9) for e, data in found] == [
        (info.name, data, info.uid, info.mtime) for info, data in items
    ]


def test_kinds_and_links() -> None:
    data = archive(
        (member("d", tarfile.DIRTYPE, mode=0o1777), b""),
        (member("s", tarfile.SYMTYPE, linkname="x" * 200), b""),
        (member("h", tarfile.LNKTYPE, linkname="d/y"), b""),
        (member("c", tarfile.CHRTYPE, devmajor=1, devminor=3), b""),
        (member("p", tarfile.FIFOTYPE), b""),
    )
    found = {entry.name.rstrip("/"): entry for entry, _ in entries(data)}
    assert [found[name].kind for name in ("d", "s", "h", "c", "p")] == ["5", "2", "1", "3", "6"]
    assert found["s"].link == "x" * 200
    assert (found["c"].major, found["c"].minor) == (1, 3)
    assert found["d"].mode == 0o1777


def test_pax_attributes_times_and_global_headers() -> None:
    info = member("f", pax_headers={"SCHILY.xattr.user.k": "v", "mtime": "12.25", "comment": "no"})
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", pax_headers={"mtime": "99", "path": "elsewhere"}) as file:
        file.addfile(info, io.BytesIO(b""))
    ((entry, _),) = entries(out.getvalue())
    assert entry.name == "f"
    assert entry.xattrs == {"user.k": b"v"}
    assert entry.mtime_ns == 12_250_000_000


def test_data_that_nobody_reads_is_skipped() -> None:
    data = archive((member("a"), b"x" * 5000), (member("b"), b"y"))
    assert [entry.name for entry in tar.Reader(chunked(data))] == ["a", "b"]


def test_a_slash_at_the_end_of_an_old_name_is_a_directory() -> None:
    ((entry, _),) = entries(archive((member("d/", tarfile.AREGTYPE), b""), form=tarfile.USTAR_FORMAT))
    assert entry.kind == tar.DIRECTORY


def test_an_end_without_end_mark_is_an_end() -> None:
    data = archive((member("a"), b"x"))
    assert len(entries(data[:1024])) == 1


def test_two_zero_blocks_are_an_empty_archive_and_the_rest_is_drained() -> None:
    reader = tar.Reader(chunked(bytes(1024) + b"tail"))
    assert list(reader) == []
    assert reader.drain() == 1028


@pytest.mark.parametrize("data", [b"", b"x", b"<html>" * 200, b"\x7fELF" + bytes(600)])
def test_no_archive(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="not a tar archive"):
        entries(data)


@pytest.mark.parametrize("length", [10, 513, 700, 1300, 2047])
def test_cut_archives(length: int) -> None:
    data = archive((member("a", pax_headers={"k": "v"}), b"x" * 3000))
    with pytest.raises(InvalidArgument):
        entries(data[:length])


@pytest.mark.parametrize(
    "record",
    [b"x", b"999 path=a\n", b"5 a=b\n", b"-1 a=b\n", b"12345678901234 a=b\n", b"6 a=b", b"9 path=\0\n", b"8 uid=x\n",
     b"12 mtime=a.b\n", b"9 size=-\n"],
)  # fmt: skip
def test_malformed_pax(record: bytes) -> None:
    header = member("p", tarfile.XHDTYPE)
    data = archive((header, record), (member("f"), b""), form=tarfile.USTAR_FORMAT)
    with pytest.raises(InvalidArgument):
        entries(data)


def raw_header(name: bytes, kind: bytes, size: int) -> bytearray:
    block = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    block[0:100] = name.ljust(100, b"\0")
    block[156:157] = kind
    block[124:136] = f"{size:011o}\0".encode()
    return block


def signed(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_huge_extension_headers_are_refused_unread(kind: bytes) -> None:
    with pytest.raises(InvalidArgument, match="extension"):
        entries(signed(raw_header(b"p", kind, 0o77777777777)))


def test_unknown_types_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="unknown type"):
        entries(signed(raw_header(b"p", b"Q", 0)) + bytes(1024))


def test_numbers_in_base_256() -> None:
    block = raw_header(b"p", b"0", 0)
    block[108:116] = b"\x80" + (3_000_000_000).to_bytes(7, "big")
    block[136:148] = b"\xff" * 11 + b"\xfe"
    ((entry, _),) = entries(signed(block) + bytes(1024))
    assert (entry.uid, entry.mtime_ns) == (3_000_000_000, -2_000_000_000)


def test_old_sparse_file() -> None:
    block = raw_header(b"p", b"S", 600)
    block[257:265] = b"ustar  \0"
    block[386:410] = b"%011o\0%011o\0" % (0, 512)
    block[410:434] = b"%011o\0%011o\0" % (10000, 88)
    block[483:495] = b"%011o\0" % 20000
    ((entry, data),) = entries(signed(block) + b"a" * 512 + b"b" * 88 + bytes(424 + 1024))
    assert entry.segments == [(0, 512), (10000, 88)]
    assert (entry.size, entry.stored, len(data)) == (20000, 600, 600)


def sparse(headers: dict[str, str], content: bytes) -> tuple[tar.Entry, bytes]:
    ((entry, data),) = entries(archive((member("GNUSparseFile.0/f", pax_headers=headers), content)))
    return entry, data


def test_pax_sparse_0_1() -> None:
    headers = {"GNU.sparse.size": "5000", "GNU.sparse.map": "0,3,4000,2", "GNU.sparse.name": "real"}
    entry, data = sparse(headers, b"abcde")
    assert (entry.name, entry.size, entry.segments, data) == ("real", 5000, [(0, 3), (4000, 2)], b"abcde")


def test_pax_sparse_1_0() -> None:
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "5000",
               "GNU.sparse.name": "real"}  # fmt: skip
    entry, data = sparse(headers, b"2\n0\n3\n4000\n2\n".ljust(512, b"\0") + b"abcde")
    assert (entry.segments, entry.stored, data) == ([(0, 3), (4000, 2)], 5, b"abcde")


@pytest.mark.parametrize(
    "table", ["0,9,4000,2", "0,3,2,2", "0,3,4999,2", "0,3,4", "0,-3", "99999999999999999999,1", "x,1"]
)
def test_wrong_sparse_maps(table: str) -> None:
    with pytest.raises(InvalidArgument):
        sparse({"GNU.sparse.size": "5000", "GNU.sparse.map": table}, b"abcde")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_bytes_raise_nothing_else(data: st.DataObject) -> None:
    good = bytearray(archive((member("a", pax_headers={"k": "v" * 600}), b"x" * 600), (member("b"), b"y")))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        entries(bytes(good))
    except InvalidArgument:
        pass
