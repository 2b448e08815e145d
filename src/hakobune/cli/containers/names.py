"""A container by name or id as a path of the API."""

from __future__ import annotations

from ..failure import Failure
from ..http import quote


def path(name: str, rest: str = "") -> str:
    """`/containers/NAME/rest`. Raises Failure for an empty name, which would mean all of them."""
    if not name.strip("/ "):
        raise Failure("invalid container name or ID: value is empty")
    return f"/containers/{quote(name).replace('/', '%2F')}{rest}"
