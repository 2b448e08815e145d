"""What is written is what is read: by our own reader, and by the standard library's."""

from __future__ import annotations

import io
import os
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from hakobune.layers import tar
from hakobune.layers.members import Writer
from hakobune.layers.tar import Entry

NAMES = st.text("abc. é\n舟\t𝒳", min_size=1, max_size=150)
IDS = st.integers(0, 2**32 - 2)
TIMES = st.integers(-(10**18), 6 * 10**18)
XATTRS = st.dictionaries(
    st.from_regex(r"user\.[a-z.]{1,20}", fullmatch=True), st.binary(max_size=100), max_size=3
)


@st.composite
def entries(draw: st.DrawFn) -> tuple[Entry, bytes]:
    kind = draw(
        st.sampled_from([tar.REGULAR, tar.DIRECTORY, tar.SYMLINK, tar.HARD_LINK, tar.FIFO, tar.CHARACTER])
    )
    name = draw(NAMES)
    made = Entry(
        name, kind, draw(st.integers(0, 0o7777)), draw(IDS), draw(IDS), draw(TIMES), xattrs=draw(XATTRS)
    )
    data = draw(st.binary(max_size=1500)) if kind == tar.REGULAR else b""
    made.size = len(data)
    if kind in (tar.SYMLINK, tar.HARD_LINK):
        made.link = draw(NAMES)
    if kind == tar.CHARACTER:
        made.major, made.minor = draw(st.integers(0, 4095)), draw(st.integers(0, 2**20 - 1))
    return made, data


def written(*members: tuple[Entry, bytes]) -> bytes:
    out = io.BytesIO()
    writer = Writer(out)
    for entry, data in members:
        writer.add(entry, iter([data[:700], data[700:]]))
    writer.close()
    return out.getvalue()


@given(st.lists(entries(), max_size=4))
def test_our_reader_reads_it(members: list[tuple[Entry, bytes]]) -> None:
    reader = tar.Reader(iter([written(*members)]))
    for (entry, data), found in zip(members, reader, strict=True):
        assert b"".join(reader.data()) == data
        assert found.name.rstrip("/") == entry.name.rstrip("/")
        for fact in ("kind", "mode", "uid", "gid", "mtime_ns", "size", "link", "major", "minor", "xattrs"):
            assert getattr(found, fact) == getattr(entry, fact), fact


@given(st.lists(entries(), max_size=4))
def test_the_standard_library_reads_it(members: list[tuple[Entry, bytes]]) -> None:
    with tarfile.open(fileobj=io.BytesIO(written(*members))) as archive:
        for (entry, data), found in zip(members, archive, strict=True):
            assert os.fsencode(found.name).rstrip(b"/") == os.fsencode(entry.name).rstrip(b"/")
            assert (found.mode, found.uid, found.gid) == (entry.mode, entry.uid, entry.gid)
            if entry.kind == tar.REGULAR:
                assert (archive.extractfile(found) or io.BytesIO()).read() == data


def test_a_file_that_changed_its_size_while_it_was_read() -> None:
    """The archive stays whole: zeros for what is missing, nothing of what is too much."""
    for data, stored in ((b"short", b"short\0\0\0"), (b"much too long", b"much too")):
        out = io.BytesIO()
        writer = Writer(out)
        writer.add(Entry("f", tar.REGULAR, 0o644, 0, 0, 0, size=8), iter([data]))
        writer.add(Entry("next", tar.DIRECTORY, 0o755, 0, 0, 0))
        writer.close()
        with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
            assert archive.getnames() == ["f", "next"]
            assert (archive.extractfile("f") or io.BytesIO()).read() == stored


def test_sizes_beyond_eleven_octal_digits() -> None:
    from hakobune.layers.members import header

    found = tarfile.TarInfo.frombuf(
        header(Entry("f", tar.REGULAR, 0o644, 0, 0, 0, size=8**11))[:512], "utf-8", "strict"
    )
    assert found.type == b"x"
    assert b"size=8589934592\n" in header(Entry("f", tar.REGULAR, 0o644, 0, 0, 0, size=8**11))
