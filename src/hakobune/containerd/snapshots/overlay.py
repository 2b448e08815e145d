"""The overlayfs backend: a directory of its own for each snapshot, laid over those below when it is mounted.

`fs` is the snapshot's own layer; an active one has `work` beside it, which overlayfs needs. The mounts of a chain
base <- a <- b (b active) are: overlay upperdir=b/fs, workdir=b/work, lowerdir=a/fs:base/fs. Without a parent there is
nothing to overlay: a bind of b/fs itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from hakobune.containerd.snapshots.snapshotter import ACTIVE
from hakobune.spec.mount import Mount

NAME = "overlayfs"


class Overlay:
    """See Backend."""

    name = NAME
    rebases = True

    def __init__(self) -> None:
        self._extra = ("index=off",) if os.path.exists("/sys/module/overlay/parameters/index") else ()

    async def fill(self, place: str, kind: int, above: str) -> None:
        """The root of the new file system has the owner and mode of what it covers."""
        os.mkdir(f"{place}/fs", 0o755)
        if kind == ACTIVE:
            os.mkdir(f"{place}/work", 0o711)
        if above:
            covered = os.stat(f"{above}/fs")
            os.chmod(f"{place}/fs", stat.S_IMODE(covered.st_mode))
            if (covered.st_uid, covered.st_gid) != (0, 0):
                os.chown(f"{place}/fs", covered.st_uid, covered.st_gid)

    def mounts(self, own: str, kind: int, below: Sequence[str]) -> tuple[Mount, ...]:
        """One overlay, or one bind where there is one layer."""
        lowers = [f"{place}/fs" for place in below]
        if kind == ACTIVE and lowers:
            options = (
                *self._extra, f"workdir={own}/work", f"upperdir={own}/fs", f"lowerdir={':'.join(lowers)}",
            )  # fmt: skip
        elif kind == ACTIVE:
            return (Mount("bind", f"{own}/fs", "", ("rw", "rbind")),)
        elif len(lowers) > 1:
            options = (*self._extra, f"lowerdir={':'.join(lowers)}")
        else:
            return (Mount("bind", lowers[0] if lowers else f"{own}/fs", "", ("ro", "rbind")),)
        return (Mount("overlay", "overlay", "", options),)

    def files(self, own: str) -> str:
        """The own layer."""
        return f"{own}/fs"
