"""Under load: N containers run (200 unless told), CLIENTS create, start and remove others, and somebody asks for the version.

    python bench/load.py [N [CLIENTS [SECONDS [NETWORK]]]]

Printed: 50th and 99th percentile and the longest answer, in ms, of hakod's GET /version and of hako-containerd's Version over
gRPC, at rest and under load, each asked every 20 ms. Aim under load: 99th below 50 ms. Clients and askers are processes of
their own, so that they wait for the engine and not for each other.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.client import Client
from hakobune.testing.engine import PrivateEngine

IMAGE = "hako/starter"
SLEEP = ["sleep", "3600"]
PAUSE = 0.02
REST = 3.0  # seconds asked without load
Work = Callable[[str, float, str], Any]
_fork = multiprocessing.get_context("fork")


@dataclass
class Apart:
    """`work` in a process of its own; `result()` waits for what it returned."""

    process: Any
    pipe: Connection

    @classmethod
    def begin(cls, work: Work, address: str, seconds: float, network: str) -> Apart:
        """Start it."""
        ours, theirs = _fork.Pipe()
        process = _fork.Process(target=_send, args=(theirs, work, address, seconds, network))
        process.start()
        theirs.close()
        return cls(process, ours)

    def result(self) -> Any:
        """What `work` returned. Raises EOFError when it failed; its words are on stderr."""
        found = self.pipe.recv()
        self.process.join()
        return found


def _send(pipe: Any, work: Work, address: str, seconds: float, network: str) -> None:
    pipe.send(work(address, seconds, network))


def churn(address: str, seconds: float, network: str) -> int:
    """Containers made, started and removed."""
    end, made = time.monotonic() + seconds, 0
    with contextlib.closing(Client(address)) as client:
        while time.monotonic() < end:
            identity = client.create(IMAGE, SLEEP, network)
            client.start(identity)
            client.remove(identity)
            made += 1
    return made


def ask(once: Callable[[], Any], seconds: float) -> list[float]:
    """How long each answer took, in ms."""
    took, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        once()
        took.append((time.monotonic() - began) * 1000)
        time.sleep(PAUSE)
    return took


def ask_engine(address: str, seconds: float, _network: str) -> list[float]:
    """GET /version."""
    with contextlib.closing(Client(address)) as client:
        return ask(lambda: client.call("GET", "/version"), seconds)


def ask_manager(address: str, seconds: float, _network: str) -> list[float]:
    """containerd.services.version.v1.Version over gRPC, as ctr asks it."""
    import grpc  # not before the fork

    from hakobune.proto import version_pb2

    with grpc.insecure_channel(f"unix:{address}") as channel:
        call = channel.unary_unary(
            "/containerd.services.version.v1.Version/Version",
            response_deserializer=version_pb2.VersionResponse.FromString,
        )
        return ask(lambda: call(b"", timeout=60), seconds)


def percentile(took: list[float], share: float) -> float:
    """The smallest that `share` of them do not exceed."""
    return sorted(took)[min(len(took) - 1, int(share * len(took)))]


def show(when: str, who: str, took: list[float]) -> None:
    """One line."""
    print(
        f"{when:>6} {who:<16} p50 {percentile(took, 0.5):7.2f}  p99 {percentile(took, 0.99):7.2f}"
        f"  longest {max(took):7.2f} ms  ({len(took)} answers)",
        flush=True,
    )


def main() -> None:
    """Measure at rest, then under load."""
    words = sys.argv[1:]
    count = int(words[0]) if words else 200
    clients = int(words[1]) if len(words) > 1 else 20
    seconds = float(words[2]) if len(words) > 2 else 20.0
    network = words[3] if len(words) > 3 else "bridge"
    with PrivateEngine() as engine:
        address, manager = str(engine.socket), str(engine.root / "e/containerd.sock")
        with contextlib.closing(Client(address)) as client:
            for _ in range(count):
                client.start(client.create(IMAGE, SLEEP, "none"))
        askers = {"hakod": (ask_engine, address), "hako-containerd": (ask_manager, manager)}
        for when, busy, length in (("rest", 0, REST), ("load", clients, seconds)):
            churners = [Apart.begin(churn, address, length, network) for _ in range(busy)]
            answers = {who: Apart.begin(*asker, length, network) for who, asker in askers.items()}
            for who, apart in answers.items():
                show(when, who, apart.result())
            if made := sum(one.result() for one in churners):
                print(f"{made} containers made and removed, {made / length:.1f} each second", flush=True)


if __name__ == "__main__":
    main()
