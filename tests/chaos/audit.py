"""What is still on the machine and on record of an engine that has no container any more: one line for each thing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from pathlib import Path

from hakobune.containerd.client import Client
from hakobune.errors import HakoError
from hakobune.testing.engine import PrivateEngine

_CONTAINER_DIGITS = 64


def leaked(engine: PrivateEngine, *, patience: float = 8.0) -> list[str]:
    """Leftovers that do not go away within `patience` seconds; the engine has to be up, without containers."""
    end = time.monotonic() + patience
    while True:
        found = _found(engine)
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.1)


def _found(engine: PrivateEngine) -> list[str]:
    return [
        *_directories(engine),
        *_rows(engine),
        *_below(engine),
        *_links(engine),
        *_cgroups(engine),
        *_shims(engine),
    ]


def _directories(engine: PrivateEngine) -> list[str]:
    """Directories of containers, bundles, sockets of shims."""
    found = []
    places = (
        engine.root / "d/containers",
        engine.root / "e/s",
        engine.root / "e/containerd/s",
        engine.root / "e/containerd/io.containerd.runtime.v2.task/moby",
    )
    for place in places:
        with contextlib.suppress(FileNotFoundError):
            found += [f"{place.relative_to(engine.root)}/{name}" for name in os.listdir(place)]
    return found


def _rows(engine: PrivateEngine) -> list[str]:
    """Records that name containers."""
    tables = {
        "engine.db": ("container", "exec", "volume_user"),
        "network.db": ("net_sandboxes", "net_endpoints", "net_ports"),
    }
    found = []
    for name, wanted in tables.items():
        with contextlib.closing(
            sqlite3.connect(f"file:{engine.root}/d/{name}?mode=ro", uri=True)
        ) as database:
            for table in wanted:
                found += [f"{table} {row}" for row in database.execute(f"SELECT * FROM {table}")]
    return [line[:200] for line in found]


def _below(engine: PrivateEngine) -> list[str]:
    """Tasks, records and writable snapshots of hako-containerd."""

    async def ask() -> list[str]:
        client = Client(str(engine.root / "e/containerd.sock"), "moby")
        try:
            await client.ready(5)
            found = [f"task {task.id}" for task in await client.tasks.list()]
            found += [f"record {record.id}" for record in await client.containers.list()]
            found += [
                f"snapshot {one.name}" for one in await client.snapshots.list() if one.kind != "committed"
            ]
            return found + [f"lease {one.id}" for one in await client.leases.list()]
        except HakoError as err:
            return [f"hako-containerd does not answer: {err}"]
        finally:
            await client.close()

    return asyncio.run(ask())


def _links(engine: PrivateEngine) -> list[str]:
    return [f"link {name}" for name in engine._links() if name != engine.bridge]


def _cgroups(engine: PrivateEngine) -> list[str]:
    """Control groups of containers that this engine has had."""
    return [f"control group {path}" for path in engine._cgroups()]


def _shims(engine: PrivateEngine) -> list[str]:
    """Processes other than the daemons that carry the engine's root in their command lines, or its containers."""
    daemons = {*engine.daemons().values(), os.getpid()}
    return [f"process {pid} {line[:100]}" for pid, line in engine._processes() if pid not in daemons]


def descriptors(engine: PrivateEngine) -> int:
    """How many descriptors hakod holds."""
    return len(os.listdir(f"/proc/{engine.daemons()['hakod']}/fd"))


def snapshots_on_disk(engine: PrivateEngine) -> list[str]:
    """Directories of the snapshotter."""
    root = Path(engine.root / "d/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots")
    return sorted(os.listdir(root)) if root.exists() else []
