"""A store of many images: how long a list of them takes, by the API and by `hako images`, cold and warm.

`python bench/images.py [COUNT]`: a private engine, COUNT images (1,000) on a layer that they share and one each of
their own, so that sizes and names are all different. Prints milliseconds: the median and the worst of ten.
"""

from __future__ import annotations

import asyncio
import io
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable

from hakobune.containerd.client import Client
from hakobune.engine.images import layer
from hakobune.engine.images.catalogue import Catalogue
from hakobune.testing.engine import PrivateEngine

TIMES = 10
NAMESPACE = "moby"


def archive(name: str) -> bytes:
    """A layer of one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(name)
        tar.addfile(member, io.BytesIO(name.encode()))
    return out.getvalue()


async def fill(address: str, count: int) -> None:
    """Make the images, past hakod."""
    client = Client(address, NAMESPACE)
    await client.ready(10)
    catalogue = Catalogue(client)

    async def one(data: bytes):  # type: ignore[no-untyped-def]
        yield data

    async with layer.lease(client):
        base = await layer.add(client, one(archive("base")))
        for number in range(count):
            config = {
                "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
                "config": {"Cmd": ["/bin/sh"], "Labels": {"number": str(number)}}, "history": [{"created_by": "bench"}],
            }  # fmt: skip
            await layer.publish(client, catalogue, [base], config, f"docker.io/library/bench-{number}:latest")
    await client.close()


def timed(name: str, act: Callable[[], object]) -> float:
    """Print and return the median in milliseconds."""
    times = []
    for _ in range(TIMES):
        start = time.perf_counter()
        act()
        times.append((time.perf_counter() - start) * 1000)
    print(f"{name:<44}{statistics.median(times):>9.1f} ms   worst {max(times):.1f} ms", flush=True)
    return statistics.median(times)


def first(engine: PrivateEngine, count: int, what: str) -> None:
    """Print what one list takes that comes after a start."""
    start = time.perf_counter()
    assert len(engine.client.get("/images/json")) == count
    print(f"{f'GET /images/json, {what}':<44}{(time.perf_counter() - start) * 1000:>9.1f} ms", flush=True)


def main() -> int:
    """Run once."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with PrivateEngine() as engine:
        start = time.perf_counter()
        asyncio.run(fill(str(engine.root / "e" / "containerd.sock"), count))
        print(f"{count} images made in {time.perf_counter() - start:.1f} s")
        first(engine, count, "the first of all")
        engine.kill()
        engine.start()
        first(engine, count, "the first after a start")
        timed("GET /images/json", lambda: engine.client.get("/images/json"))
        timed("GET /images/json, one by its name",
              lambda: engine.client.get('/images/json?filters={"reference":["bench-7"]}'))  # fmt: skip
        timed("hako images (aim: < 50)", lambda: engine.hako("images"))
        timed("hako images -q", lambda: engine.hako("images", "-q"))
        docker = ["docker", "-H", engine.host, "images"]
        timed("docker images", lambda: subprocess.run(docker, capture_output=True, check=True))
        timed("hako --version (what any command costs)", lambda: engine.hako("--version"))
        engine.hako("system", "df")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
