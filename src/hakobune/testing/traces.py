"""What one engine has on a host, found from outside and taken away by force.

For engines that were killed or never came up and so cannot clean up after themselves. The containers' ids come from
the data root, bridges and pairs from the network database; processes are known by their command lines and
control groups. Nothing that is found here belongs to anybody else: roots and the bridge are this engine's alone.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hakobune.errors import HakoError
from hakobune.linux import nftables, rtnetlink
from hakobune.linux.netlink import NETLINK_NETFILTER, Netlink
from hakobune.net import store
from hakobune.net.rules import table_name
from hakobune.persist.database import Database
from hakobune.testing.processes import command_lines, kill_and_wait

_SWEEPS = 8  # a process that is killed may just have forked, or somebody starts it again
_PATIENCE = 2.0  # until the kernel lets go of a control group or a mount
_BLINK = 0.05  # a process that executes another program has no command line for a moment
_TICK = 0.02
_OURS = ("hakobune", "containerd-shim-hako", "hako-understudy")


@dataclass
class Traces:
    """Of the engine with this root and this default bridge. `ids`: every container that it is known to have had."""

    root: Path
    bridge: str
    ids: set[str] = field(default_factory=set)
    _links: set[str] = field(default_factory=set)

    def recall(self) -> None:
        """Learn what its files tell; call it while it does not run and before they are deleted."""
        with contextlib.suppress(OSError):
            self.ids.update(os.listdir(self.root / "d" / "containers"))
        path = self.root / "d" / "network.db"
        if not path.exists():
            return
        with contextlib.suppress(HakoError, sqlite3.Error, OSError):
            database = Database.open(str(path), store.MIGRATIONS)
            try:
                known = store.Store(database)
                self._links.update(network.bridge_name for network in known.networks() if network.bridge_name)
                self._links.update(place.veth for place in known.places())
            finally:
                database.close()

    def found(self) -> list[str]:
        """What is there, one line each; empty when nothing is."""
        lines = [f"process {pid}: {line[:100]}" for pid, line in self.processes()]
        lines += [f"mount {place}" for place in self.mounts()]
        lines += [f"link {name}" for name in self.links()]
        lines += [f"control group {path}" for path in self.control_groups()]
        return lines + [f"nftables table {name}" for name in self.tables()]

    def processes(self) -> list[tuple[int, str]]:
        """(pid, command line) of daemons, zygote, shims and what runs in the containers."""
        root = str(self.root)
        found = []
        for pid, line in command_lines():
            if pid == os.getpid() or " -m hakobune.cmd.hako " in f"{line} ":
                continue
            if (root in line and any(word in line for word in _OURS)) or self._is_inside(pid):
                found.append((pid, line))
        return found

    def _is_inside(self, pid: int) -> bool:
        if not self.ids:
            return False
        with contextlib.suppress(OSError):
            groups = Path(f"/proc/{pid}/cgroup").read_text()
            return any(identity in groups for identity in self.ids)
        return False

    def mounts(self) -> list[str]:
        """Mount points below the root, in our own mount namespace."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line.split()[4] for line in lines if line.split()[4].startswith(f"{self.root}/")]

    def links(self) -> list[str]:
        """Its bridges, and host ends of pairs."""
        with Netlink() as netlink:
            links = rtnetlink.list_links(netlink)
        bridges = {link.index for link in links if link.name in self._links | {self.bridge}}
        return [
            link.name for link in links if link.index in bridges or (link.master and link.master in bridges)
        ]

    def control_groups(self) -> list[str]:
        """Those of its containers, the innermost last."""
        found = []
        for top, directories, _ in os.walk("/sys/fs/cgroup"):
            found += [os.path.join(top, name) for name in directories if name in self.ids]
        return found

    def tables(self) -> list[str]:
        """Its nftables table."""
        name = table_name(self.bridge)
        with Netlink(NETLINK_NETFILTER) as netlink:
            return [name] if nftables.exists(netlink, name) else []

    def sweep(self) -> list[str]:
        """Take everything away by force; what is there all the same."""
        for _ in range(_SWEEPS):
            left = self.processes()
            for pid, _line in sorted(left, key=_daemons_first):
                kill_and_wait(pid)
            if not left:
                time.sleep(_BLINK)
                if not self.processes():
                    break
        for place in reversed(self.mounts()):
            subprocess.run(["umount", "-l", place], check=False, capture_output=True)
        self._sweep_network()
        _until(lambda: not self._drop_control_groups(), _PATIENCE)
        return self.found()

    def _sweep_network(self) -> None:
        with contextlib.suppress(OSError), Netlink() as netlink:
            netlink.run([rtnetlink.delete_link(name) for name in self.links()])
        with contextlib.suppress(OSError), Netlink(NETLINK_NETFILTER) as netlink:
            for name in self.tables():
                table = nftables.Table(name)
                table.delete()
                table.commit(netlink)

    def _drop_control_groups(self) -> list[str]:
        for path in self.control_groups():
            for top, _directories, _files in os.walk(path, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(top)
        return self.control_groups()


def _daemons_first(process: tuple[int, str]) -> bool:
    """Who starts others goes before those."""
    return "hakobune.cmd." not in process[1]


def _until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(_TICK)
