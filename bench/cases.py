"""What is measured: each case takes a running engine and gives named figures; smaller is better unless it is a rate."""

from __future__ import annotations

import concurrent.futures
import itertools
import statistics
import time
from collections.abc import Callable

from bench import memory
from bench.client import Client
from bench.peers import Engine

IMAGE = "bench:latest"
WARM_UP = 3
CLIENTS = 8

Figures = dict[str, float]


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 3)


def lifecycle(engine: Engine, rounds: int, network: str) -> Figures:
    """create, start and wait of `true`, in ms; the removal apart."""
    client = Client(engine.socket)
    parts: dict[str, list[float]] = {"create": [], "start": [], "wait": [], "run": [], "rm": []}
    for number in range(rounds + WARM_UP):
        marks = [time.perf_counter()]
        identity = client.create(IMAGE, ["/bin/true"], network)
        marks.append(time.perf_counter())
        client.start(identity)
        marks.append(time.perf_counter())
        code = client.wait(identity)
        marks.append(time.perf_counter())
        client.remove(identity)
        marks.append(time.perf_counter())
        if code != 0:
            raise RuntimeError(f"true ended with {code}")
        if number >= WARM_UP:
            spans = [(after - before) * 1e3 for before, after in itertools.pairwise(marks)]
            for name, span in zip(parts, (*spans[:3], (marks[3] - marks[0]) * 1e3, spans[3]), strict=True):
                parts[name].append(span)
    client.close()
    return {name: _median(values) for name, values in parts.items()}


def execs(engine: Engine, rounds: int) -> Figures:
    """An exec of `echo`: created, started, read to its end, inspected; in ms."""
    client = Client(engine.socket)
    identity = client.create(IMAGE, ["/bin/sleep", "600"], "none")
    client.start(identity)
    spans = []
    try:
        for number in range(rounds + WARM_UP):
            began = time.perf_counter()
            code, output = client.exec(identity, ["/bin/echo", "x"])
            if code != 0 or b"x" not in output:
                raise RuntimeError(f"exec: {code} {output!r}")
            if number >= WARM_UP:
                spans.append((time.perf_counter() - began) * 1e3)
    finally:
        client.remove(identity)
        client.close()
    return {"exec": _median(spans)}


def crowd(engine: Engine, count: int) -> Figures:
    """`count` containers started by eight clients: containers per second, and what each keeps in memory."""

    def one(_number: int) -> str:
        client = Client(engine.socket)
        identity = client.create(IMAGE, ["/bin/sleep", "600"], "none")
        client.start(identity)
        client.close()
        return identity

    before = set(memory.processes())
    daemons = engine.daemons()
    idle = memory.pss_kib(daemons)
    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        identities = list(pool.map(one, range(count)))
    wall = time.perf_counter() - began
    time.sleep(2)
    table = memory.processes()
    mine = [
        pid
        for pid, (_parent, line) in table.items()
        if pid not in before and not line.startswith("/bin/sleep")
    ]
    helpers = memory.pss_kib(set(mine) - daemons)
    grown = memory.pss_kib(daemons) - idle

    def drop(identity: str) -> None:
        client = Client(engine.socket)
        client.remove(identity)
        client.close()

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(drop, identities))
    return {
        "per_s": round(count / wall, 2),
        "per_container_kib": round(helpers / count),
        "growth_kib": round(grown / count),
    }


def daemons(engine: Engine, _rounds: int) -> Figures:
    """PSS of the engine's daemons, in MiB."""
    return {"daemons_mib": round(memory.pss_kib(engine.daemons()) / 1024, 1)}


CASES: dict[str, Callable[[Engine, int, int], Figures]] = {
    "none": lambda engine, rounds, _count: lifecycle(engine, rounds, "none"),
    "bridge": lambda engine, rounds, _count: lifecycle(engine, rounds, "bridge"),
    "exec": lambda engine, rounds, _count: execs(engine, rounds),
    "crowd": lambda engine, _rounds, count: crowd(engine, count),
    "daemons": lambda engine, rounds, _count: daemons(engine, rounds),
}
