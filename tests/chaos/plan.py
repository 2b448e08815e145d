"""A chaos run as pure data: what clients do, and what an adversary does to the engine meanwhile, from one seed.

A round stands by itself: it is made from the seed and its number only, so one round of a long run can be played
again. `python -m tests.chaos.plan SEED FAULTS` prints a plan.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass

CLIENTS = 3
SCRIPTS = 2  # of each client in a round
FAULTS = 8  # of a round
SECONDS = 6.0  # in which they come

# kind -> (weight, shortest and longest duration in seconds)
KINDS: dict[str, tuple[int, float, float]] = {
    "kill hakod": (4, 0.0, 0.8),
    "kill hako-containerd": (4, 0.0, 0.0),
    "kill zygote": (3, 0.0, 0.0),
    "kill all three": (3, 0.0, 0.8),
    "kill shim": (4, 0.0, 0.0),
    "stop hakod": (2, 0.3, 2.0),
    "stop hako-containerd": (2, 0.3, 2.0),
    "stop zygote": (1, 0.3, 2.0),
    "stop shim": (3, 0.3, 2.0),
    "restart hakod": (2, 0.0, 0.3),
    "fill disk": (1, 0.5, 1.5),
    "slow disk": (2, 1.0, 2.0),
    "cut clients": (2, 0.0, 0.0),
    "cut hako-containerd": (2, 0.0, 0.0),
    "cut zygote": (1, 0.0, 0.0),
    "cut shims": (2, 0.0, 0.0),
    "unlink zygote's socket": (1, 0.0, 0.0),
}


@dataclass(frozen=True)
class Fault:
    """`at` seconds after the beginning of the round, for `seconds`. `choice` in [0, 1) picks a victim."""

    at: float
    kind: str
    seconds: float
    choice: float

    def __str__(self) -> str:
        return f"{self.at:5.2f} {self.kind}" + (f" for {self.seconds:.2f} s" if self.seconds else "")


@dataclass(frozen=True)
class Script:
    """One container's life in the hands of one client.

    counter: prints 1 to `number` and ends with `code`
    service: prints up, and on SIGTERM bye, then ends with `code`
    phoenix: prints life and ends with `code`, is started again `number` times by --restart on-failure
    Each also writes a line to its volume at its start.
    """

    name: str
    workload: str
    number: int
    code: int
    acts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.workload} {self.number} exit {self.code}: {' '.join(self.acts)}"


@dataclass(frozen=True)
class Round:
    """`scripts[client]` are played one after the other, clients and faults at once."""

    seed: int
    number: int
    scripts: tuple[tuple[Script, ...], ...]
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        clients = [f"  client {n}: {script}" for n, scripts in enumerate(self.scripts) for script in scripts]
        return "\n".join(
            [f"seed {self.seed} round {self.number}", *clients, *(f"  {one}" for one in self.faults)]
        )


def rounds(seed: int, faults: int) -> Iterator[Round]:
    """So many that they have this number of faults together."""
    for number in range(-(-faults // FAULTS)):
        yield one_round(seed, number, min(FAULTS, faults - number * FAULTS))


def one_round(seed: int, number: int, faults: int = FAULTS) -> Round:
    """The round with this number."""
    chance = random.Random(f"{seed}/{number}")
    scripts = tuple(
        tuple(_script(chance, f"r{number}c{client}s{place}") for place in range(SCRIPTS))
        for client in range(CLIENTS)
    )
    kinds = chance.choices(list(KINDS), [weight for weight, *_ in KINDS.values()], k=faults)
    times = sorted(chance.random() * SECONDS for _ in range(faults))
    return Round(seed, number, scripts, tuple(
        Fault(at, kind, chance.uniform(*KINDS[kind][1:]), chance.random())
        for at, kind in zip(times, kinds, strict=True)
    ))  # fmt: skip


def _script(chance: random.Random, name: str) -> Script:
    workload = chance.choice(("counter", "counter", "service", "service", "phoenix"))
    code = chance.randrange(1, 100)
    if workload == "counter":
        number = chance.randrange(50, 250)
        if chance.random() < 0.5:
            return Script(name, workload, number, code, ("run",))
        middle = chance.choice(((), ("logs",), ("pause", "unpause"), ("follow",)))
        return Script(name, workload, number, code, ("create", "start", *middle, "wait"))
    if workload == "service":
        middle = tuple(chance.choice(("exec", "exec", "pause", "restart", "follow")) for _ in range(3))
        middle = tuple(act for one in middle for act in ((one, "unpause") if one == "pause" else (one,)))
        return Script(name, workload, 0, code, ("create", "start", *middle, chance.choice(("stop", "kill"))))
    return Script(name, workload, chance.randrange(1, 4), code, ("create", "start", "settle"))


if __name__ == "__main__":
    for one in rounds(int(sys.argv[1]), int(sys.argv[2])):
        print(one)
