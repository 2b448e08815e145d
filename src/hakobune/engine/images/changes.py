"""`--change` of an import: Dockerfile instructions that alter an image's configuration, and no others."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable
from typing import Any

from hakobune.errors import InvalidArgument

Config = dict[str, Any]


def apply(changes: Iterable[str]) -> Config:
    """The `config` that the instructions describe. Raises InvalidArgument naming the instruction."""
    config: Config = {}
    for line in changes:
        word, _, rest = line.strip().partition(" ")
        change = _CHANGES.get(word.upper())
        if change is None:
            raise InvalidArgument(f"{word.upper() or line!r} is not a valid change command")
        if not rest.strip():
            raise InvalidArgument(f"{word.upper()} requires at least one argument")
        change(config, rest.strip())
    return config


def _words(text: str) -> list[str]:
    """JSON form, or the shell form through /bin/sh."""
    if text.startswith("["):
        try:
            words = json.loads(text)
        except ValueError:
            words = None
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return words
    return ["/bin/sh", "-c", text]


def _pairs(text: str, what: str) -> Iterable[tuple[str, str]]:
    try:
        words = shlex.split(text)
    except ValueError as err:
        raise InvalidArgument(f"{what}: {err}: {text!r}") from err
    if words and "=" not in words[0] and len(words) > 1:
        return [(words[0], text.partition(" ")[2].strip())]
    pairs = [word.partition("=") for word in words]
    if any(not found for _name, found, _value in pairs):
        raise InvalidArgument(f"{what} must have the form name=value: {text!r}")
    return [(name, value) for name, _found, value in pairs]


def _env(config: Config, text: str) -> None:
    config.setdefault("Env", []).extend(f"{name}={value}" for name, value in _pairs(text, "ENV"))


def _label(config: Config, text: str) -> None:
    config.setdefault("Labels", {}).update(_pairs(text, "LABEL"))


def _expose(config: Config, text: str) -> None:
    for word in text.split():
        port, _, protocol = word.partition("/")
        if not port.isdigit():
            raise InvalidArgument(f"EXPOSE: invalid port: {word!r}")
        config.setdefault("ExposedPorts", {})[f"{port}/{protocol or 'tcp'}"] = {}


def _volume(config: Config, text: str) -> None:
    names = json.loads(text) if text.startswith("[") else text.split()
    config.setdefault("Volumes", {}).update({name: {} for name in names})


def _setter(key: str) -> Callable[[Config, str], None]:
    def change(config: Config, text: str) -> None:
        config[key] = text

    return change


_CHANGES: dict[str, Callable[[Config, str], None]] = {
    "CMD": lambda config, text: config.update(Cmd=_words(text)),
    "ENTRYPOINT": lambda config, text: config.update(Entrypoint=_words(text)),
    "ENV": _env,
    "LABEL": _label,
    "EXPOSE": _expose,
    "VOLUME": _volume,
    "USER": _setter("User"),
    "WORKDIR": _setter("WorkingDir"),
    "STOPSIGNAL": _setter("StopSignal"),
    "ONBUILD": lambda config, text: config.setdefault("OnBuild", []).append(text),
}
