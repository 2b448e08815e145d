"""config.json, parsed once into frozen data (runtime-spec 1.x: config.md, config-linux.md).

Every error names the field, as `linux.namespaces[2].type: ...`. What is not understood here is kept
out: inner code never sees the raw document, but for `resources`, `seccomp`, `hooks` and
what is rare, whose own modules parse them. No I/O, no kernel. Imports: errors, oci.fields, oci.process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hakobune.errors import InvalidArgument, Unimplemented
from hakobune.oci import fields
from hakobune.oci.process import Process, parse_process
from hakobune.record import Any, dataclass
from hakobune.spec.mount import Mount

NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
RARE_OF_LINUX = ("personality", "memoryPolicy")
_IFNAME_MOST = 15  # IFNAMSIZ, <linux/if.h>, without the NUL
_HOST_NAME_MAX = 64  # __NEW_UTS_LEN, <linux/utsname.h>
_IDMAP = frozenset(("idmap", "ridmap"))  # options of a mount


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


def _paths(doc: Mapping[str, Any], field: str) -> tuple[str, ...]:
    found = fields.strings(doc, field, at="linux.")
    for index, path in enumerate(found):
        if path[:1] != "/":
            raise InvalidArgument(f"linux.{field}[{index}]: {path!r:.60} is not an absolute path")
    return found


def _host_name(doc: Mapping[str, Any], field: str) -> str:
    name: str = fields.get(doc, field, str, "")
    if "\0" in name or len(name.encode("utf-8", "surrogateescape")) > _HOST_NAME_MAX:
        raise InvalidArgument(f"{field}: {name!r:.80} is not a name of at most {_HOST_NAME_MAX} bytes")
    return name


def _annotations(doc: Mapping[str, Any]) -> Mapping[str, str]:
    table: Mapping[str, Any] = fields.get(doc, "annotations", dict, {})
    for key, value in table.items():
        if not isinstance(value, str):
            raise InvalidArgument(f"annotations.{key}: expected a string, got {value!r:.60}")
    return table


def _mount(doc: Mapping[str, Any], at: str) -> Mount:
    target: str = fields.get(doc, "destination", str, "", at=at)
    if not target or "\0" in target:
        raise InvalidArgument(f"{at}destination: {target!r} is not a path")
    if not target.startswith("/"):
        target = "/" + target  # runtime-spec 1.x: relative destinations are deprecated, taken from the root
    return Mount(
        fields.get(doc, "type", str, "", at=at),
        fields.get(doc, "source", str, "", at=at),
        target,
        fields.strings(doc, "options", at=at),
    )


def _id_map(doc: Mapping[str, Any], field: str, at: str) -> IdMap:
    found = []
    for index, line in enumerate(fields.objects(doc, field, at=at)):
        here = f"{at}{field}[{index}]."
        numbers = tuple(fields.get(line, name, int, 0, at=here) for name in ("containerID", "hostID", "size"))
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
        for item in fields.objects(linux, "namespaces", at="linux.")
    )
    for found, name in zip(maps, ("uidMappings", "gidMappings"), strict=True):
        if wanted and not any(inside == 0 for inside, _outside, _size in found):
            raise InvalidArgument(
                f"linux.{name}: a new user namespace needs a map that holds id 0, got {found}"
            )
    return maps if wanted else ((), ())


def _namespaces(linux: Mapping[str, Any]) -> tuple[Namespace, ...]:
    found: dict[str, Namespace] = {}
    for index, item in enumerate(fields.objects(linux, "namespaces", at="linux.")):
        kind = item.get("type")
        if kind not in NAMESPACES:
            raise InvalidArgument(f"linux.namespaces[{index}].type: {kind!r} is not a namespace")
        if kind in found:
            raise InvalidArgument(f"linux.namespaces[{index}].type: {kind!r} is given twice")
        found[kind] = Namespace(kind, fields.get(item, "path", str, "", at=f"linux.namespaces[{index}]."))
    return tuple(found.values())


def _device(doc: Mapping[str, Any], at: str) -> Device:
    kind = doc.get("type")
    if kind not in ("c", "b", "u", "p"):
        raise InvalidArgument(f"{at}type: {kind!r} is not one of c, b, u, p")
    path: str = fields.get(doc, "path", str, "", at=at)
    if not path.startswith("/"):
        raise InvalidArgument(f"{at}path: {path!r} is not an absolute path")
    for field in ("major", "minor") if kind != "p" else ():
        if doc.get(field) is None:
            raise InvalidArgument(f"{at}{field}: is missing")
    return Device(
        path,
        str(kind),
        fields.within(doc, "major", at, 0, 0xFFFFFFFF, 0),
        fields.within(doc, "minor", at, 0, 0xFFFFFFFF, 0),
        fields.get(doc, "fileMode", int, 0o666, at=at) & 0o7777,
        fields.identity(doc, "uid", at),
        fields.identity(doc, "gid", at),
    )


def _sysctl(linux: Mapping[str, Any]) -> Mapping[str, str]:
    table: Mapping[str, Any] = fields.get(linux, "sysctl", dict, {}, at="linux.")
    for key, value in table.items():
        if not isinstance(value, str) or "\n" in value or "\0" in value:
            raise InvalidArgument(f"linux.sysctl.{key}: {value!r:.60} is not a single line")
        if not key or "/" in key or ".." in key:
            raise InvalidArgument(f"linux.sysctl: {key!r} is not a sysctl")
    return table


def _time_offsets(linux: Mapping[str, Any]) -> Mapping[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for clock, offset in fields.get(linux, "timeOffsets", dict, {}, at="linux.").items():
        at = f"linux.timeOffsets.{clock}"
        if clock not in ("monotonic", "boottime") or not isinstance(offset, dict):
            raise InvalidArgument(f"{at}: expected monotonic or boottime with an object, got {offset!r:.60}")
        nanoseconds: int = fields.get(offset, "nanosecs", int, 0, at=f"{at}.")
        if not 0 <= nanoseconds < 1_000_000_000:
            raise InvalidArgument(f"{at}.nanosecs: {nanoseconds} is outside 0..999999999")
        found[clock] = fields.get(offset, "secs", int, 0, at=f"{at}."), nanoseconds
    return found


def _net_devices(linux: Mapping[str, Any]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, item in fields.get(linux, "netDevices", dict, {}, at="linux.").items():
        at = f"linux.netDevices.{name}"
        if not isinstance(item, dict):
            raise InvalidArgument(f"{at}: expected an object, got {item!r:.60}")
        inside: str = fields.get(item, "name", str, "", at=f"{at}.") or name
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
    version: str = fields.get(doc, "ociVersion", str, "")
    if not (version.startswith("1.") and version[2:3].isdigit()):
        raise InvalidArgument(f"ociVersion: {version!r} is not a 1.x version")
    root: Mapping[str, Any] = fields.get(doc, "root", dict, {})
    linux: Mapping[str, Any] = fields.get(doc, "linux", dict, {})
    process: Mapping[str, Any] | None = fields.get(doc, "process", dict, None)
    if linux.get("intelRdt") is not None:
        raise Unimplemented(
            "linux.intelRdt: cache and memory bandwidth classes (resctrl) are not offered by this runtime"
        )
    if not root.get("path"):
        raise InvalidArgument("root.path: must name the root file system")
    return Config(
        process=parse_process(process) if process is not None else None,
        root=fields.get(root, "path", str, "", at="root."),
        root_readonly=fields.get(root, "readonly", bool, False, at="root."),
        root_propagation=fields.get(linux, "rootfsPropagation", str, "", at="linux."),
        hostname=_host_name(doc, "hostname"),
        domainname=_host_name(doc, "domainname"),
        mounts=tuple(_mount(m, f"mounts[{i}].") for i, m in enumerate(fields.objects(doc, "mounts"))),
        id_maps=_id_maps(fields.objects(doc, "mounts")),
        users=_users(linux),
        namespaces=_namespaces(linux),
        devices=tuple(
            _device(d, f"linux.devices[{i}].")
            for i, d in enumerate(fields.objects(linux, "devices", at="linux."))
        ),
        masked_paths=_paths(linux, "maskedPaths"),
        readonly_paths=_paths(linux, "readonlyPaths"),
        sysctl=_sysctl(linux),
        cgroups_path=fields.get(linux, "cgroupsPath", str, "", at="linux."),
        resources=fields.get(linux, "resources", dict, {}, at="linux."),
        seccomp=fields.get(linux, "seccomp", dict, None, at="linux."),
        hooks=fields.get(doc, "hooks", dict, {}),
        annotations=_annotations(doc),
        time_offsets=_time_offsets(linux),
        net_devices=_net_devices(linux),
        rare={
            name: fields.get(linux, name, dict, {}, at="linux.")
            for name in RARE_OF_LINUX
            if linux.get(name) is not None
        },
    )
