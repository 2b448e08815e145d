"""The house rules of docs/architecture.md as tests: import directions, homes of ctypes and asyncio, names.

Read from the source with `ast`: nothing is imported, so a rule also holds for code that no test runs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src" / "hakobune"

# Top floor first. A room may import its own floor only where SAME_FLOOR says so, and anything beneath.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("cmd", "testing"),
    ("cli", "engine"),
    ("containerd",),
    ("vm",),
    ("shim", "guest", "files"),
    ("task", "oci", "net", "registry"),
    ("cgroups", "layers", "logs", "transport"),
    ("linux", "wire", "persist", "proto"),
    ("spec", "log"),
    ("errors", "failpoint", "record", "version"),
)
FLOOR = {room: depth for depth, rooms in enumerate(FLOORS) for room in rooms}

# Sideways doors within one floor, each with its reason.
SAME_FLOOR = {
    ("task", "oci"),  # the task runs the OCI runtime in its own process
    ("shim", "guest"),  # the same door as the shim, workload in a microVM
}

# A process room is entered by another one only through these modules: the Python spelling of a socket.
DOORS = {
    "engine": ("hakobune.engine.client",),
    "containerd": ("hakobune.containerd.client",),
    "shim": ("hakobune.shim.client", "hakobune.shim.manager_client"),
}
# Rooms below a process room in the sense of the floors that are part of the same process.
WIRING = ("cmd", "testing")

NO_ASYNCIO = ("oci", "shim", "task", "wire", "spec", "layers", "cgroups", "logs", "files")
ASYNC_DOORS = ("shim/client.py", "shim/manager_client.py")
BAD_NAMES = re.compile(r"^(utils?|helpers?|common|misc)$")

# What a shim or zygote loads stays in memory once for each container: none of these may be in there.
# json is: the workers that the shim forks parse the spec, and a fork shares the pages it never writes.
HEAVY = {
    "asyncio",
    "google",
    "grpc",
    "h11",
    "http",
    "logging",
    "multiprocessing",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "typing_extensions",
}
SHIM_ROOTS = ("hakobune.cmd.zygote", "hakobune.cmd.shim")


@dataclass(frozen=True)
class Import:
    """One imported module, as an absolute dotted name, and whether it happens inside a function."""

    module: str
    line: int
    late: bool
    typing_only: bool


def _generated(path: Path) -> bool:
    return "_pb2" in path.name


@cache
def _sources() -> tuple[Path, ...]:
    return tuple(sorted(p for p in SRC.rglob("*.py") if not _generated(p)))


def _dotted(path: Path) -> str:
    parts = path.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _names(node: ast.stmt, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, base]).rstrip(".")
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _is_typing_block(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def _walk(node: ast.AST, package: str, *, late: bool, typing_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            for name in _names(child, package):
                yield Import(name, child.lineno, late, typing_only)
        inner = late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _walk(child, package, late=inner, typing_only=typing_only or _is_typing_block(child))


@cache
def _imports(path: Path) -> tuple[Import, ...]:
    dotted = _dotted(path)
    package = dotted if path.name == "__init__.py" else dotted.rpartition(".")[0]
    return tuple(_walk(ast.parse(path.read_text()), package, late=False, typing_only=False))


def _room(dotted: str) -> str:
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else ""


def _own(imported: Import) -> bool:
    return imported.module.startswith("hakobune.")


def _through_door(room: str, module: str) -> bool:
    doors = DOORS.get(room, ())
    return any(module == door or module.startswith(door + ".") for door in doors)


def _wrong_way(path: Path, imported: Import) -> str | None:
    """Why this import is not allowed, or None."""
    here, there = _room(_dotted(path)), _room(imported.module)
    if not here or not there or here == there or there not in FLOOR:
        return None
    if here not in FLOOR:
        return f"room {here} has no floor in FLOORS"
    if here in WIRING:
        return "nobody imports cmd" if there == "cmd" and here != "testing" else None
    if FLOOR[there] < FLOOR[here] or (FLOOR[there] == FLOOR[here] and (here, there) not in SAME_FLOOR):
        return f"{here} may not import {there}"
    if there in DOORS and not _through_door(there, imported.module):
        return f"{here} enters {there} only through {', '.join(DOORS[there])}"
    return None


def test_imports_go_down() -> None:
    wrong = [
        f"{path.relative_to(SRC)}:{found.line}: {found.module}: {why}"
        for path in _sources()
        for found in _imports(path)
        if _own(found) and (why := _wrong_way(path, found)) and not _package_of_door(found)
    ]
    assert not wrong, "\n".join(wrong)


def _package_of_door(found: Import) -> bool:
    """`from hakobune.shim import client` names the package first: the second name is what counts."""
    room = _room(found.module)
    return found.module == f"hakobune.{room}" and room in DOORS


def test_ctypes_lives_in_linux_only() -> None:
    wrong = [
        f"{path.relative_to(SRC)}:{found.line}"
        for path in _sources()
        for found in _imports(path)
        if found.module.split(".")[0] in ("ctypes", "_ctypes") and _room(_dotted(path)) != "linux"
    ]
    assert not wrong, "\n".join(wrong)


def test_no_asyncio_below_the_daemons() -> None:
    wrong = [
        f"{relative}:{found.line}"
        for path in _sources()
        if (relative := path.relative_to(SRC).as_posix()) not in ASYNC_DOORS
        and (path.name == "lifecycle.py" or _room(_dotted(path)) in NO_ASYNCIO)
        for found in _imports(path)
        if found.module.split(".")[0] == "asyncio"
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_without_a_subject() -> None:
    wrong = [
        str(p.relative_to(SRC)) for p in SRC.rglob("*") if BAD_NAMES.match(p.stem) and p.suffix in ("", ".py")
    ]
    assert not wrong, "\n".join(wrong)


def test_room_packages_hold_text_only() -> None:
    wrong = [
        str(path.relative_to(SRC))
        for path in _sources()
        if path.name == "__init__.py"
        and path.parent.parent == SRC
        and any(not _is_text(node) for node in ast.parse(path.read_text()).body)
    ]
    assert not wrong, "\n".join(wrong)


def _is_text(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "__future__"
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_every_module_says_what_lives_in_it() -> None:
    wrong = [str(p.relative_to(SRC)) for p in _sources() if not ast.get_docstring(ast.parse(p.read_text()))]
    assert not wrong, "\n".join(wrong)


def test_cmd_modules_stay_thin() -> None:
    long = {
        p.name: count
        for p in (SRC / "cmd").glob("*.py")
        if (count := sum(1 for line in p.read_text().splitlines() if line.strip())) > 130
    }
    assert not long, f"cmd/ is argv, config, graph, run: {long}"


def _closure(roots: tuple[str, ...]) -> dict[Path, str]:
    """Every module of ours that is loaded when one of `roots` is, with who imported it."""
    by_name = {_dotted(path): path for path in _sources()}
    todo = [(root, "command line") for root in roots if root in by_name]
    seen: dict[Path, str] = {}
    while todo:
        name, by = todo.pop()
        path = by_name[name]
        if path in seen:
            continue
        seen[path] = by
        todo += [
            (found.module, name)
            for found in _imports(path)
            if _own(found) and not found.typing_only and not found.late and found.module in by_name
        ]
    return seen


@pytest.mark.parametrize("root", SHIM_ROOTS)
def test_the_shim_stays_small(root: str) -> None:
    wrong = []
    for path, by in _closure((root,)).items():
        for found in _imports(path):
            if found.typing_only:
                continue
            if found.module.split(".")[0] in HEAVY and not found.late:
                wrong.append(f"{path.relative_to(SRC)}:{found.line}: {found.module} (loaded by {by})")
    assert not wrong, "\n".join(wrong)


def test_the_zygote_imports_nothing_late() -> None:
    rooms = ("shim", "task", "oci", "cgroups", "linux", "wire")
    wrong = [
        f"{path.relative_to(SRC)}:{found.line}: {found.module}"
        for path in _closure(("hakobune.cmd.zygote",))
        if _room(_dotted(path)) in rooms
        for found in _imports(path)
        if found.late and not found.typing_only
    ]
    assert not wrong, "\n".join(wrong)
