"""What is still on the machine and on record of an engine that has no container any more: one line for each thing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from hakobune.containerd.client import Client
from hakobune.errors import HakoError
from hakobune.net.rules import table_name
from hakobune.testing.engine import PrivateEngine
from hakobune.testing.processes import command_lines

_TABLES = {
    "engine.db": ("container", "exec", "volume_user"),
    "network.db": ("net_sandboxes", "net_endpoints", "net_ports"),
}


@dataclass
class Audit:
    """Of one engine. `ids` are the containers that it is known to have had: see `note`."""

    engine: PrivateEngine
    ids: set[str] = field(default_factory=set)
    veths: set[str] = field(default_factory=set)

    def note(self) -> None:
        """Remember the containers that are on record now; the daemons need not be there."""
        with contextlib.suppress(sqlite3.Error):
            self.ids.update(identity for (identity,) in self._select("engine.db", "SELECT id FROM container"))
        with contextlib.suppress(sqlite3.Error):
            self.veths.update(
                name for (name,) in self._select("network.db", "SELECT veth FROM net_endpoints")
            )

    def leaked(self, *, patience: float = 8.0) -> list[str]:
        """Leftovers that do not go away within `patience` seconds; the engine has to be up, without containers."""
        end = time.monotonic() + patience
        while True:
            found = [
                *self._files(), *self._rows(), *self._below(), *self._links(), *self._cgroups(), *self._processes(),
                *self._mounts(), *self._rules(),
            ]  # fmt: skip
            if not found or time.monotonic() > end:
                return found
            time.sleep(0.1)

    def descriptors(self, daemon: str = "hakod") -> int:
        """How many descriptors a daemon holds."""
        return len(self.links(daemon))

    def links(self, daemon: str = "hakod") -> list[str]:
        """What a daemon's descriptors are; nothing where it is not there: a zygote that was killed is not missed."""
        return self.links_of(self.engine.daemons().get(daemon, 0))

    def links_of(self, pid: int) -> list[str]:
        """What a process's descriptors are."""
        place = Path(f"/proc/{pid}/fd")
        found = []
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(place):
                with contextlib.suppress(OSError):
                    found.append(re.sub(r"\d+", "N", os.readlink(place / name)))
        return sorted(found)

    def _select(self, name: str, sql: str) -> list[tuple[str, ...]]:
        path = self.engine.root / "d" / name
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return list(database.execute(sql))

    def _files(self) -> list[str]:
        """Directories of containers, bundles, sockets of shims, upper directories."""
        root, state = self.engine.root / "d", self.engine.root / "e"
        found = []
        for place in (
            root / "containers",
            state / "s",
            state / "containerd/s",
            state / "containerd/io.containerd.runtime.v2.task/moby",
        ):
            with contextlib.suppress(FileNotFoundError):
                found += [f"{place.relative_to(self.engine.root)}/{name}" for name in os.listdir(place)]
        return found

    def _rows(self) -> list[str]:
        """Records that name containers."""
        found = []
        for name, tables in _TABLES.items():
            for table in tables:
                found += [f"{table} {row}"[:200] for row in self._select(name, f"SELECT * FROM {table}")]
        return found

    def _below(self) -> list[str]:
        """Tasks, records, writable snapshots and leases of hako-containerd."""

        async def ask() -> list[str]:
            client = Client(str(self.engine.root / "e/containerd.sock"), "moby", patience=5.0)
            try:
                found = [f"task {task.id}" for task in await client.tasks.list()]
                found += [f"record {record.id}" for record in await client.containers.list()]
                every = await client.snapshots.list()
                found += [f"snapshot {one.name}" for one in every if one.kind != "committed"]
                return found + [f"lease {one.id}" for one in await client.leases.list()]
            except HakoError as err:
                return [f"hako-containerd does not answer: {err}"]
            finally:
                await client.close()

        return asyncio.run(ask())

    def _links(self) -> list[str]:
        """Ports of the bridge, and ends of pairs that were seen, wherever they are now."""
        found = set(os.listdir("/sys/class/net")) & self.veths
        with contextlib.suppress(FileNotFoundError):
            found |= set(os.listdir(f"/sys/class/net/{self.engine.bridge}/brif"))
        return [f"link {name}" for name in sorted(found)]

    def _rules(self) -> list[str]:
        """Elements in the maps and sets of the packet filter's table that lead to a container."""
        program = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if program is None:
            return []
        command = [program, "-j", "list", "table", "ip", table_name(self.engine.bridge)]
        listed = subprocess.run(command, capture_output=True, check=False)
        if listed.returncode:
            return []
        objects = [next(iter(one.items())) for one in json.loads(listed.stdout)["nftables"]]
        found = [
            one
            for kind, one in objects
            if kind == "map" and one["name"].startswith("ports_") and one.get("elem")
        ]
        return [f"elements of {one['name']}: {one['elem']}"[:200] for one in found]

    def _cgroups(self) -> list[str]:
        found = []
        for top, directories, _ in os.walk("/sys/fs/cgroup"):
            found += [f"control group {top}/{name}" for name in directories if name in self.ids]
        return found

    def _processes(self) -> list[str]:
        """Processes other than the daemons that name the engine's root, or are in its containers' groups."""
        daemons = set(self.engine.daemons().values())
        found = []
        for pid, line in command_lines():
            if pid in daemons or pid == os.getpid():
                continue
            groups = ""
            with contextlib.suppress(OSError):
                groups = Path(f"/proc/{pid}/cgroup").read_text()
            ours = str(self.engine.root) in line and "hakobune" in line
            if ours or any(identity in groups for identity in self.ids):
                found.append(f"process {pid} {line[:100]}")
        return found

    def _mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [f"mount {line.split()[4]}" for line in lines if f" {self.engine.root}/" in line]
