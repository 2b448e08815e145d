"""Environment variables and labels: from flags, from files, from our own environment."""

from __future__ import annotations

import os

from ..failure import Failure


def environment(values: list[str], files: list[str]) -> list[str]:
    """`NAME=VALUE` lines, those of files first. A NAME alone takes our value. Raises Failure.

    A NAME without a value of ours stays as it is for a flag (it unsets the image's) and is dropped from a file.
    """
    lines = []
    for path in files:
        for line in _lines(path):
            name, equals, _ = line.partition("=")
            if not name or any(sign.isspace() for sign in name):
                raise Failure(f"invalid env file ({path}): variable '{name}' contains whitespaces")
            if equals:
                lines.append(line)
            elif name in os.environ:
                lines.append(f"{name}={os.environ[name]}")
    return lines + [_from_flag(value) for value in values]


def _from_flag(text: str) -> str:
    name, equals, _ = text.partition("=")
    if not name:
        raise Failure(f"invalid environment variable: {text}")
    return f"{name}={os.environ[name]}" if not equals and name in os.environ else text


def labels(values: list[str], files: list[str]) -> dict[str, str]:
    """Labels of files, then of flags. Raises Failure."""
    lines = [line for path in files for line in _lines(path)] + values
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.rstrip("\r\n").lstrip() for line in file]
    except OSError as err:
        raise Failure(f"open {path}: {(err.strerror or str(err)).lower()}") from err
    except UnicodeDecodeError as err:
        raise Failure(f"invalid env file ({path}): not UTF-8") from err
    return [line for line in lines if line and not line.startswith("#")]
