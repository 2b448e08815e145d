"""What the host knows of a container: processes, mounts, control groups, namespaces, links, sockets.

Read from /proc and /sys, not from the engine: the story's claims are checked from outside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    return state(pid) not in ("", "Z", "X")


def state(pid: int) -> str:
    """The letter of /proc/PID/stat, or nothing."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def parent(pid: int) -> int:
    """Its parent's pid, 0 when it is gone."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def command(pid: int) -> str:
    """Its command line, the interpreter's own part left out."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        if "-m" in words[:4]:
            words = words[words.index("-m") + 1 :]
        return " ".join(word for word in words if word.strip())
    return "gone"


def ancestors(pid: int) -> list[int]:
    """Parents upwards, without process 1."""
    found = []
    while (pid := parent(pid)) > 1:
        found.append(pid)
    return found


def processes_of(identity: str) -> dict[int, str]:
    """Processes in control groups of this container: pid to command line."""
    found = {}
    for pid in _pids():
        with suppress(OSError):
            if identity in Path(f"/proc/{pid}/cgroup").read_text() and alive(pid):
                found[pid] = command(pid)
    return found


def mounts(text: str) -> list[str]:
    """Mount points of the host whose line has `text` in it."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if text in line]


def cgroups(identity: str) -> list[str]:
    """Directories of control groups that carry the id."""
    return [
        os.path.join(top, name)
        for top, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if identity in name
    ]


def network_namespace(pid: int) -> str:
    """`net:[4026531840]` of a process."""
    return os.readlink(f"/proc/{pid}/ns/net")


def holders(namespace: str) -> list[str]:
    """Who keeps a network namespace alive: processes in it, descriptors to it, mounts of it."""
    found = []
    for pid in _pids():
        with suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/net") == namespace and alive(pid):
                found.append(f"process {pid}")
        with suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{number}") == namespace:
                        found.append(f"descriptor {number} of {pid} ({command(pid).split(' ')[0]})")
    number = namespace.strip("net:[]")
    return found + [f"mount {place}" for place in mounts(f"net:[{number}]")]


def ports(bridge: str) -> list[str]:
    """Links that are ports of the bridge: the host's ends of veth pairs."""
    found = []
    for link in Path("/sys/class/net").iterdir():
        with suppress(OSError):
            if os.path.basename(os.readlink(link / "master")) == bridge:
                found.append(link.name)
    return found


def sockets(root: Path) -> set[str]:
    """Socket files beneath a directory."""
    found = set()
    for top, _, names in os.walk(root):
        for name in names:
            path = os.path.join(top, name)
            with suppress(OSError):
                if stat.S_ISSOCK(os.lstat(path).st_mode):
                    found.add(path)
    return found
