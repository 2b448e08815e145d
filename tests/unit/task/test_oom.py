"""The OOM watch with a group of our own making: what it hears is a reason to look, what it tells is what it has counted."""

from __future__ import annotations

import os
import select

from hakobune.task.loop import Loop
from hakobune.task.oom import Watch


class Group:
    """Stands for a Cgroup: an eventfd, and a counter."""

    path = "/x"

    def __init__(self) -> None:
        self.kills = 0
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def oom_watch(self) -> tuple[int, int]:
        return self.fd, select.POLLIN

    def oom_kills(self) -> int:
        return self.kills


def test_the_counter_is_told_once_for_each_growth(loop: Loop) -> None:
    group, told = Group(), []
    watch = Watch(loop, group, lambda: told.append(group.kills))  # type: ignore[arg-type]
    os.eventfd_write(group.fd, 1)
    loop.later(0.01, loop.stop)
    loop.run()
    assert told == []  # a neighbour's
    group.kills = 2
    watch.look()
    watch.look()
    assert told == [2]
    watch.close()
    watch.close()


def test_a_killing_that_comes_after_the_word_is_seen(loop: Loop) -> None:
    group, told = Group(), []

    def tell() -> None:
        told.append(group.kills)
        loop.stop()

    watch = Watch(loop, group, tell)  # type: ignore[arg-type]
    os.eventfd_write(group.fd, 1)
    loop.later(0.005, lambda: setattr(group, "kills", 1))
    loop.run()
    assert told == [1]
    watch.close()


def test_who_takes_over_goes_on_counting(loop: Loop) -> None:
    group, told = Group(), []
    group.kills = 3
    watch = Watch(loop, group, lambda: told.append(group.kills), seen=3)  # type: ignore[arg-type]
    watch.look()
    assert told == []
    group.kills = 4
    watch.look()
    assert (told, watch.seen) == ([4], 4)
    watch.close()
