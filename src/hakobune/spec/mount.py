"""A mount as containerd and the OCI runtime specification describe it: pure data."""

from __future__ import annotations

from hakobune.record import dataclass


@dataclass(frozen=True, slots=True)
class Mount:
    """`type` is a file system name or `bind`; `target` is relative to the rootfs when it is not empty."""

    type: str
    source: str
    target: str = ""
    options: tuple[str, ...] = ()
