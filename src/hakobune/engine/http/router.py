"""Routes as data, found by method and path after the version prefix is taken off.

`{name}` in a path stands for one or more segments, as in Docker's own table (image names hold slashes); the
first fitting route of the table wins, literal paths before all.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from hakobune.engine.http.message import Request, Response, Taken
from hakobune.errors import InvalidArgument, NotFound

Handler = Callable[[Request], Awaitable[Response | Taken]]

MIN_VERSION = (1, 24)
MAX_VERSION = (1, 51)
_VERSIONED = re.compile(r"/v(\d{1,4})\.(\d{1,4})(/.*)")
_PARAMETER = re.compile(r"\{(\w+)\}")


def version_text(version: tuple[int, int]) -> str:
    """1.51"""
    return f"{version[0]}.{version[1]}"


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table.

    A client that goes away cancels its handler (CancelledError at an await), unless the route is
    `uninterrupted`: for verbs that must not stop half-way. Those can look at `request.connection.lost`.
    """

    method: str
    path: str
    handler: Handler
    uninterrupted: bool = False


class Router:
    """The table, ready for look-up. Immutable."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._literal: dict[tuple[str, str], Route] = {}
        self._patterns: dict[tuple[str, str], list[tuple[re.Pattern[str], Route]]] = {}
        for route in routes:
            if "{" not in route.path:
                self._literal[route.method, route.path] = route
                continue
            head = route.path.split("/", 2)[1]
            self._patterns.setdefault((route.method, head), []).append((_pattern(route.path), route))

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """The route and the values of its parameters. Raises NotFound with Docker's wording."""
        if literal := self._literal.get((method, path)):
            return literal, {}
        head = path.split("/", 2)[1] if path.startswith("/") else ""
        for pattern, route in self._patterns.get((method, head), ()):
            if match := pattern.fullmatch(path):
                return route, match.groupdict()
        raise NotFound("page not found")


def _pattern(path: str) -> re.Pattern[str]:
    parts = _PARAMETER.split(path)  # text, name, text, name, … text
    texts = [re.escape(part) if index % 2 == 0 else f"(?P<{part}>.+)" for index, part in enumerate(parts)]
    return re.compile("".join(texts), re.DOTALL)


def split_version(path: str) -> tuple[tuple[int, int], str]:
    """The API version that the path asks for (the newest without a prefix) and the rest of the path.

    Raises InvalidArgument for versions that are not served.
    """
    match = _VERSIONED.fullmatch(path)
    if match is None:
        return MAX_VERSION, path
    version = int(match[1]), int(match[2])
    if version > MAX_VERSION:
        raise InvalidArgument(
            f"client version {version_text(version)} is too new. "
            f"Maximum supported API version is {version_text(MAX_VERSION)}"
        )
    if version < MIN_VERSION:
        raise InvalidArgument(
            f"client version {version_text(version)} is too old. Minimum supported API version is "
            f"{version_text(MIN_VERSION)}, please upgrade your client to a newer version"
        )
    return version, match[3]
