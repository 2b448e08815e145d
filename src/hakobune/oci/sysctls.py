"""Which sysctls a container may set: those of namespaces that are its own (man 7 namespaces; sysctl/*.rst of the kernel).

Anything else would be the host's, whatever the mount of /proc/sys says. Imports: os; errors, oci.config.
"""

from __future__ import annotations

import os

from hakobune.errors import InvalidArgument
from hakobune.oci.config import Config

_IPC = frozenset(
    "kernel." + name
    for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced auto_msgmni".split()
)
_FILES = {"network": "net", "ipc": "ipc", "uts": "uts", "user": "user"}


def check(config: Config) -> None:
    """Raises InvalidArgument for the first sysctl that is not of a namespace of the container's own."""
    for name in config.sysctl:
        kind = _kind(name)
        if not kind:
            raise InvalidArgument(f"linux.sysctl.{name}: is the host's: no namespace has it for itself")
        if not _own(config, kind):
            raise InvalidArgument(f"linux.sysctl.{name}: needs a {kind} namespace that is not the host's")


def _kind(name: str) -> str:
    """The kind of namespace that a sysctl belongs to; "" for none, and for what has a field of its own."""
    if name in _IPC or name.startswith("fs.mqueue."):
        return "ipc"
    if name.startswith("net."):
        return "network"
    if name == "kernel.domainname":
        return "uts"
    return "user" if name.startswith("user.") else ""


def _own(config: Config, kind: str) -> bool:
    for namespace in config.namespaces:
        if namespace.type != kind:
            continue
        if not namespace.path:
            return True
        try:
            theirs, ours = os.stat(namespace.path), os.stat(f"/proc/self/ns/{_FILES[kind]}")
        except OSError:
            return True  # joining it will say what is wrong
        return (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino)
    return False
