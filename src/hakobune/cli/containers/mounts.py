"""`-v`, `--mount` and `--tmpfs` as the API wants them."""

from __future__ import annotations

import os

from ..failure import Failure
from ..flags import BadFlags
from ..units import parse_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TRUTH = {"": True, "1": True, "true": True, "0": False, "false": False}


def split_volumes(specs: list[str]) -> tuple[list[str], list[str]]:
    """(binds, targets of nameless volumes). A source that starts with a dot is taken from here."""
    binds, nameless = [], []
    for spec in specs:
        source, colon, target = spec.partition(":")
        if colon and (not source or not target or "::" in spec):
            raise Failure(f"invalid spec: {spec}: empty section between colons")
        if not colon:
            nameless.append(spec)
        else:
            binds.append(f"{os.path.abspath(source)}:{target}" if source.startswith(".") else spec)
    return binds, nameless


def tmpfs(specs: list[str]) -> dict[str, str]:
    """Target to options."""
    return {target: options for target, _, options in (spec.partition(":") for spec in specs)}


def mount(spec: str) -> dict[str, Any]:
    """One `--mount`. Raises BadFlags with the flag's name, as the parser would."""
    try:
        return _mount(spec)
    except ValueError as err:
        raise BadFlags(f'invalid argument "{spec}" for "--mount" flag: {err}') from err


def _mount(spec: str) -> dict[str, Any]:
    found: dict[str, Any] = {"Type": "volume"}
    for field in fields(spec):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        setter = _SETTERS.get(key)
        if setter is None:
            raise ValueError(
                f"unexpected key '{key}' in '{field}'"
                if equals
                else f"invalid field '{field}' must be a key=value pair"
            )
        if not equals and key not in _SWITCHES:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        setter(found, value)
    if not found.get("Target"):
        raise ValueError("target is required")
    if found["Type"] == "bind" and str(found.get("Source", "")).startswith("."):
        found["Source"] = os.path.abspath(found["Source"])
    return found


def fields(spec: str) -> list[str]:
    """The comma-separated fields; a field in double quotes may hold commas. Raises ValueError."""
    if not spec:
        raise ValueError("value is empty")
    found, field, quoted = [], "", False
    for sign in spec:
        if sign == '"':
            quoted = not quoted
        elif sign == "," and not quoted:
            found.append(field)
            field = ""
        else:
            field += sign
    return [*found, field]


def truth(value: str) -> bool:
    """A switch's value. Raises ValueError."""
    if value.lower() not in _TRUTH:
        raise ValueError(f"invalid value: {value}")
    return _TRUTH[value.lower()]


def _put(*path: str) -> Any:
    def setter(found: dict[str, Any], value: str) -> None:
        for name in path[:-1]:
            found = found.setdefault(name, {})
        found[path[-1]] = value

    return setter


def _switch(*path: str) -> Any:
    put = _put(*path)
    return lambda found, value: put(found, truth(value))


def _pair(*path: str) -> Any:
    def setter(found: dict[str, Any], value: str) -> None:
        key, _, text = value.partition("=")
        _put(*path, key)(found, text)

    return setter


def _kind(found: dict[str, Any], value: str) -> None:
    found["Type"] = value.lower()


def _recursive(found: dict[str, Any], value: str) -> None:
    options = found.setdefault("BindOptions", {})
    settings = {
        "enabled": {},
        "disabled": {"NonRecursive": True},
        "writable": {"ReadOnlyNonRecursive": True},
        "readonly": {"ReadOnlyForceRecursive": True},
    }
    if value not in settings:
        raise ValueError(
            f'invalid value for bind-recursive: {value} (must be "enabled", "disabled", "writable", or "readonly")'
        )
    options.update(settings[value])


_SWITCHES = frozenset(("readonly", "ro", "volume-nocopy", "bind-nonrecursive"))
_SETTERS: dict[str, Any] = {
    "type": _kind,
    "source": _put("Source"),
    "src": _put("Source"),
    "target": _put("Target"),
    "dst": _put("Target"),
    "destination": _put("Target"),
    "readonly": _switch("ReadOnly"),
    "ro": _switch("ReadOnly"),
    "consistency": _put("Consistency"),
    "bind-propagation": _put("BindOptions", "Propagation"),
    "bind-nonrecursive": _switch("BindOptions", "NonRecursive"),
    "bind-recursive": _recursive,
    "volume-nocopy": _switch("VolumeOptions", "NoCopy"),
    "volume-label": _pair("VolumeOptions", "Labels"),
    "volume-driver": _put("VolumeOptions", "DriverConfig", "Name"),
    "volume-opt": _pair("VolumeOptions", "DriverConfig", "Options"),
    "volume-subpath": _put("VolumeOptions", "Subpath"),
    "image-subpath": _put("ImageOptions", "Subpath"),
    "tmpfs-size": lambda found, value: _put("TmpfsOptions", "SizeBytes")(found, parse_bytes(value)),
    "tmpfs-mode": lambda found, value: _put("TmpfsOptions", "Mode")(found, int(value, 8)),
}
