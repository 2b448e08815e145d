"""N idle containers (1,000 unless told): started, listed, stopped, removed, nothing left.

    python bench/thousand.py [N [PAUSE [NETWORK]]]

Printed: the median of starts 11-20 and of the last ten in ms and their ratio (aim: at most 1.5), how long the list takes, the stop
and the removal. PAUSE are seconds before each of the two tens of starts and between the starts of each, in which shims go to rest.
That nothing is left is looked for at the end, and is an error when it is not so.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.client import Client
from hakobune.testing.engine import PrivateEngine

IMAGE = "hako/starter"
CLIENTS = 4


def start(client: Client, network: str, pause: float) -> tuple[str, float]:
    """(id, ms of create and start)."""
    time.sleep(pause)
    began = time.monotonic()
    identity = client.create(IMAGE, ["sleep", "7200"], network)
    client.start(identity)
    return identity, (time.monotonic() - began) * 1000


def each(address: str, ids: list[str], method: str, path: str) -> float:
    """Seconds in which a few clients have asked this of all."""

    def some(share: list[str]) -> None:
        with contextlib.closing(Client(address)) as client:
            for identity in share:
                client.call(method, path.format(identity))

    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(some, [ids[n::CLIENTS] for n in range(CLIENTS)]))
    return time.monotonic() - began


def main() -> None:
    """Start, list, stop, remove, look."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    pause = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    network = sys.argv[3] if len(sys.argv) > 3 else "none"
    measured = set(range(10, 20)) | set(range(count - 10, count))
    with PrivateEngine() as engine, contextlib.closing(Client(str(engine.socket))) as client:
        began = time.monotonic()
        made = [start(client, network, pause if number in measured else 0.0) for number in range(count)]
        ids, took = [one[0] for one in made], [one[1] for one in made]
        early, late = statistics.median(took[10:20]), statistics.median(took[-10:])
        print(f"{count} started in {time.monotonic() - began:.1f} s; starts 11-20 {early:.1f} ms, "
              f"the last ten {late:.1f} ms: {late / early:.2f} times", flush=True)  # fmt: skip
        began = time.monotonic()
        running = [one for one in client.call("GET", "/containers/json") if one["State"] == "running"]
        print(f"listed in {time.monotonic() - began:.3f} s: {len(running)} running", flush=True)
        print(
            f"stopped in {each(str(engine.socket), ids, 'POST', '/containers/{}/stop?t=0'):.1f} s", flush=True
        )
        print(f"removed in {each(str(engine.socket), ids, 'DELETE', '/containers/{}'):.1f} s", flush=True)
    print("nothing left")


if __name__ == "__main__":
    main()
