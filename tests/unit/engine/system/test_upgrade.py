"""What is refused before anything changes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hakobune.engine.http.message import Query, Request, Taken
from hakobune.engine.system.upgrade import upgrade
from hakobune.errors import InvalidArgument, Unimplemented


def ask(query: str, *, can_take: bool = True) -> None:
    def begin(_python: str, _taken: Taken) -> None:
        raise AssertionError("it has begun")

    connection = cast("Any", SimpleNamespace(can_take=can_take))
    request = Request("POST", "/hako/upgrade", Query(query), {}, (1, 51), connection)
    asyncio.run(upgrade(request, begin))


@pytest.mark.parametrize("python", ["bin/python", "/nowhere/python", "/etc/passwd"])
def test_no_interpreter(python: str) -> None:
    with pytest.raises(InvalidArgument, match=f"'{python}' is no program with a full path"):
        ask(f"python={python}")


def test_a_connection_that_cannot_change_hands() -> None:
    with pytest.raises(Unimplemented, match="not over TLS"):
        ask("", can_take=False)
