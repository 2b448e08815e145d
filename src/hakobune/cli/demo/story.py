"""The story from its first line to its last, and its exit code."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

from ..failure import Failure
from . import crash, data, end, images, life, times
from .engine import Engine, Peer
from .stage import Stage, StoryFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

_CHAPTERS = (images.play, life.play, end.play, data.play, crash.play, times.play)
_INTERRUPTED = 130


def tell(engine: Engine, command: list[str], peers: Sequence[Peer] = ()) -> int:
    """Play all chapters on a private engine; `command` is the argv of `hako`, `peers` are for the last table.

    Returns 0 when every claim was so, 1 when one was not or the story broke off, 130 when interrupted. The
    engine is stopped and its traces are removed in any case.
    """
    signal.signal(signal.SIGTERM, _as_interrupt)
    begun = time.monotonic()
    stage = Stage(engine, command, peers)
    code = 1
    try:
        _begin(stage)
        for chapter in _CHAPTERS:
            chapter(stage)
        code = 0
    except KeyboardInterrupt:
        print("\n   interrupted: taking everything away again", flush=True)
        code = _INTERRUPTED
    except (StoryFailed, Failure, AssertionError, OSError) as err:
        stage.claim("the story goes on to its end", False, otherwise=str(err))
    finally:
        # from here on nothing may stop us: what was made is taken away
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        _end(stage)
    return _verdict(stage, code, time.monotonic() - begun)


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _begin(stage: Stage) -> None:
    stage.tell(
        "The life of one container, told by real commands on a private engine. Beside each of them is how"
        " docker spells it; a ✓ is a claim that was checked on this host."
    )
    begun = time.monotonic()
    with stage.undisturbed():
        stage.engine.start()
    stage.tell(
        f"hakod, its hako-containerd and zygote are up after {(time.monotonic() - begun) * 1000:.0f} ms."
    )
    stage.show(f"$ export DOCKER_HOST={stage.engine.host}")


def _end(stage: Stage) -> None:
    stage.close()
    problem = ""
    try:
        stage.engine.stop()
    except (AssertionError, OSError) as err:
        problem = str(err)
    stage.claim(
        "the engine is stopped and nothing of it is left on this host", not problem, otherwise=problem
    )


def _verdict(stage: Stage, code: int, seconds: float) -> int:
    if code == 0 and not stage.failed:
        print(f"\n   Every claim was so. {seconds:.1f} s in all.", flush=True)
        print("   How to start an engine of your own is in README.md.", flush=True)
        return 0
    for text in stage.failed:
        print(f"   not so: {text}", flush=True)
    return code or 1
