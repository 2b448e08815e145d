"""What is measured. A case is opened on an engine, run once per round, and closed.

One round gives named figures; `engine_bench` lets the engines take turns and keeps the medians.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import time
from collections.abc import Callable
from typing import Protocol

from bench import memory
from bench.client import Client
from bench.engines import Engine

IMAGE = "bench:latest"
CLIENTS = 8
SETTLE_SECONDS = (
    5.0  # of rest for every engine, before memory is read: helpers of a start are gone, ours are asleep
)

Figures = dict[str, float]


class Case(Protocol):
    """One case on one engine. Both methods raise RuntimeError (the engine's words) and OSError."""

    def once(self) -> Figures: ...
    def close(self) -> None: ...


class Watch:
    """Milliseconds since the last look."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Time of this lap; the next one begins."""
        now = time.perf_counter()
        self._last, before = now, self._last
        return (now - before) * 1e3


class Lifecycle:
    """A container's life: create, start and wait of `true` ("run" is their sum), then the removal."""

    def __init__(self, engine: Engine, network: str) -> None:
        self._client = Client(engine.socket)
        self._network = network

    def once(self) -> Figures:
        client, watch = self._client, Watch()
        identity = client.create(IMAGE, ["/bin/true"], self._network)
        create = watch.lap()
        client.start(identity)
        start = watch.lap()
        code = client.wait(identity)
        wait = watch.lap()
        client.remove(identity)
        remove = watch.lap()
        if code != 0:
            raise RuntimeError(f"true ended with {code}")
        return {"create": create, "start": start, "wait": wait, "run": create + start + wait, "rm": remove}

    def close(self) -> None:
        self._client.close()


class Exec:
    """An exec of `echo` in a running container: created, started, read to its end, inspected."""

    def __init__(self, engine: Engine) -> None:
        self._client = Client(engine.socket)
        self._identity = self._client.create(IMAGE, ["/bin/sleep", "600"], "none")
        self._client.start(self._identity)

    def once(self) -> Figures:
        watch = Watch()
        code, output = self._client.exec(self._identity, ["/bin/echo", "x"])
        span = watch.lap()
        if code != 0 or b"x" not in output:
            raise RuntimeError(f"exec ended with {code}, {output!r}")
        return {"exec": span}

    def close(self) -> None:
        self._client.remove(self._identity)
        self._client.close()


class Stop:
    """Stop with time-out 0 (SIGKILL) of a running container."""

    def __init__(self, engine: Engine) -> None:
        self._client = Client(engine.socket)

    def once(self) -> Figures:
        identity = self._client.create(IMAGE, ["/bin/sleep", "600"], "none")
        try:
            self._client.start(identity)
            watch = Watch()
            self._client.call("POST", f"/containers/{identity}/stop?t=0")
            return {"stop": watch.lap()}
        finally:
            self._client.remove(identity)

    def close(self) -> None:
        self._client.close()


class Crowd:
    """Containers created and started by eight clients at once, and what they cost while all of them run.

    "daemons" is what runs before the first of them, "helpers" what came with them, without the containers' own.
    """

    def __init__(self, engine: Engine, count: int) -> None:
        self._engine = engine
        self._count = count

    def once(self) -> Figures:
        time.sleep(SETTLE_SECONDS)
        daemons = self._engine.processes()
        idle = memory.pss_kib(daemons)
        identities: list[str] = []
        try:
            began = time.perf_counter()
            with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
                identities.extend(pool.map(lambda _number: self._launch(), range(self._count)))
            wall = time.perf_counter() - began
            time.sleep(SETTLE_SECONDS)
            helpers = memory.pss_kib(self._engine.processes() - daemons)
            busy = memory.pss_kib(daemons)
        finally:
            with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
                list(pool.map(self._drop, identities))
        return {
            "per_s": self._count / wall,
            "helper_kib": helpers / self._count,
            "daemons_idle_mib": idle / 1024,
            "daemons_busy_mib": busy / 1024,
        }

    def _launch(self) -> str:
        client = Client(self._engine.socket)
        with contextlib.closing(client):
            identity = client.create(IMAGE, ["/bin/sleep", "600"], "none")
            client.start(identity)
            return identity

    def _drop(self, identity: str) -> None:
        client = Client(self._engine.socket)
        with contextlib.closing(client):
            client.remove(identity)

    def close(self) -> None:
        """Nothing is open between rounds."""


Opener = Callable[[Engine], Case]


def all_cases(count: int) -> dict[str, Opener]:
    """Each case's name and how it is opened; `count` is the size of the crowd."""
    return {
        "none": functools.partial(Lifecycle, network="none"),
        "bridge": functools.partial(Lifecycle, network="bridge"),
        "exec": Exec,
        "stop": Stop,
        "crowd": functools.partial(Crowd, count=count),
    }


NAMES = tuple(all_cases(0))
