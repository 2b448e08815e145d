"""What an ELF program needs to run: its loader and, recursively, its shared libraries.

Reads the files itself (program headers and the dynamic section, System V ABI chapters 4 and 5), in place
of `ldd`, which runs the program. Looks where the dynamic loader would: DT_RPATH of the object and its
loaders, DT_RUNPATH, the system's directories and those of ld.so.conf (man 8 ld.so) or of musl's path file.
All paths are taken inside a root directory, which need not be `/`.
"""

from __future__ import annotations

import glob
import os
import posixpath
import struct
from dataclasses import dataclass
from typing import BinaryIO

from hakobune.errors import InvalidArgument

_MAGIC = b"\x7fELF"
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_RUNPATH = 1, 5, 15, 29
_MAX_LINKS = 40
_MAX_TABLE = 1 << 20

# e_machine (<elf.h>) and class -> the names of multiarch directories on Debian's kind
_MULTIARCH = {
    (62, 2): "x86_64-linux-gnu", (3, 1): "i386-linux-gnu", (183, 2): "aarch64-linux-gnu",
    (40, 1): "arm-linux-gnueabihf", (243, 2): "riscv64-linux-gnu", (21, 2): "powerpc64le-linux-gnu",
    (22, 2): "s390x-linux-gnu",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Object:
    """The dynamic needs of one ELF file; `abi` is (machine, class), alike in all objects of a process."""

    abi: tuple[int, int]
    interpreter: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]


def is_elf(start: bytes) -> bool:
    """Whether a file that starts like this is an ELF object."""
    return start.startswith(_MAGIC)


def read(file: BinaryIO) -> Object:
    """Raises InvalidArgument for what is no ELF file or a damaged one, OSError."""
    header = file.read(64)
    if len(header) < 52 or not is_elf(header) or header[4] not in (1, 2) or header[5] not in (1, 2):
        raise InvalidArgument("not an ELF file")
    try:
        return _read(file, header)
    except (struct.error, IndexError) as err:
        raise InvalidArgument(f"damaged ELF file: {err}") from err


def _read(file: BinaryIO, header: bytes) -> Object:
    wide, order = header[4] == 2, "<" if header[5] == 1 else ">"
    machine = struct.unpack_from(order + "H", header, 18)[0]
    if wide:
        table_at, (entry_size, count) = struct.unpack_from(order + "Q", header, 32)[0], struct.unpack_from(
            order + "HH", header, 54)  # fmt: skip
    else:
        table_at, (entry_size, count) = struct.unpack_from(order + "I", header, 28)[0], struct.unpack_from(
            order + "HH", header, 42)  # fmt: skip
    raw = _at(file, table_at, entry_size * count)
    segments = [_segment(raw, place * entry_size, order, wide=wide) for place in range(count)]
    interpreter = ""
    dynamic: list[tuple[int, int]] = []
    for kind, offset, _, size in segments:
        if kind == _PT_INTERP:
            interpreter = os.fsdecode(_at(file, offset, size).split(b"\0", 1)[0])
        elif kind == _PT_DYNAMIC:
            unit = order + ("qQ" if wide else "iI")
            data = _at(file, offset, size)
            dynamic = list(struct.iter_unpack(unit, data[: len(data) - len(data) % struct.calcsize(unit)]))
    return _needs(file, (machine, header[4]), interpreter, dynamic, segments)


Segment = tuple[int, int, int, int]  # type, offset in the file, address, size in the file


def _segment(raw: bytes, at: int, order: str, *, wide: bool) -> Segment:
    if wide:
        kind, _, offset, address, _, size = struct.unpack_from(order + "IIQQQQ", raw, at)
    else:
        kind, offset, address, _, size = struct.unpack_from(order + "IIIII", raw, at)
    return kind, offset, address, size


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    if size > _MAX_TABLE:
        raise InvalidArgument(f"damaged ELF file: a table of {size} bytes")
    file.seek(offset)
    return file.read(size)


def _needs(
    file: BinaryIO,
    abi: tuple[int, int],
    interpreter: str,
    dynamic: list[tuple[int, int]],
    segments: list[Segment],
) -> Object:
    strings_at = next((value for tag, value in dynamic if tag == _DT_STRTAB), 0)
    base = next((offset + strings_at - address for kind, offset, address, size in segments
                 if kind == _PT_LOAD and address <= strings_at < address + size), -1)  # fmt: skip

    def texts(wanted: int) -> tuple[str, ...]:
        found = []
        for tag, value in dynamic:
            if tag == 0:
                break
            if tag == wanted and base >= 0:
                file.seek(base + value)
                found.append(os.fsdecode(file.read(4096).split(b"\0", 1)[0]))
        return tuple(found)

    def paths(wanted: int) -> tuple[str, ...]:
        return tuple(part for text in texts(wanted) for part in text.split(":") if part)

    return Object(abi, interpreter, texts(_DT_NEEDED), paths(_DT_RPATH), paths(_DT_RUNPATH))


class Root:
    """A directory seen as `/`: every symbolic link is followed inside it."""

    def __init__(self, path: str = "/") -> None:
        self.path = path.rstrip("/")

    def outside(self, path: str) -> str:
        """The path on this host of a path inside; its links are not followed."""
        return self.path + path

    def follow(self, path: str) -> tuple[str, dict[str, str]]:
        """(where an absolute path really is, links that were followed: place -> text).

        Raises FileNotFoundError, OSError (ELOOP).
        """
        links: dict[str, str] = {}
        followed = 0  # a loop follows the same few links again and again
        done, rest = "", [part for part in path.split("/") if part]
        while rest:
            part = rest.pop(0)
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            if part == ".":
                continue
            current = f"{done}/{part}"
            try:
                text = os.readlink(self.outside(current))
            except OSError as err:
                if isinstance(err, FileNotFoundError):
                    raise
                done = current  # not a link
                continue
            followed += 1
            if followed > _MAX_LINKS:
                raise OSError(40, "too many symbolic links", path)
            links[current] = text
            done = "" if text.startswith("/") else done
            rest = [word for word in text.split("/") if word] + rest
        return done or "/", links

    def exists(self, path: str) -> bool:
        """Whether something is there, behind all links."""
        try:
            return os.path.lexists(self.outside(self.follow(path)[0]))
        except OSError:
            return False

    def read(self, path: str) -> Object:
        """The ELF object at a path. Raises InvalidArgument, OSError."""
        with open(self.outside(self.follow(path)[0]), "rb") as file:
            return read(file)


def default_directories(abi: tuple[int, int]) -> list[str]:
    """Where loaders look without any configuration, first hit wins."""
    multi = _MULTIARCH.get(abi)
    found = [f"/lib/{multi}", f"/usr/lib/{multi}"] if multi else []
    wide = ["/lib64", "/usr/lib64"] if abi[1] == 2 else ["/lib32", "/usr/lib32"]
    return [*found, *wide, "/lib", "/usr/lib"]


def configured_directories(root: Root) -> list[str]:
    """Directories of ld.so.conf (with its includes) and of musl's path files."""
    found: list[str] = []
    _ld_so_conf(root, "/etc/ld.so.conf", found, depth=0)
    for path in sorted(glob.glob(root.outside("/etc/ld-musl-*.path"))):
        with open(path, encoding="utf-8", errors="replace") as file:
            found += file.read().replace("\n", ":").split(":")
    return [path for path in found if path.startswith("/")]


def _ld_so_conf(root: Root, path: str, found: list[str], *, depth: int) -> None:
    try:
        with open(root.outside(path), encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split("#", 1)[0].split()
        if words[:1] == ["include"] and depth < 4:
            for pattern in words[1:]:
                absolute = posixpath.join(posixpath.dirname(path), pattern)
                for included in sorted(glob.glob(root.outside(absolute))):
                    _ld_so_conf(root, included[len(root.path) :], found, depth=depth + 1)
        else:
            found += [word for word in words[:1] if word.startswith("/")]


class Libraries:
    """Finds libraries as the loader of one root would. Results are kept: ask one object for a whole tree."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.configured = configured_directories(root)
        self._objects: dict[str, Object] = {}

    def closure(self, program: str) -> dict[str, str]:
        """Everything a program loads: name as asked for -> path as found, its interpreter included.

        A library that cannot be found is left out: programs may do without (the caller can compare).
        Raises InvalidArgument when `program` is no ELF file, OSError.
        """
        found: dict[str, str] = {}
        first = self.object(program)
        if first.interpreter and self.root.exists(first.interpreter):
            found[first.interpreter] = first.interpreter
        todo: list[tuple[str, tuple[str, ...]]] = [(program, ())]
        while todo:
            path, inherited = todo.pop(0)
            item = self.object(path)
            own = _expand(item.rpath, path)
            for name in item.needed:
                if name in found:
                    continue
                place = self._find(name, item, path, (*own, *inherited))
                if place:
                    found[name] = place
                    todo.append((place, (*own, *inherited)))
        return found

    def missing(self, program: str) -> list[str]:
        """Names that `closure` could not find, asked for by the program or any library of it."""
        found = self.closure(program)
        paths = [program, *(path for path in found.values())]
        return sorted({name for path in paths for name in self.object(path).needed if name not in found})

    def object(self, path: str) -> Object:
        """The parsed file at a path, read once. Raises InvalidArgument, OSError."""
        if path not in self._objects:
            self._objects[path] = self.root.read(path)
        return self._objects[path]

    def _find(self, name: str, item: Object, path: str, rpaths: tuple[str, ...]) -> str:
        if "/" in name:
            return name if self._fits(name, item.abi) else ""
        own = _expand(item.runpath, path)
        before = own if item.runpath else rpaths  # DT_RUNPATH makes DT_RPATH void
        for directory in (*before, *default_directories(item.abi), *self.configured):
            candidate = f"{directory.rstrip('/')}/{name}"
            if self._fits(candidate, item.abi):
                return candidate
        return ""

    def _fits(self, path: str, abi: tuple[int, int]) -> bool:
        try:
            return self.object(path).abi == abi
        except (OSError, InvalidArgument):
            return False


def _expand(paths: tuple[str, ...], origin: str) -> tuple[str, ...]:
    """$ORIGIN is the directory of the object that says it; relative entries are dropped."""
    directory = posixpath.dirname(origin)
    replaced = (path.replace("${ORIGIN}", directory).replace("$ORIGIN", directory) for path in paths)
    return tuple(posixpath.normpath(path) for path in replaced if path.startswith("/"))
