"""config.json, parsed once into frozen data (runtime-spec 1.x: config.md, config-linux.md).

Every error names the field, as `linux.namespaces[2].type: ...`. What is not understood here is kept
out: inner code never sees the raw document, but for `resources`, `seccomp`, `hooks` and
what is rare, whose own modules parse them. No I/O, no kernel. Imports: errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hakobune.errors import InvalidArgument, Unimplemented
from hakobune.oci.capabilities import NUMBERS
from hakobune.record import Any, dataclass
from hakobune.spec.mount import Mount

NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
RARE = ("scheduler", "ioPriority", "execCPUAffinity")
RARE_OF_LINUX = ("personality", "memoryPolicy")
# getrlimit(2), <asm-generic/resource.h>
RLIMITS = {
    f"RLIMIT_{name}": number
    for number, name in enumerate(
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME".split()
    )
}
_LARGEST = (1 << 64) - 1  # RLIM64_INFINITY
_IFNAME_MOST = 15  # IFNAMSIZ, <linux/if.h>, without the NUL
_HOST_NAME_MAX = 64  # __NEW_UTS_LEN, <linux/utsname.h>
_IDMAP = frozenset(("idmap", "ridmap"))  # options of a mount
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


@dataclass(frozen=True, slots=True)
class Namespace:
    """A new namespace (`path` empty) or one to join."""

    type: str
    path: str


@dataclass(frozen=True, slots=True)
class Device:
    """A device node to make: `kind` is one of c, b, u, p; `mode` holds permission bits only."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int
    uid: int
    gid: int


IdMap = tuple[tuple[int, int, int], ...]  # (containerID, hostID, size)
IdMaps = tuple[IdMap, IdMap]  # of users, of groups


@dataclass(frozen=True, slots=True)
class Config:
    """A whole container, as one value."""

    process: Process | None
    root: str
    root_readonly: bool
    root_propagation: str
    hostname: str
    domainname: str
    mounts: tuple[Mount, ...]
    id_maps: Mapping[int, IdMaps]  # number of a mount -> how its owners are shown
    users: IdMaps  # of the container's user namespace; empty without one of its own
    namespaces: tuple[Namespace, ...]
    devices: tuple[Device, ...]
    masked_paths: tuple[str, ...]
    readonly_paths: tuple[str, ...]
    sysctl: Mapping[str, str]
    cgroups_path: str
    resources: Mapping[str, Any]
    seccomp: Mapping[str, Any] | None
    hooks: Mapping[str, Any]
    annotations: Mapping[str, str]
    time_offsets: Mapping[str, tuple[int, int]]  # clock -> (seconds, nanoseconds)
    rare: Mapping[str, Any]  # of `linux`, as in Process
    net_devices: Mapping[str, str]  # name of a device of the host -> its name in the container

    def new(self, kind: str) -> bool:
        """Whether a namespace of this kind is made for the container."""
        return any(ns.type == kind and not ns.path for ns in self.namespaces)

    def apart(self, kind: str) -> bool:
        """Whether the container is in another namespace of this kind than we are, new or given."""
        return any(ns.type == kind for ns in self.namespaces)


_WORDS: dict[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    dict: "an object",
    list: "a list",
}


def _get(doc: Mapping[str, Any], field: str, want: type, default: Any, *, at: str = "") -> Any:
    """`doc[field]` when it has the type `want`; `default` when it is absent or null."""
    value = doc.get(field)
    if value is None:
        return default
    if not isinstance(value, want) or (want is int and isinstance(value, bool)):
        raise InvalidArgument(f"{at}{field}: expected {_WORDS[want]}, got {value!r:.60}")
    return value


def _strings(doc: Mapping[str, Any], field: str, *, at: str = "") -> tuple[str, ...]:
    values = _get(doc, field, list, [], at=at)
    for index, value in enumerate(values):
        if not isinstance(value, str) or "\0" in value:
            raise InvalidArgument(
                f"{at}{field}[{index}]: expected a string without a zero byte, got {value!r:.60}"
            )
    return tuple(values)


def _objects(doc: Mapping[str, Any], field: str, *, at: str = "") -> Sequence[Mapping[str, Any]]:
    values: list[Mapping[str, Any]] = _get(doc, field, list, [], at=at)
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise InvalidArgument(f"{at}{field}[{index}]: expected an object, got {value!r:.60}")
    return values


def _identity(user: Mapping[str, Any], field: str, at: str) -> int:
    value: int = _get(user, field, int, 0, at=at)
    # (uid_t)-1 means "leave as it is" to the kernel: CVE-2024-40635 was a wrap to 0.
    if not 0 <= value < 0xFFFFFFFF:
        raise InvalidArgument(f"{at}{field}: {value} is outside 0..4294967294")
    return value


def _groups(user: Mapping[str, Any], at: str) -> tuple[int, ...]:
    values: list[Any] = _get(user, "additionalGids", list, [], at=at)
    return tuple(_identity({str(i): v}, str(i), f"{at}additionalGids.") for i, v in enumerate(values))


def _console_size(size: Mapping[str, Any], at: str) -> tuple[int, int]:
    rows, columns = (_get(size, name, int, 0, at=at) for name in ("height", "width"))
    if not (0 <= rows < 1 << 16 and 0 <= columns < 1 << 16):
        raise InvalidArgument(f"{at}height, width: {rows} and {columns} are not a terminal's size")
    return rows, columns


def _within(doc: Mapping[str, Any], field: str, at: str, least: int, most: int, default: Any = None) -> Any:
    """A number of a range, both ends included."""
    value = _get(doc, field, int, default, at=at)
    if value is not None and not least <= value <= most:
        raise InvalidArgument(f"{at}{field}: {value} is outside {least}..{most}")
    return value


def _paths(doc: Mapping[str, Any], field: str) -> tuple[str, ...]:
    found = _strings(doc, field, at="linux.")
    for index, path in enumerate(found):
        if path[:1] != "/":
            raise InvalidArgument(f"linux.{field}[{index}]: {path!r:.60} is not an absolute path")
    return found


def _host_name(doc: Mapping[str, Any], field: str) -> str:
    name: str = _get(doc, field, str, "")
    if "\0" in name or len(name.encode("utf-8", "surrogateescape")) > _HOST_NAME_MAX:
        raise InvalidArgument(f"{field}: {name!r:.80} is not a name of at most {_HOST_NAME_MAX} bytes")
    return name


def _capabilities(sets: Mapping[str, Any], at: str) -> Mapping[str, tuple[str, ...]]:
    found = {name: _strings(sets, name, at=at) for name in CAPABILITY_SETS}
    for name, listed in found.items():
        if not _CAPABILITIES.issuperset(listed):
            index = next(i for i, one in enumerate(listed) if one not in _CAPABILITIES)
            raise InvalidArgument(f"{at}{name}[{index}]: {listed[index]!r:.60} is not a capability")
    return found


def _annotations(doc: Mapping[str, Any]) -> Mapping[str, str]:
    table: Mapping[str, Any] = _get(doc, "annotations", dict, {})
    for key, value in table.items():
        if not isinstance(value, str):
            raise InvalidArgument(f"annotations.{key}: expected a string, got {value!r:.60}")
    return table


def _rlimit(doc: Mapping[str, Any], at: str) -> Rlimit:
    kind: str = _get(doc, "type", str, "", at=at)
    if kind not in RLIMITS:
        raise InvalidArgument(f"{at}type: {kind!r:.60} is not an rlimit")
    soft, hard = (_within(doc, name, at, -1, _LARGEST, 0) for name in ("soft", "hard"))
    if -1 < hard < soft:
        raise InvalidArgument(f"{at}soft: {soft} is above the hard limit {hard}")
    return Rlimit(kind, soft, hard)


def _rlimits(doc: Mapping[str, Any], at: str) -> tuple[Rlimit, ...]:
    found = tuple(
        _rlimit(item, f"{at}rlimits[{i}].") for i, item in enumerate(_objects(doc, "rlimits", at=at))
    )
    kinds = [limit.type for limit in found]
    for index, kind in enumerate(kinds):
        if kind in kinds[:index]:
            raise InvalidArgument(f"{at}rlimits[{index}].type: {kind!r} is given twice")
    return found


def parse_process(doc: Mapping[str, Any], *, at: str = "process.") -> Process:
    """The `process` object (also a `process.json` of exec). Raises InvalidArgument naming the field."""
    args = _strings(doc, "args", at=at)
    if not args or not args[0]:
        raise InvalidArgument(f"{at}args: must name a program")
    cwd: str = _get(doc, "cwd", str, "", at=at)
    if not cwd.startswith("/"):
        raise InvalidArgument(f"{at}cwd: {cwd!r} is not an absolute path")
    user: Mapping[str, Any] = _get(doc, "user", dict, {}, at=at)
    size: Mapping[str, Any] | None = _get(doc, "consoleSize", dict, None, at=at)
    sets: Mapping[str, Any] = _get(doc, "capabilities", dict, {}, at=at)
    return Process(
        args=args,
        env=_strings(doc, "env", at=at),
        cwd=cwd,
        terminal=_get(doc, "terminal", bool, False, at=at),
        console_size=_console_size(size, f"{at}consoleSize.") if size else None,
        uid=_identity(user, "uid", f"{at}user."),
        gid=_identity(user, "gid", f"{at}user."),
        groups=_groups(user, f"{at}user."),
        umask=_within(user, "umask", f"{at}user.", 0, 0o777),
        capabilities=_capabilities(sets, f"{at}capabilities."),
        rlimits=_rlimits(doc, at),
        no_new_privileges=_get(doc, "noNewPrivileges", bool, False, at=at),
        oom_score_adj=_within(doc, "oomScoreAdj", at, -1000, 1000),
        apparmor_profile=_get(doc, "apparmorProfile", str, "", at=at),
        selinux_label=_get(doc, "selinuxLabel", str, "", at=at),
        rare={name: doc[name] for name in RARE if doc.get(name) is not None},
    )


def _mount(doc: Mapping[str, Any], at: str) -> Mount:
    target: str = _get(doc, "destination", str, "", at=at)
    if not target or "\0" in target:
        raise InvalidArgument(f"{at}destination: {target!r} is not a path")
    if not target.startswith("/"):
        target = "/" + target  # runtime-spec 1.x: relative destinations are deprecated, taken from the root
    return Mount(
        _get(doc, "type", str, "", at=at),
        _get(doc, "source", str, "", at=at),
        target,
        _strings(doc, "options", at=at),
    )


def _id_map(doc: Mapping[str, Any], field: str, at: str) -> IdMap:
    found = []
    for index, line in enumerate(_objects(doc, field, at=at)):
        here = f"{at}{field}[{index}]."
        numbers = tuple(_get(line, name, int, 0, at=here) for name in ("containerID", "hostID", "size"))
        if not (
            0 <= numbers[0] <= 0xFFFFFFFF and 0 <= numbers[1] <= 0xFFFFFFFF and 0 < numbers[2] <= 0xFFFFFFFF
        ):
            raise InvalidArgument(f"{here[:-1]}: {numbers} are no ids and a size")
        found.append((numbers[0], numbers[1], numbers[2]))
    return tuple(found)


def _id_maps(mounts: Sequence[Mapping[str, Any]]) -> Mapping[int, IdMaps]:
    found: dict[int, IdMaps] = {}
    for index, doc in enumerate(mounts):
        if not ("uidMappings" in doc or "gidMappings" in doc or _IDMAP & set(doc.get("options") or ())):
            continue
        maps = tuple(_id_map(doc, name, f"mounts[{index}].") for name in ("uidMappings", "gidMappings"))
        if bool(maps[0]) != bool(maps[1]):
            raise InvalidArgument(f"mounts[{index}]: uidMappings and gidMappings belong together")
        if maps[0]:
            found[index] = maps[0], maps[1]
        elif _IDMAP & set(doc.get("options") or ()):
            raise InvalidArgument(f"mounts[{index}]: idmap without uidMappings and gidMappings")
    return found


def _users(linux: Mapping[str, Any]) -> IdMaps:
    """The maps of a new user namespace; without one there must be none."""
    maps = _id_map(linux, "uidMappings", "linux."), _id_map(linux, "gidMappings", "linux.")
    wanted = any(
        item.get("type") == "user" and not item.get("path")
        for item in _objects(linux, "namespaces", at="linux.")
    )
    for found, name in zip(maps, ("uidMappings", "gidMappings"), strict=True):
        if wanted and not any(inside == 0 for inside, _outside, _size in found):
            raise InvalidArgument(
                f"linux.{name}: a new user namespace needs a map that holds id 0, got {found}"
            )
    return maps if wanted else ((), ())


def _namespaces(linux: Mapping[str, Any]) -> tuple[Namespace, ...]:
    found: dict[str, Namespace] = {}
    for index, item in enumerate(_objects(linux, "namespaces", at="linux.")):
        kind = item.get("type")
        if kind not in NAMESPACES:
            raise InvalidArgument(f"linux.namespaces[{index}].type: {kind!r} is not a namespace")
        if kind in found:
            raise InvalidArgument(f"linux.namespaces[{index}].type: {kind!r} is given twice")
        found[kind] = Namespace(kind, _get(item, "path", str, "", at=f"linux.namespaces[{index}]."))
    return tuple(found.values())


def _device(doc: Mapping[str, Any], at: str) -> Device:
    kind = doc.get("type")
    if kind not in ("c", "b", "u", "p"):
        raise InvalidArgument(f"{at}type: {kind!r} is not one of c, b, u, p")
    path: str = _get(doc, "path", str, "", at=at)
    if not path.startswith("/"):
        raise InvalidArgument(f"{at}path: {path!r} is not an absolute path")
    for field in ("major", "minor") if kind != "p" else ():
        if doc.get(field) is None:
            raise InvalidArgument(f"{at}{field}: is missing")
    return Device(
        path,
        str(kind),
        _within(doc, "major", at, 0, 0xFFFFFFFF, 0),
        _within(doc, "minor", at, 0, 0xFFFFFFFF, 0),
        _get(doc, "fileMode", int, 0o666, at=at) & 0o7777,
        _identity(doc, "uid", at),
        _identity(doc, "gid", at),
    )


def _sysctl(linux: Mapping[str, Any]) -> Mapping[str, str]:
    table: Mapping[str, Any] = _get(linux, "sysctl", dict, {}, at="linux.")
    for key, value in table.items():
        if not isinstance(value, str) or "\n" in value or "\0" in value:
            raise InvalidArgument(f"linux.sysctl.{key}: {value!r:.60} is not a single line")
        if not key or "/" in key or ".." in key:
            raise InvalidArgument(f"linux.sysctl: {key!r} is not a sysctl")
    return table


def _time_offsets(linux: Mapping[str, Any]) -> Mapping[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for clock, offset in _get(linux, "timeOffsets", dict, {}, at="linux.").items():
        at = f"linux.timeOffsets.{clock}"
        if clock not in ("monotonic", "boottime") or not isinstance(offset, dict):
            raise InvalidArgument(f"{at}: expected monotonic or boottime with an object, got {offset!r:.60}")
        nanoseconds: int = _get(offset, "nanosecs", int, 0, at=f"{at}.")
        if not 0 <= nanoseconds < 1_000_000_000:
            raise InvalidArgument(f"{at}.nanosecs: {nanoseconds} is outside 0..999999999")
        found[clock] = _get(offset, "secs", int, 0, at=f"{at}."), nanoseconds
    return found


def _net_devices(linux: Mapping[str, Any]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, item in _get(linux, "netDevices", dict, {}, at="linux.").items():
        at = f"linux.netDevices.{name}"
        if not isinstance(item, dict):
            raise InvalidArgument(f"{at}: expected an object, got {item!r:.60}")
        inside: str = _get(item, "name", str, "", at=f"{at}.") or name
        for one in (name, inside):
            if one in ("", ".", "..") or len(one.encode()) > _IFNAME_MOST or set(one) & set("/: \t\n\0"):
                raise InvalidArgument(f"{at}: {one!r:.60} is not the name of a network device")
        found[name] = inside
    if len(set(found.values())) < len(found):
        raise InvalidArgument("linux.netDevices: two devices of one name")
    if found and not any(ns.type == "network" for ns in _namespaces(linux)):
        raise InvalidArgument("linux.netDevices: needs a network namespace, which linux.namespaces has not")
    return found


def parse(doc: Any) -> Config:
    """The whole document. Raises InvalidArgument naming the first field that is wrong."""
    if not isinstance(doc, dict):
        raise InvalidArgument("config.json: expected an object")
    version: str = _get(doc, "ociVersion", str, "")
    if not (version.startswith("1.") and version[2:3].isdigit()):
        raise InvalidArgument(f"ociVersion: {version!r} is not a 1.x version")
    root: Mapping[str, Any] = _get(doc, "root", dict, {})
    linux: Mapping[str, Any] = _get(doc, "linux", dict, {})
    process: Mapping[str, Any] | None = _get(doc, "process", dict, None)
    if linux.get("intelRdt") is not None:
        raise Unimplemented(
            "linux.intelRdt: cache and memory bandwidth classes (resctrl) are not offered by this runtime"
        )
    if not root.get("path"):
        raise InvalidArgument("root.path: must name the root file system")
    return Config(
        process=parse_process(process) if process is not None else None,
        root=_get(root, "path", str, "", at="root."),
        root_readonly=_get(root, "readonly", bool, False, at="root."),
        root_propagation=_get(linux, "rootfsPropagation", str, "", at="linux."),
        hostname=_host_name(doc, "hostname"),
        domainname=_host_name(doc, "domainname"),
        mounts=tuple(_mount(m, f"mounts[{i}].") for i, m in enumerate(_objects(doc, "mounts"))),
        id_maps=_id_maps(_objects(doc, "mounts")),
        users=_users(linux),
        namespaces=_namespaces(linux),
        devices=tuple(
            _device(d, f"linux.devices[{i}].") for i, d in enumerate(_objects(linux, "devices", at="linux."))
        ),
        masked_paths=_paths(linux, "maskedPaths"),
        readonly_paths=_paths(linux, "readonlyPaths"),
        sysctl=_sysctl(linux),
        cgroups_path=_get(linux, "cgroupsPath", str, "", at="linux."),
        resources=_get(linux, "resources", dict, {}, at="linux."),
        seccomp=_get(linux, "seccomp", dict, None, at="linux."),
        hooks=_get(doc, "hooks", dict, {}),
        annotations=_annotations(doc),
        time_offsets=_time_offsets(linux),
        net_devices=_net_devices(linux),
        rare={
            name: _get(linux, name, dict, {}, at="linux.")
            for name in RARE_OF_LINUX
            if linux.get(name) is not None
        },
    )
