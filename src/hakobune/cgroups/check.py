"""Which field of `linux.resources` is wrong (runtime-spec: config-linux.md, Control groups).

Nobody pays for it who has none: it is asked when a limit could not be set, to say why in the words of the
configuration. Imports: errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hakobune.errors import InvalidArgument
from hakobune.record import Any

_WORDS: Mapping[type, str] = {
    int: "a number", str: "a string", bool: "true or false", dict: "an object", list: "a list",
}  # fmt: skip
Fields = Mapping[str, type]  # a name that ends in "!" must be there


def _fields(text: str, kind: type) -> dict[str, type]:
    return dict.fromkeys(text.split(), kind)


_SECTIONS: Mapping[str, Fields] = {
    "memory": _fields("limit reservation swap kernel kernelTCP swappiness", int)
    | _fields("disableOOMKiller useHierarchy checkBeforeUpdate", bool),
    "cpu": _fields("shares quota burst period realtimeRuntime realtimePeriod idle", int)
    | _fields("cpus mems", str),
    "pids": _fields("limit", int),
    "blockIO": _fields("weight leafWeight", int),
    "network": _fields("classID", int),
}
_THROTTLE: Fields = _fields("major! minor! rate!", int)
_LISTS: Mapping[str, Fields] = {
    "devices": _fields("allow!", bool) | _fields("type access", str) | _fields("major minor", int),
    "hugepageLimits": _fields("pageSize!", str) | _fields("limit!", int),
    "blockIO.weightDevice": _fields("major! minor!", int) | _fields("weight leafWeight", int),
    "blockIO.throttleReadBpsDevice": _THROTTLE,
    "blockIO.throttleWriteBpsDevice": _THROTTLE,
    "blockIO.throttleReadIOPSDevice": _THROTTLE,
    "blockIO.throttleWriteIOPSDevice": _THROTTLE,
    "network.priorities": _fields("name!", str) | _fields("priority!", int),
}
_DEVICE: Fields = _fields("hcaHandles hcaObjects", int)


def check(resources: Mapping[str, Any], at: str = "linux.resources") -> None:
    """Raises InvalidArgument for the first field that is missing or of a wrong type; what nobody knows is left alone."""
    for name, fields in _SECTIONS.items():
        if (section := _typed(resources, name, dict, at)) is not None:
            _object(section, fields, f"{at}.{name}")
    for path, fields in _LISTS.items():
        head, _, tail = path.rpartition(".")
        holder: Mapping[str, Any] = (resources.get(head) or {}) if head else resources
        for index, entry in enumerate(_list(holder, tail, f"{at}.{head}" if head else at)):
            _object(entry, fields, f"{at}.{path}[{index}]")
    for name, limits in (_typed(resources, "rdma", dict, at) or {}).items():
        _typed({name: limits}, name, dict, f"{at}.rdma")
        _object(limits, _DEVICE, f"{at}.rdma.{name}")
    for name, value in (_typed(resources, "unified", dict, at) or {}).items():
        _typed({name: value}, name, str, f"{at}.unified")


def _typed(holder: Mapping[str, Any], name: str, kind: type, at: str) -> Any:
    value = holder.get(name)
    if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise InvalidArgument(f"{at}.{name}: expected {_WORDS[kind]}, got {value!r:.60}")
    return value


def _list(holder: Mapping[str, Any], name: str, at: str) -> Sequence[Mapping[str, Any]]:
    values: Sequence[Any] = _typed(holder, name, list, at) or ()
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise InvalidArgument(f"{at}.{name}[{index}]: expected an object, got {value!r:.60}")
    return values


def _object(holder: Mapping[str, Any], fields: Fields, at: str) -> None:
    for field, kind in fields.items():
        name = field.rstrip("!")
        if _typed(holder, name, kind, at) is None and field.endswith("!"):
            raise InvalidArgument(f"{at}.{name}: is missing")
