"""Mount options of fstab and the runtime specification, sorted into what the kernel calls want.

Pure data and one pure function. Imports: linux.syscalls (numbers only).
"""

from __future__ import annotations

from hakobune.linux import syscalls as sys
from hakobune.record import dataclass

# option -> (attributes set, attributes cleared), <linux/mount.h>
_ATTRS: dict[str, tuple[int, int]] = {
    "ro": (sys.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, sys.MOUNT_ATTR_RDONLY),
    "nosuid": (sys.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, sys.MOUNT_ATTR_NOSUID),
    "nodev": (sys.MOUNT_ATTR_NODEV, 0),
    "dev": (0, sys.MOUNT_ATTR_NODEV),
    "noexec": (sys.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, sys.MOUNT_ATTR_NOEXEC),
    "nodiratime": (sys.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, sys.MOUNT_ATTR_NODIRATIME),
    "noatime": (sys.MOUNT_ATTR_NOATIME, sys.MOUNT_ATTR_ATIME),
    "strictatime": (sys.MOUNT_ATTR_STRICTATIME, sys.MOUNT_ATTR_ATIME),
    "relatime": (0, sys.MOUNT_ATTR_ATIME),
    "atime": (0, sys.MOUNT_ATTR_ATIME),  # what the kernel does when nobody says otherwise: relatime
    "norelatime": (0, sys.MOUNT_ATTR_ATIME),
    "nostrictatime": (0, sys.MOUNT_ATTR_ATIME),
    "nosymfollow": (sys.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, sys.MOUNT_ATTR_NOSYMFOLLOW),
}
_PROPAGATION: dict[str, int] = {
    "private": sys.MS_PRIVATE,
    "slave": sys.MS_SLAVE,
    "shared": sys.MS_SHARED,
    "unbindable": sys.MS_UNBINDABLE,
}
_WITHOUT_MEANING = frozenset(
    ("defaults", "async", "loud", "silent", "auto", "noauto", "user", "nouser", "iversion", "noiversion")
)
_OF_EVERY_FILE_SYSTEM = frozenset(
    ("sync", "dirsync", "lazytime", "nolazytime", "mand", "nomand")
)  # fsconfig(2) takes them


@dataclass(frozen=True, slots=True)
class Options:
    """`data` are the file system's own options, in order; `propagation` is 0 when none was named."""

    bind: bool = False
    recursive_bind: bool = False
    attr_set: int = 0
    attr_clear: int = 0
    recursive_set: int = 0
    recursive_clear: int = 0
    propagation: int = 0
    propagation_recursive: bool = False
    copy_up: bool = False
    idmap: bool = False
    idmap_recursive: bool = False
    data: tuple[str, ...] = ()


def propagation(name: str) -> tuple[int, bool] | None:
    """(flag, recursive) of `rslave` and its kin; None for any other word."""
    if name in _PROPAGATION:
        return _PROPAGATION[name], False
    if name[:1] == "r" and name[1:] in _PROPAGATION:
        return _PROPAGATION[name[1:]], True
    return None


def _apply(pair: tuple[int, int], have: tuple[int, int]) -> tuple[int, int]:
    """The later option wins over the earlier one."""
    (on, off), (have_on, have_off) = pair, have
    return (have_on & ~off) | on, (have_off & ~on) | off


def parse(options: tuple[str, ...]) -> Options:
    """Sort the words of one mount; unknown words are the file system's own."""
    plain = recursive = (0, 0)
    bind = rbind = copy_up = False
    idmap = ridmap = False
    spread: tuple[int, bool] = (0, False)
    data: list[str] = []
    for word in options:
        if word in ("bind", "rbind"):
            bind, rbind = True, rbind or word == "rbind"
        elif word in _ATTRS:
            plain = _apply(_ATTRS[word], plain)
        elif word[:1] == "r" and word[1:] in _ATTRS:
            recursive = _apply(_ATTRS[word[1:]], recursive)
        elif (found := propagation(word)) is not None:
            spread = found
        elif word == "tmpcopyup":
            copy_up = True
        elif word in ("idmap", "ridmap"):
            idmap, ridmap = True, ridmap or word == "ridmap"
        elif word not in _WITHOUT_MEANING:
            data.append(word)
    return Options(bind, rbind, *plain, *recursive, *spread, copy_up, idmap, ridmap, tuple(data))


NAMES = frozenset(
    (*_ATTRS, *(f"r{name}" for name in _ATTRS), *_PROPAGATION, *(f"r{name}" for name in _PROPAGATION),
     *_WITHOUT_MEANING, *_OF_EVERY_FILE_SYSTEM, "bind", "rbind", "tmpcopyup", "idmap", "ridmap")
)  # fmt: skip
