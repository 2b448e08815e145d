"""Capabilities: names and numbers, Docker's default set, and the arithmetic of --cap-add / --cap-drop.

Pure data and functions. Numbers are those of <linux/capability.h>; a name is always `CAP_…` in capitals
inside, whatever way it was written outside. Imports: errors.
"""

from __future__ import annotations

from collections.abc import Iterable

from hakobune.errors import InvalidArgument

NAMES = tuple(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
        "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
        "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
        "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
        "PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
)
NUMBERS = {name: number for number, name in enumerate(NAMES)}

# what Docker gives a container that asks for nothing
DEFAULT = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
    "CAP_AUDIT_WRITE",
)  # fmt: skip

ALL = "ALL"


def last_known() -> int:
    """The highest number that the running kernel has; ours when it does not say."""
    try:
        with open("/proc/sys/kernel/cap_last_cap", "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return len(NAMES) - 1


def available() -> tuple[str, ...]:
    """Every capability that both this table and the running kernel know, by number."""
    return NAMES[: last_known() + 1]


def normalize(name: str) -> str:
    """`net_admin`, `CAP_NET_ADMIN` -> `CAP_NET_ADMIN`; `all` -> `ALL`. Raises InvalidArgument."""
    full = name.strip().upper()
    if full in (ALL, "CAP_ALL"):
        return ALL
    full = full if full.startswith("CAP_") else "CAP_" + full
    if full not in NUMBERS:
        raise InvalidArgument(f'unknown capability: "{name}"')
    return full


def tweak(
    add: Iterable[str], drop: Iterable[str], *, privileged: bool = False, base: Iterable[str] = DEFAULT
) -> tuple[str, ...]:
    """The set a container gets, in the order of numbers. Raises InvalidArgument for an unknown name.

    As Docker: privileged means all, whatever else is asked; `add ALL` means all but what is dropped;
    `drop ALL` means none but what is added; otherwise base, minus dropped, plus added.
    """
    added, dropped = {normalize(name) for name in add}, {normalize(name) for name in drop}
    if privileged:
        return available()
    if ALL in added:
        chosen = set(available()) - dropped
    elif ALL in dropped:
        chosen = added
    else:
        chosen = (set(base) - dropped) | added
    return tuple(name for name in NAMES if name in chosen)


def mask(names: Iterable[str]) -> int:
    """The bit mask for capset(2), without what the running kernel does not know. Raises InvalidArgument."""
    known = last_known()
    bits = 0
    for name in names:
        number = NUMBERS[normalize(name)]
        if number <= known:
            bits |= 1 << number
    return bits


def names(mask: int) -> tuple[str, ...]:
    """The names in a bit mask as /proc/PID/status shows it."""
    return tuple(name for number, name in enumerate(NAMES) if mask >> number & 1)
