"""Takeover: N containers run (100 unless told), everything of ours but the shims is killed, and new daemons find them all.

    python bench/takeover.py [N]

Printed: seconds from the exec of the new hakod until GET /containers/json answers, with all N running. Aim: 1 s for 100.
"""

from __future__ import annotations

import sys
import time

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.processes import kill_and_wait

IMAGE = "hako/starter"
ROUNDS = 3


def running(engine: PrivateEngine) -> int:
    """How many containers the engine says run."""
    return sum(one["State"] == "running" for one in engine.client.get("/containers/json"))


def main() -> None:
    """Start, kill, start again, and say how long it took."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with PrivateEngine() as engine:
        client = engine.client
        for number in range(count):
            body = {"Image": IMAGE, "Cmd": ["sleep", "3600"], "HostConfig": {"NetworkMode": "none"}}
            identity = client.post(f"/containers/create?name=t{number}", body)["Id"]
            client.post(f"/containers/{identity}/start")
        time.sleep(2)  # they go to rest
        for _ in range(ROUNDS):
            pids = engine.daemons()
            engine.kill()
            if "zygote" in pids:
                kill_and_wait(pids["zygote"])
            began = time.monotonic()
            engine.start()
            found = running(engine)
            print(f"{count} containers: {time.monotonic() - began:.3f} s, {found} found running", flush=True)
        for number in range(count):
            client.delete(f"/containers/t{number}?force=1")


if __name__ == "__main__":
    main()
