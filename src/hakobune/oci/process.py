"""`process` of config.json, and the document of an exec: what is executed, as whom, with which privileges.

As config.py: frozen data, every error names the field, no I/O, no kernel. Imports: errors, oci.fields.
"""

from __future__ import annotations

from collections.abc import Mapping

from hakobune.errors import InvalidArgument
from hakobune.oci import fields
from hakobune.oci.capabilities import NUMBERS
from hakobune.record import Any, dataclass

RARE = ("scheduler", "ioPriority", "execCPUAffinity")
# getrlimit(2), <asm-generic/resource.h>
RLIMITS = {
    f"RLIMIT_{name}": number
    for number, name in enumerate(
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME".split()
    )
}
_LARGEST = (1 << 64) - 1  # RLIM64_INFINITY
_CAPABILITIES = frozenset(NUMBERS)
CAPABILITY_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


@dataclass(frozen=True, slots=True)
class Rlimit:
    """One entry of process.rlimits; `soft` and `hard` in the limit's own unit."""

    type: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class Process:
    """process: what is executed, as whom, with which privileges."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    terminal: bool
    console_size: tuple[int, int] | None  # (rows, columns)
    uid: int
    gid: int
    groups: tuple[int, ...]
    umask: int | None
    capabilities: Mapping[str, tuple[str, ...]]  # none where the document says nothing of them, as with runc
    rlimits: tuple[Rlimit, ...]
    no_new_privileges: bool
    oom_score_adj: int | None
    apparmor_profile: str
    selinux_label: str
    rare: Mapping[str, Any]  # what few ask for, as it stands: see init.tuning


def _groups(user: Mapping[str, Any], at: str) -> tuple[int, ...]:
    values: list[Any] = fields.get(user, "additionalGids", list, [], at=at)
    return tuple(fields.identity({str(i): v}, str(i), f"{at}additionalGids.") for i, v in enumerate(values))


def _console_size(size: Mapping[str, Any], at: str) -> tuple[int, int]:
    rows, columns = (fields.get(size, name, int, 0, at=at) for name in ("height", "width"))
    if not (0 <= rows < 1 << 16 and 0 <= columns < 1 << 16):
        raise InvalidArgument(f"{at}height, width: {rows} and {columns} are not a terminal's size")
    return rows, columns


def _capabilities(sets: Mapping[str, Any], at: str) -> Mapping[str, tuple[str, ...]]:
    found = {name: fields.strings(sets, name, at=at) for name in CAPABILITY_SETS}
    for name, listed in found.items():
        if not _CAPABILITIES.issuperset(listed):
            index = next(i for i, one in enumerate(listed) if one not in _CAPABILITIES)
            raise InvalidArgument(f"{at}{name}[{index}]: {listed[index]!r:.60} is not a capability")
    return found


def _rlimit(doc: Mapping[str, Any], at: str) -> Rlimit:
    kind: str = fields.get(doc, "type", str, "", at=at)
    if kind not in RLIMITS:
        raise InvalidArgument(f"{at}type: {kind!r:.60} is not an rlimit")
    soft, hard = (fields.within(doc, name, at, -1, _LARGEST, 0) for name in ("soft", "hard"))
    if -1 < hard < soft:
        raise InvalidArgument(f"{at}soft: {soft} is above the hard limit {hard}")
    return Rlimit(kind, soft, hard)


def _rlimits(doc: Mapping[str, Any], at: str) -> tuple[Rlimit, ...]:
    found = tuple(
        _rlimit(item, f"{at}rlimits[{i}].") for i, item in enumerate(fields.objects(doc, "rlimits", at=at))
    )
    kinds = [limit.type for limit in found]
    for index, kind in enumerate(kinds):
        if kind in kinds[:index]:
            raise InvalidArgument(f"{at}rlimits[{index}].type: {kind!r} is given twice")
    return found


def parse_process(doc: Mapping[str, Any], *, at: str = "process.") -> Process:
    """The `process` object (also a `process.json` of exec). Raises InvalidArgument naming the field."""
    args = fields.strings(doc, "args", at=at)
    if not args or not args[0]:
        raise InvalidArgument(f"{at}args: must name a program")
    cwd: str = fields.get(doc, "cwd", str, "", at=at)
    if not cwd.startswith("/"):
        raise InvalidArgument(f"{at}cwd: {cwd!r} is not an absolute path")
    user: Mapping[str, Any] = fields.get(doc, "user", dict, {}, at=at)
    size: Mapping[str, Any] | None = fields.get(doc, "consoleSize", dict, None, at=at)
    sets: Mapping[str, Any] = fields.get(doc, "capabilities", dict, {}, at=at)
    return Process(
        args=args,
        env=fields.strings(doc, "env", at=at),
        cwd=cwd,
        terminal=fields.get(doc, "terminal", bool, False, at=at),
        console_size=_console_size(size, f"{at}consoleSize.") if size else None,
        uid=fields.identity(user, "uid", f"{at}user."),
        gid=fields.identity(user, "gid", f"{at}user."),
        groups=_groups(user, f"{at}user."),
        umask=fields.within(user, "umask", f"{at}user.", 0, 0o777),
        capabilities=_capabilities(sets, f"{at}capabilities."),
        rlimits=_rlimits(doc, at),
        no_new_privileges=fields.get(doc, "noNewPrivileges", bool, False, at=at),
        oom_score_adj=fields.within(doc, "oomScoreAdj", at, -1000, 1000),
        apparmor_profile=fields.get(doc, "apparmorProfile", str, "", at=at),
        selinux_label=fields.get(doc, "selinuxLabel", str, "", at=at),
        rare={name: doc[name] for name in RARE if doc.get(name) is not None},
    )
