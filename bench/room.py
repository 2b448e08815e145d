"""A room: network and mount namespaces of its own for one engine, so that nothing of the host can be touched.

Bridges, firewall rules, namespaces under /run and address records under /var/lib are the room's and vanish with
its last process. It also answers "which processes are this engine's?": those in the room's network namespace
(containers have one each of their own). Every engine gets the same room, ours too.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bench import memory

_CGROUPS = Path("/sys/fs/cgroup")
_PARENTS = ("docker", "libpod_parent")  # where the peers put their containers' control groups
_FURNISH = """
mount -t tmpfs room /run
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


def _parent_groups() -> set[Path]:
    return {path for name in _PARENTS for path in (*_CGROUPS.glob(f"*/{name}"), *_CGROUPS.glob(name))}


@dataclass
class Room:
    """Made before its engine; `clear()` ends what is left in it and removes its files."""

    root: Path = field(default_factory=_short_directory)
    without: str = ""  # a mount of the host that the engine shall not see
    _namespace: str = ""
    _groups: set[Path] = field(default_factory=_parent_groups)

    def command(self, *argv: str) -> list[str]:
        """The command line that runs `argv`, as the same process, inside a new room."""
        enter = ["unshare", "--mount", "--net", "--propagation", "private", "--"]
        return [*enter, "sh", "-c", _FURNISH, "room", str(self.root), self.without, *argv]

    def entered(self, pid: int) -> None:
        """Tell the room which process is its first; call it when the engine answers."""
        namespace = os.readlink(f"/proc/{pid}/ns/net")
        if namespace == os.readlink("/proc/self/ns/net"):
            raise RuntimeError("the engine is not in its room")
        self._namespace = namespace

    def processes(self) -> set[int]:
        """Pids of the engine's own processes: daemons and one or more per container, not the containers'."""
        found = set()
        for pid in memory.pids() if self._namespace else ():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/ns/net") == self._namespace:
                    found.add(pid)
        return found

    def clear(self) -> None:
        """Kill what still runs in the room, with its children, and delete the room's files and groups."""
        for pid in memory.descendants(self.processes()):
            _kill(pid)
        for top in _parent_groups() - self._groups:
            for place, _directories, _files in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(place)
        shutil.rmtree(self.root, ignore_errors=True)


def _kill(pid: int) -> None:
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            gone = select.poll()
            gone.register(handle, select.POLLIN)
            gone.poll(5000)
        finally:
            os.close(handle)


def end(process: subprocess.Popen[bytes], seconds: float = 20.0) -> None:
    """SIGTERM, then SIGKILL when it takes longer."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
