"""The root of a container without a mount namespace: what is mounted for it is mounted on the host.

All of it lies on one mount, the root bound to itself: when that one is taken away the rest goes with it. A file beside the
container's state says which one it is, and is written before there is anything to take away. Such a container is in its
root by chroot(2) alone, as with runc. Imports: os; linux, oci.rootfs.steps.
"""

from __future__ import annotations

import contextlib
import os

from hakobune.linux import syscalls as sys
from hakobune.oci.rootfs.steps import Root, host_null
from hakobune.record import dataclass

NOTE = "hostroot"  # in a container's state directory


@dataclass(frozen=True, slots=True)
class Lay:
    """The root over itself, for all that is mounted in it. `note`: path of the file that `take_away` reads."""

    note: str

    def describe(self) -> str:
        return "root.path: mount it on the host"

    def apply(self, root: Root) -> None:
        with open(self.note, "w", encoding="utf-8", errors="surrogateescape") as note:
            note.write(f"{mount_id(root.path)}\n{os.path.realpath(root.path)}")
        tree = sys.open_tree(-100, root.path, sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC | sys.AT_RECURSIVE)
        # Before it is anywhere: copies of shared mounts would take the host's own with them when they go.
        sys.mount_setattr(tree, propagation=sys.MS_PRIVATE, recursive=True)
        place = os.open(root.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        sys.move_mount(tree, place)
        os.close(place)
        os.close(tree)
        root.fd = os.open(root.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        root.null = host_null()


@dataclass(frozen=True, slots=True)
class Chroot:
    """The root becomes /; the host's tree stays where it is."""

    read_only: bool

    def describe(self) -> str:
        return "chroot into the root" + (" (read-only)" if self.read_only else "")

    def apply(self, root: Root) -> None:
        if self.read_only:
            sys.mount_setattr(root.fd, attr_set=sys.MOUNT_ATTR_RDONLY)
        enter(root.fd)
        os.close(root.fd)
        os.close(root.null)


def enter(root: int) -> None:
    """Make the directory of this descriptor our root and our working directory. Raises OSError."""
    os.fchdir(root)
    os.chroot(".")
    os.chdir("/")


def mount_id(path: str) -> int:
    """Of the mount in which `path` is seen (man 5 proc, fdinfo)."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{fd}") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("mnt_id:"))
    finally:
        os.close(fd)


def take_away(note: str) -> None:
    """The mount that `note` speaks of, and all that lies on it; silent when there is none. Twice is once."""
    try:
        with open(note, encoding="utf-8", errors="surrogateescape") as file:
            below, _, path = file.read().partition("\n")
        if path and mount_id(path) != int(below):
            with contextlib.suppress(OSError):  # the caller has taken away more than that already
                sys.umount(path, sys.MNT_DETACH)
        os.unlink(note)
    except FileNotFoundError:
        return
