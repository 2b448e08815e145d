"""ELF headers read from made-up files, and the search for libraries in a made-up root."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import pytest

from hakobune.errors import InvalidArgument
from hakobune.layers import elf

X86_64 = 62


def make(
    *,
    needed: tuple[str, ...] = (),
    interpreter: str = "",
    runpath: str = "",
    rpath: str = "",
    machine: int = X86_64,
    wide: bool = True,
) -> bytes:
    """A minimal little-endian ELF file: headers, string table, dynamic section, nothing to run."""
    strings = bytearray(b"\0")

    def text(value: str) -> int:
        at = len(strings)
        strings.extend(value.encode() + b"\0")
        return at

    dynamic = [(1, text(name)) for name in needed]
    dynamic += [(15, text(rpath))] if rpath else []
    dynamic += [(29, text(runpath))] if runpath else []
    head, entry, unit = (64, 56, "<qQ") if wide else (52, 32, "<iI")
    base, address = head + 3 * entry, 0x10000
    interp = interpreter.encode() + b"\0"
    strings_at = base + len(interp)
    dynamic += [(5, address + strings_at), (0, 0)]
    table = b"".join(struct.pack(unit, *pair) for pair in dynamic)
    table_at = strings_at + len(strings)
    total = table_at + len(table)
    wanted = [(1, 0, address, total), (2, table_at, address + table_at, len(table)),
              (3 if interpreter else 0, base, address + base, len(interp))]  # fmt: skip
    if wide:
        segments = b"".join(struct.pack("<IIQQQQQQ", k, 4, o, a, a, s, s, 8) for k, o, a, s in wanted)
        header = struct.pack(
            "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, machine, 1, 0, 64, 0, 0, 64, 56, 3, 0, 0, 0
        )
    else:
        segments = b"".join(struct.pack("<IIIIIIII", k, o, a, a, s, s, 4, 8) for k, o, a, s in wanted)
        header = struct.pack(
            "<16sHHIIIIIHHHHHH", b"\x7fELF\1\1\1", 3, machine, 1, 0, 52, 0, 0, 52, 32, 3, 0, 0, 0
        )
    return header + segments + interp + bytes(strings) + table


@pytest.mark.parametrize("wide", [True, False])
def test_read(wide: bool) -> None:
    data = make(needed=("a.so", "b.so"), interpreter="/ld", runpath="/x:$ORIGIN/y", wide=wide)
    found = elf.read(io.BytesIO(data))
    assert found == elf.Object((X86_64, 2 if wide else 1), "/ld", ("a.so", "b.so"), (), ("/x", "$ORIGIN/y"))


def test_static_file_needs_nothing() -> None:
    assert elf.read(io.BytesIO(make())).needed == ()


@pytest.mark.parametrize(
    "data", [b"", b"#!/bin/sh\n" * 20, b"\x7fELF\2\1" + bytes(10), b"\x7fELF\2\1\1" + b"\xff" * 100]
)
def test_no_elf(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        elf.read(io.BytesIO(data))


def test_this_interpreter() -> None:
    with Path(sys.executable).resolve().open("rb") as file:
        assert elf.read(file).interpreter.startswith("/")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("lib", "usr/lib", "opt/app/lib", "bin", "etc", "usr/lib/x86_64-linux-gnu"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def put(root: Path, path: str, data: bytes) -> None:
    (root / path.lstrip("/")).write_bytes(data)


def closure(root: Path, program: str) -> dict[str, str]:
    return elf.Libraries(elf.Root(str(root))).closure(program)


def test_closure_is_recursive_and_has_the_loader(root: Path) -> None:
    put(root, "/bin/p", make(needed=("a.so",), interpreter="/lib/ld.so"))
    put(root, "/lib/a.so", make(needed=("b.so",)))
    put(root, "/usr/lib/x86_64-linux-gnu/b.so", make(needed=("a.so",)))
    put(root, "/lib/ld.so", make())
    assert closure(root, "/bin/p") == {
        "/lib/ld.so": "/lib/ld.so", "a.so": "/lib/a.so", "b.so": "/usr/lib/x86_64-linux-gnu/b.so"}  # fmt: skip


def test_runpath_with_origin_comes_first_and_is_not_inherited(root: Path) -> None:
    put(root, "/bin/p", make(needed=("a.so", "c.so"), runpath="$ORIGIN/../opt/app/lib"))
    put(root, "/opt/app/lib/a.so", make(needed=("b.so",)))
    put(root, "/lib/a.so", make())
    put(root, "/opt/app/lib/b.so", make())
    libraries = elf.Libraries(elf.Root(str(root)))
    assert libraries.closure("/bin/p") == {"a.so": "/opt/app/lib/a.so"}
    assert libraries.missing("/bin/p") == ["b.so", "c.so"]


def test_rpath_is_inherited(root: Path) -> None:
    put(root, "/bin/p", make(needed=("a.so",), rpath="/opt/app/lib"))
    put(root, "/opt/app/lib/a.so", make(needed=("b.so",)))
    put(root, "/opt/app/lib/b.so", make())
    assert closure(root, "/bin/p")["b.so"] == "/opt/app/lib/b.so"


def test_libraries_of_another_machine_are_passed_over(root: Path) -> None:
    put(root, "/bin/p", make(needed=("a.so",)))
    put(root, "/usr/lib/x86_64-linux-gnu/a.so", make(machine=183))
    put(root, "/lib/a.so", make(wide=False, machine=3))
    put(root, "/usr/lib/a.so", make())
    assert closure(root, "/bin/p") == {"a.so": "/usr/lib/a.so"}


def test_ld_so_conf_with_include(root: Path) -> None:
    (root / "etc/ld.so.conf").write_text("# c\ninclude ld.so.conf.d/*.conf\n")
    (root / "etc/ld.so.conf.d").mkdir()
    (root / "etc/ld.so.conf.d/x.conf").write_text("/opt/app/lib\n")
    put(root, "/bin/p", make(needed=("a.so",)))
    put(root, "/opt/app/lib/a.so", make())
    assert closure(root, "/bin/p") == {"a.so": "/opt/app/lib/a.so"}


def test_follow_stays_inside(root: Path) -> None:
    (root / "etc/up").symlink_to("../../../../bin")
    (root / "etc/abs").symlink_to("/etc/up")
    (root / "etc/loop").symlink_to("loop")
    view = elf.Root(str(root))
    (root / "bin/p").write_text("x")
    links = {"/etc/abs": "/etc/up", "/etc/up": "../../../../bin"}
    assert view.follow("/etc/abs/p") == ("/bin/p", links)
    assert not view.exists("/etc/loop")
    assert not view.exists("/none")
