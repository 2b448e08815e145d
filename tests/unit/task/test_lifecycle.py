"""The state machine of a process: the table, and what the texts say."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakobune.errors import FailedPrecondition
from hakobune.task.lifecycle import TABLE, Event, Life, Status, exit_status

EVENTS = [value for name, value in vars(Event).items() if name.isupper()]


@pytest.mark.parametrize(("state", "event"), list(itertools.product(TABLE, EVENTS)))
def test_every_pair(state: str, event: str) -> None:
    life = Life("container")
    life.state = state
    if event in TABLE[state]:
        assert life.allows(event)
        life.feed(event)
        assert life.state == TABLE[state][event]
    else:
        with pytest.raises(FailedPrecondition, match=f"cannot {event} a {state} container"):
            life.feed(event)
        assert life.state == state


@given(st.lists(st.sampled_from(EVENTS)))
def test_no_way_back_from_the_end(story: list[str]) -> None:
    life = Life("exec process")
    seen = []
    for event in story:
        if life.allows(event):
            life.feed(event)
        seen.append(life.status)
    if Status.STOPPED in seen:
        assert set(seen[seen.index(Status.STOPPED) :]) <= {Status.STOPPED, Status.UNKNOWN}


def test_an_exit_is_told_once() -> None:
    life = Life("container")
    assert not life.dead
    life.exited(3, 100)
    life.exited(4, 200)
    assert (life.exit_status, life.exited_at, life.dead, life.status) == (3, 100, True, Status.STOPPED)


@pytest.mark.parametrize(("raw", "status"), [(0, 0), (3 << 8, 3), (9, 137), (15, 143), (11 | 0x80, 139)])
def test_exit_status(raw: int, status: int) -> None:
    assert exit_status(raw) == status
