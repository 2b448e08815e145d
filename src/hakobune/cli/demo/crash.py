"""Chapter 5: both daemons are killed; containers, logs and sessions go on."""

from __future__ import annotations

import time
from itertools import pairwise

from . import host
from .images import IMAGE
from .stage import Stage, StoryFailed

_NAME = "counter"
_COUNT = "trap exit TERM; n=0; while :; do echo $((n+=1)); sleep 0.05; done"
_TALK = "for i in 1 2 3 4 5 6 7 8 9; do echo line $i; sleep 0.3; done; exit 9"
_DARK_SECONDS = 1.0
_AT_FIRST = 10


def play(stage: Stage) -> None:
    """Raises StoryFailed when the counter does not count."""
    stage.chapter(5, "Both daemons are killed; the container does not notice")
    stage.hako("run", "-d", "--name", _NAME, IMAGE, "sh", "-c", _COUNT)
    talker = stage.session("run", "--name", "talker", IMAGE, "sh", "-c", _TALK)
    pid = int(stage.hako("inspect", "-f", "{{.State.Pid}}", _NAME))
    if not stage.until(lambda: _both_speak(stage), 10.0):
        raise StoryFailed("the counter does not count")
    with stage.undisturbed():
        seconds = _kill_and_return(stage, pid)
    now = stage.hako("inspect", "-f", "{{.State.Pid}} {{.State.Status}}", _NAME).strip()
    stage.claim(f"new daemons took over the same process {pid}", now == f"{pid} running", otherwise=now)
    stage.tell(f"From the start of the new hakod to its first answer: {seconds * 1000:.0f} ms.")
    stage.hako("logs", "--tail", "3", _NAME)
    stage.hako("exec", _NAME, "echo", "still aboard")
    stage.hako("stop", _NAME)
    _no_gap(stage)
    out, _ = talker.communicate(timeout=20)
    spoken = out.split("\n")[:-1]
    stage.tell(f"The `hako run` of before has printed: {', '.join(spoken)}.")
    whole = spoken == [f"line {number}" for number in range(1, 10)]
    stage.claim(
        "the session that was attached all along printed every line", whole, otherwise=repr(out[-300:])
    )
    stage.claim(
        "and ended with its command's exit code, 9", talker.returncode == 9, otherwise=str(talker.returncode)
    )


def _both_speak(stage: Stage) -> bool:
    count = len(stage.hako("logs", _NAME, quiet=True).split())
    names = stage.hako("ps", "--format", "{{.Names}}", quiet=True).split()
    return count >= _AT_FIRST and "talker" in names


def _kill_and_return(stage: Stage, pid: int) -> float:
    """SIGKILL, a second of darkness, new daemons; returns the seconds that their start took."""
    daemons = stage.engine.daemons()
    stage.tell(
        f"kill -9 {daemons.get('hakod')} {daemons.get('hako-containerd')}   (hakod and hako-containerd)"
    )
    killed = stage.engine.kill()
    stage.claim(
        "both daemons are dead", not any(host.alive(number) for number in killed) and len(killed) == 2
    )
    stage.claim("the container runs on without them", host.alive(pid))
    time.sleep(_DARK_SECONDS)
    begun = time.monotonic()
    stage.engine.start()
    return time.monotonic() - begun


def _no_gap(stage: Stage) -> None:
    numbers = [int(word) for word in stage.hako("logs", _NAME, quiet=True).split()]
    stage.tell(f"All of `hako logs {_NAME}`: {len(numbers)} lines, {numbers[0]} … {numbers[-1]}.")
    gaps = [n for n, (a, b) in enumerate(pairwise(numbers)) if b != a + 1]
    stage.claim(
        "the log begins with 1 and has no gap", numbers[0] == 1 and not gaps, otherwise=f"after {gaps[:5]}"
    )
