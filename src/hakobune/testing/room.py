"""A room: network and mount namespaces of its own for one engine, so that nothing of the host can be touched.

Bridges, firewall rules, namespaces under /run, locks under /dev/shm and records under /var/lib are the room's
and vanish with its last process. It also answers "which processes are this engine's?": those in the room's
network namespace (containers have one each of their own). Every engine that is measured gets the same room.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hakobune.testing.processes import command_lines, descendants, kill_and_wait, pids

_CGROUPS = Path("/sys/fs/cgroup")
_PARENTS = ("docker", "libpod_parent")  # where the peers put their containers' control groups
_SWEEPS = 5  # a process that is killed may just have forked
_FURNISH = """
mount -t tmpfs room /run
mount -t tmpfs room /dev/shm || :
for place in /var/lib /etc/cni; do
    [ -d "$place" ] || continue
    scratch="$1/over$(echo "$place" | tr / -)" && mkdir -p "$scratch/u" "$scratch/w"
    mount -t overlay room -o "lowerdir=$place,upperdir=$scratch/u,workdir=$scratch/w" "$place" || :
done
ip link set lo up 2>/dev/null || :
[ -z "$2" ] || umount "$2"
shift 2
exec "$@"
"""


def _short_directory() -> Path:
    """Short, because a unix socket's path has 107 bytes at most."""
    return Path(tempfile.mkdtemp(prefix="hb-", dir="/tmp"))


def _groups(name: str) -> set[Path]:
    """Control groups of this name right below a root."""
    return {*_CGROUPS.glob(f"*/{name}"), *_CGROUPS.glob(name)}


def _parent_groups() -> set[Path]:
    return {path for name in _PARENTS for path in _groups(name)}


@dataclass
class Room:
    """Made before its engine; `clear()` ends what is left in it and removes its files."""

    root: Path = field(default_factory=_short_directory)
    without: str = ""  # a mount of the host that the engine shall not see
    _namespace: str = ""
    _before: set[Path] = field(default_factory=_parent_groups)

    @property
    def group(self) -> str:
        """A name for a control group below which the engine may put its containers."""
        return self.root.name

    def command(self, *argv: str) -> list[str]:
        """The command line that runs `argv`, as the same process, inside a new room."""
        enter = ["unshare", "--mount", "--net", "--propagation", "private", "--"]
        return [*enter, "sh", "-c", _FURNISH, "room", str(self.root), self.without, *argv]

    def entered(self, pid: int) -> None:
        """Tell the room which process is its first, when the engine answers. Raises RuntimeError, OSError."""
        namespace = _network(pid)
        if namespace == _network(os.getpid()):
            raise RuntimeError("the engine is not in its room")
        self._namespace = namespace

    def processes(self) -> set[int]:
        """Pids of the engine's own processes: daemons and one or more per container, not the containers'."""
        return _inside({self._namespace}) if self._namespace else set()

    def _everything(self) -> set[int]:
        """All that is left, whether or not the engine ever answered: found by the root in command lines, too."""
        root, own = str(self.root), os.getpid()
        named = {pid for pid, line in command_lines() if root in line and pid != own}
        namespaces = {self._namespace} if self._namespace else set()
        for pid in named:
            with contextlib.suppress(OSError):
                namespaces.add(_network(pid))
        found = named | _inside(namespaces - {_network(own)})
        return descendants(found) - {own}

    def clear(self) -> None:
        """Kill what still runs in the room, with its children, and delete the room's files and groups."""
        for _ in range(_SWEEPS):
            left = self._everything()
            for pid in left:
                kill_and_wait(pid)
            if not left:
                break
        for top in _groups(self.group) | (_parent_groups() - self._before):
            for place, _directories, _files in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(place)
        shutil.rmtree(self.root, ignore_errors=True)


def _network(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


def _inside(namespaces: set[str]) -> set[int]:
    found = set()
    for pid in pids():
        with contextlib.suppress(OSError):
            if _network(pid) in namespaces:
                found.add(pid)
    return found
