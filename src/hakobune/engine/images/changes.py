"""`--change` of an import or a commit: instructions of a Dockerfile that alter an image's configuration, and no others.

Pure: texts in, the `config` object of an image configuration out.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hakobune.engine.images import words
from hakobune.engine.images.health import healthcheck
from hakobune.errors import InvalidArgument

Config = dict[str, Any]

_SHELL = ["/bin/sh", "-c"]
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_SIGNAL = re.compile(r"(?:SIG)?[A-Z][A-Z0-9]*(?:[+-]\d+)?", re.IGNORECASE)


def apply(changes: Iterable[str], base: Config | None = None) -> Config:
    """The `config` that the instructions make of `base`, in their order. Raises InvalidArgument naming the instruction."""
    config: Config = dict(base or {})
    for line in _lines("\n".join(changes)):
        word, _, rest = line.partition(" ")
        name, rest = word.upper(), rest.strip()
        change = _CHANGES.get(name)
        if change is None:
            raise InvalidArgument(f"{name.lower()} is not a valid change command")
        if not rest:
            raise InvalidArgument(f"{name} requires at least one argument")
        change(config, rest)
    config.pop("_cmd", None)
    return config


def _lines(text: str) -> Iterator[str]:
    """Instructions, comments and empty lines left out, continued lines joined."""
    whole = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            continue
        stripped = line.rstrip()
        whole += stripped.removesuffix("\\").replace("\t", " ") if not whole else stripped.removesuffix("\\")
        if stripped.endswith("\\"):
            continue
        if whole.strip():
            yield whole.strip()
        whole = ""
    if whole.strip():
        yield whole.strip()


def _json(text: str) -> list[str] | None:
    """The list of strings that a text in JSON form is; None for any other text."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) and all(isinstance(word, str) for word in found) else None


def _command(config: Config, text: str) -> list[str]:
    found = _json(text)
    return [*(config.get("Shell") or _SHELL), text] if found is None else found


def _expand(config: Config, text: str) -> str:
    """With the variables of the configuration's Env put in."""
    return words.expand(text, dict(one.partition("=")[::2] for one in config.get("Env", ())))


def _cmd(config: Config, text: str) -> None:
    config["Cmd"] = _command(config, text)
    config["_cmd"] = True


def _entrypoint(config: Config, text: str) -> None:
    config["Entrypoint"] = _command(config, text)
    if not config.get("_cmd"):
        config["Cmd"] = None


def _env(config: Config, text: str) -> None:
    known = {one.partition("=")[0]: one for one in config.get("Env", ())}
    for name, value in words.pairs("ENV", _expand(config, text)):
        known[name] = f"{name}={value}"
    config["Env"] = list(known.values())


def _label(config: Config, text: str) -> None:
    config.setdefault("Labels", {}).update(words.pairs("LABEL", _expand(config, text)))


def _expose(config: Config, text: str) -> None:
    for word in _expand(config, text).split():
        match = _PORT.fullmatch(word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match is None or not 0 < first <= last <= 65535:
            raise InvalidArgument(f"EXPOSE: invalid port: {word}")
        protocol = (match[3] or "tcp").lower()
        config.setdefault("ExposedPorts", {}).update(
            {f"{port}/{protocol}": {} for port in range(first, last + 1)}
        )


def _volume(config: Config, text: str) -> None:
    places = _json(text)
    for place in _expand(config, text).split() if places is None else places:
        if not place.strip():
            raise InvalidArgument("VOLUME specified can not be an empty string")
        config.setdefault("Volumes", {})[place] = {}


def _user(config: Config, text: str) -> None:
    config["User"] = _one("USER", _expand(config, text))


def _workdir(config: Config, text: str) -> None:
    directory = posixpath.join("/", config.get("WorkingDir", ""), words.unquote(_expand(config, text)))
    config["WorkingDir"] = posixpath.normpath(directory).replace("//", "/")


def _stopsignal(config: Config, text: str) -> None:
    name = _one("STOPSIGNAL", _expand(config, text))
    if not _SIGNAL.fullmatch(name) and not (name.isdigit() and 0 < int(name) <= 64):
        raise InvalidArgument(f"invalid signal: {name}")
    config["StopSignal"] = name


def _one(name: str, text: str) -> str:
    found = text.split()
    if len(found) != 1:
        raise InvalidArgument(f"{name} requires exactly one argument")
    return found[0]


def _onbuild(config: Config, text: str) -> None:
    trigger = text.split()[0].upper()
    if trigger == "ONBUILD":
        raise InvalidArgument("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("FROM", "MAINTAINER"):
        raise InvalidArgument(f"{trigger} isn't allowed as an ONBUILD trigger")
    config.setdefault("OnBuild", []).append(text)


def _health(config: Config, text: str) -> None:
    config["Healthcheck"] = healthcheck(text, _json)


_CHANGES: dict[str, Callable[[Config, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _health,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
