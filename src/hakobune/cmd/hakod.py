"""hakod: the engine daemon. Its flags are dockerd's; `hakod --help` lists them."""

from __future__ import annotations

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # before gRPC is imported: its handlers would run in every child

import asyncio
import gc
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from hakobune.engine import config, succession
from hakobune.engine.app import App
from hakobune.engine.succession import Succession
from hakobune.errors import HakoError
from hakobune.linux import oom_score
from hakobune.version import VERSION


async def _run(settings: config.Config, left: Succession | None) -> Succession | None:
    """Until the end; what is to go on in this process then."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = App(settings, left, stop.set)
    try:
        if await _unless(stop, app.start()):
            gc.collect()
            gc.freeze()  # what stands now stands for ever: no collection needs to look at it
            print(f"hakod: ready on {', '.join(settings.hosts)}", file=sys.stderr)
            await stop.wait()
    finally:
        await app.close()
    return app.succession


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do it; false when it was cut short because `stop` was set first. Raises what it raises."""
    task, told = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((task, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if task.done():
        task.result()
        return True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return False


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    left = None
    try:
        left = succession.inherited(os.environ)
        settings = config.parse(words)
        if settings is None:
            print(f"hakod {VERSION}")
            return 0
        if settings.validate:
            print("configuration OK")
            return 0
        os.umask(0o022)
        oom_score.ask(oom_score.DAEMON)
        if (successor := asyncio.run(_run(settings, left))) is not None:
            successor.execute(words)
    except (HakoError, OSError) as err:
        print(f"hakod: {err}", file=sys.stderr)
        if left is not None:
            left.go_back(str(err), words)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
