"""The table of statuses, restart policies and their patience."""

from __future__ import annotations

from typing import Any

import pytest

from hakobune.engine.containers import lifecycle
from hakobune.errors import Conflict, HakoError, NotModified


@pytest.mark.parametrize("status", ["created", "exited", "restarting", "dead"])
def test_may_start(status: str) -> None:
    lifecycle.may_start(status)


@pytest.mark.parametrize(
    ("status", "error"),
    [("running", NotModified), ("paused", Conflict), ("removing", Conflict), ("odd", HakoError)],
)
def test_may_not_start(status: str, error: type[HakoError]) -> None:
    with pytest.raises(error):
        lifecycle.may_start(status)


def test_removal() -> None:
    for status in ("created", "exited", "dead"):
        lifecycle.may_remove(status, "web", force=False)
    for status in ("running", "paused", "restarting"):
        lifecycle.may_remove(status, "web", force=True)
        with pytest.raises(Conflict, match=f'cannot remove container "/web": container is {status}'):
            lifecycle.may_remove(status, "web", force=False)


POLICIES: list[tuple[dict[str, Any], int, int, bool, bool]] = [
    ({}, 1, 0, False, False), ({"Name": "no"}, 1, 0, False, False), ({"Name": "always"}, 0, 99, False, True),
    ({"Name": "always"}, 1, 0, True, False), ({"Name": "unless-stopped"}, 0, 0, False, True),
    ({"Name": "on-failure"}, 0, 0, False, False), ({"Name": "on-failure"}, 1, 99, False, True),
    ({"Name": "on-failure", "MaximumRetryCount": 2}, 1, 1, False, True),
    ({"Name": "on-failure", "MaximumRetryCount": 2}, 1, 2, False, False),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "code", "count", "stopped", "again"), POLICIES)
def test_policies(policy: dict[str, Any], code: int, count: int, stopped: bool, again: bool) -> None:
    assert lifecycle.restarts(policy, code, count, stopped=stopped) is again


def test_policies_at_boot() -> None:
    def again(name: str, code: int, stopped: bool) -> bool:
        return lifecycle.restarts_at_boot({"Name": name}, code, 0, stopped=stopped)

    assert again("always", 0, True)
    assert again("unless-stopped", 0, False)
    assert not again("unless-stopped", 0, True)
    assert again("on-failure", 1, False)
    assert not again("on-failure", 0, False)
    assert not again("no", 1, False)


def test_tries_are_counted_over_a_boot() -> None:
    policy = {"Name": "on-failure", "MaximumRetryCount": 2}
    assert lifecycle.restarts_at_boot(policy, 1, 1, stopped=False)
    assert not lifecycle.restarts_at_boot(policy, 1, 2, stopped=False)


def test_patience_doubles_to_a_minute_and_is_forgotten() -> None:
    waits, last = [], 0.0
    for _ in range(12):
        last = lifecycle.next_backoff(last, 0.1)
        waits.append(last)
    assert waits[:3] == [0.1, 0.2, 0.4]
    assert waits[-1] == 60.0
    assert lifecycle.next_backoff(60.0, 10.0) == 0.1
