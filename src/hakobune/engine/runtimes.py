"""What the names of runtimes mean: `docker run --runtime NAME`, --default-runtime, and daemon.json's `runtimes`.

hako              our shim with the runtime that is built into it
runc, crun        our shim with that program, where PATH has it
NAME of settings  our shim with the program of its `path`; or, by its `runtimeType`, the shim of another
io.containerd.X.vN, /a/path   that shim, as it is
A program that is to get arguments of its own is called through a script, as dockerd does it. Imports: wire.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from hakobune.errors import InvalidArgument
from hakobune.wire import pb

DEFAULT = "hako"
OWN = "io.containerd.hako.v1"
OPTIONS_TYPE = "containerd.runc.v1.Options"
_SHIM = re.compile(r"io\.containerd\.[a-zA-Z0-9_-]+\.v[0-9]+")
_PROGRAMS = ("runc", "crun")
_TRUTH, _TEXT = bool, str
# daemon.json's options of a runtime: field numbers and kinds of api/types/runc/options
_OPTIONS: dict[str, tuple[int, type]] = {
    "NoPivotRoot": (1, _TRUTH), "NoNewKeyring": (2, _TRUTH), "ShimCgroup": (3, _TEXT), "BinaryName": (6, _TEXT),
    "Root": (7, _TEXT), "SystemdCgroup": (9, _TRUTH),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """`shim` as the manager is told; `options` is an encoded message of OPTIONS_TYPE, or empty; `shown` in `info`."""

    shim: str
    options: bytes
    shown: Mapping[str, Any]

    @property
    def built_in(self) -> bool:
        """The runtime in our shim's own image."""
        return self.own and not self.options

    @property
    def own(self) -> bool:
        """Our shim: it keeps the streams and takes clients' connections."""
        return self.shim == OWN


class Runtimes:
    """All that are known to one engine."""

    def __init__(self, declared: Mapping[str, Mapping[str, Any]], default: str, scripts: str) -> None:
        """`declared` as `declaration` returned them; `scripts` is a directory of ours, "" to write none.

        Raises InvalidArgument for a default that is unknown, OSError.
        """
        self._known = {DEFAULT: Kind(OWN, b"", {"path": "hako-runtime"})}
        for name in _PROGRAMS:
            if path := shutil.which(name):
                self._known[name] = _program(path)
        for name, one in declared.items():
            self._known[name] = _kind(name, one, scripts)
        self.default = default
        self.of(default)

    def of(self, name: str) -> Kind:
        """What to tell the manager; the default for "". Raises InvalidArgument."""
        name = name or self.default
        if (known := self._known.get(name)) is not None:
            return known
        if _SHIM.fullmatch(name) or name.startswith("/"):
            return Kind(name, b"", {"path": name})
        raise InvalidArgument(f"unknown or invalid runtime name: {name}")

    def name_of(self, name: str) -> str:
        """What a new container gets on record. Raises InvalidArgument."""
        self.of(name)
        return name or self.default

    def shown(self) -> dict[str, Mapping[str, Any]]:
        """As `info` lists them."""
        return {name: kind.shown for name, kind in sorted(self._known.items())}


def declaration(name: str, given: Any) -> dict[str, Any]:
    """One entry of daemon.json's `runtimes`, checked: path and runtimeArgs, or runtimeType and options. Raises InvalidArgument."""
    if not isinstance(given, Mapping):
        raise InvalidArgument(f"runtimes.{name}: an object is needed")
    if name == DEFAULT or _SHIM.fullmatch(name):
        raise InvalidArgument(f"runtimes.{name}: this name is taken: choose another")
    if re.fullmatch("[a-zA-Z0-9][a-zA-Z0-9_.-]*", name) is None:
        raise InvalidArgument(f"runtimes.{name}: a name has letters, digits, and _.- after the first")
    shapes = {"path": str, "runtimeType": str, "runtimeArgs": list, "options": dict}
    for key, value in given.items():
        if key not in shapes:
            raise InvalidArgument(f"runtimes.{name}: {key} is unknown: {', '.join(shapes)} are known")
        if not isinstance(value, shapes[key]):
            raise InvalidArgument(f"runtimes.{name}.{key}: {value!r} has the wrong type")
    if bool(given.get("path")) == bool(given.get("runtimeType")):
        raise InvalidArgument(f"runtimes.{name}: either path or runtimeType is needed")
    if given.get("runtimeArgs") and not given.get("path"):
        raise InvalidArgument(f"runtimes.{name}: runtimeArgs go with a path, not with a runtimeType")
    if given.get("options") and not given.get("runtimeType"):
        raise InvalidArgument(f"runtimes.{name}: options go with a runtimeType, not with a path")
    _encode(f"runtimes.{name}.options", given.get("options") or {})
    return dict(given)


def from_flag(text: str) -> tuple[str, dict[str, Any]]:
    """`--add-runtime NAME=PATH`. Raises InvalidArgument."""
    name, found, path = text.partition("=")
    if not found or not name or not path:
        raise InvalidArgument(f"--add-runtime: {text!r} is not of the form NAME=PATH")
    return name, declaration(name, {"path": path})


def _kind(name: str, declared: Mapping[str, Any], scripts: str) -> Kind:
    if declared.get("runtimeType"):
        options = _encode(f"runtimes.{name}.options", declared.get("options") or {})
        return Kind(declared["runtimeType"], options, declared)
    path, arguments = declared["path"], declared.get("runtimeArgs") or []
    if arguments and scripts:
        path = _script(f"{scripts}/{name}", path, arguments)
    return Kind(OWN, _encode("", {"BinaryName": path}), declared)


def _program(path: str) -> Kind:
    return Kind(OWN, _encode("", {"BinaryName": path}), {"path": path})


def _encode(where: str, options: Mapping[str, Any]) -> bytes:
    encoded = b""
    for key, value in options.items():
        if key not in _OPTIONS:
            raise InvalidArgument(f"{where}.{key} is unknown: {', '.join(_OPTIONS)} are known")
        number, kind = _OPTIONS[key]
        if not isinstance(value, kind):
            raise InvalidArgument(f"{where}.{key}: {value!r} has the wrong type")
        encoded += pb.field(number, cast("bool | str", value))
    return encoded


def _script(path: str, program: str, arguments: Iterable[str]) -> str:
    """A program that is that one with arguments before its own; whole or not at all. Raises OSError."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    line = " ".join(shlex.quote(word) for word in (program, *map(str, arguments)))
    with open(f"{path}.new", "w") as file:
        file.write(f'#!/bin/sh\nexec {line} "$@"\n')
    os.chmod(f"{path}.new", 0o700)
    os.rename(f"{path}.new", path)
    return path
