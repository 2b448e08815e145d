"""From root with everything to what `process` grants: limits, identity, capabilities.

Runs in the init (or exec) process, last thing before exec(2). What the engine does not own itself
(a capability missing from its bounding set, a higher hard limit, a lower oom score) is asked for,
and what the kernel refused is told as a warning: a container starts in a weaker world too.
The order is the kernel's: the bounding set needs CAP_SETPCAP, so it goes before the identity; the
identity change clears the effective set, hence PR_SET_KEEPCAPS. Imports: os, resource, linux.syscalls.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Mapping

from hakobune.errors import InvalidArgument
from hakobune.linux import oom_score
from hakobune.linux import syscalls as sys
from hakobune.oci import capabilities
from hakobune.oci.process import RLIMITS, Process, Rlimit

_HELD = 1 << capabilities.NUMBERS["CAP_SYS_ADMIN"]
_KNOWN = (1 << (capabilities.last_known() + 1)) - 1  # read here, in the host, before any container


def set_oom_score(value: int, warnings: list[str]) -> None:
    """Write oom_score_adj. Lowering it needs CAP_SYS_RESOURCE in the initial user namespace."""
    if oom_score.ask(value) != value:
        warnings.append(f"oom_score_adj {value} refused by the kernel: the engine lacks CAP_SYS_RESOURCE")


def score_of(pid: int, process: Process) -> None:
    """As `set_oom_score` of another process: one with users of its own may not write it. A refusal is borne."""
    if process.oom_score_adj is not None:
        try:
            fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, b"%d" % process.oom_score_adj)
            finally:
                os.close(fd)
        except OSError:
            return


def be_root() -> None:
    """Of the user namespace that we are in, where we are nobody yet. Raises OSError."""
    _set_groups(())
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _set_groups(groups: tuple[int, ...]) -> None:
    """None of them is what an unprivileged user's namespace has anyway, where setgroups(2) is denied."""
    try:
        os.setgroups(groups)
    except PermissionError:
        with open("/proc/self/setgroups") as file:
            if groups or file.read().strip() != "deny":
                raise


def set_limits(limits: Iterable[Rlimit], warnings: list[str]) -> None:
    """setrlimit(2) for each. Raises InvalidArgument for an unknown name."""
    for limit in limits:
        number = RLIMITS.get(limit.type)
        if number is None:
            raise InvalidArgument(f"process.rlimits: {limit.type!r} is not a limit of this kernel")
        soft, hard = _kernel_value(limit.soft), _kernel_value(limit.hard)
        try:
            resource.setrlimit(number, (soft, hard))
        except (ValueError, OSError):
            have = resource.getrlimit(number)[1]
            resource.setrlimit(number, (_lower(soft, have), have))
            warnings.append(
                f"{limit.type} {limit.hard} refused by the kernel: kept at the engine's own {have}"
            )


def _kernel_value(value: int) -> int:
    return -1 if value < 0 or value >= 1 << 63 else value


def _lower(value: int, ceiling: int) -> int:
    if ceiling == -1:
        return value
    return ceiling if value == -1 else min(value, ceiling)


def _mask(names: Iterable[str]) -> int:
    """The bits of those capabilities which the kernel knows. Raises InvalidArgument."""
    bits = 0
    for name in names:
        number = capabilities.NUMBERS.get(name)
        if number is None:
            raise InvalidArgument(f"process.capabilities: {name!r} is not a capability")
        bits |= 1 << number
    return bits & _KNOWN


def drop_bounding(process: Process) -> None:
    """Take away from the bounding set all that `process` does not name."""
    keep = _mask(process.capabilities["bounding"])
    for number in range(64):
        if keep >> number & 1:
            continue
        try:
            sys.prctl(sys.PR_CAPBSET_DROP, number)
        except OSError:
            return  # EINVAL: beyond the kernel's last capability


Sets = tuple[int, int, int]  # effective, permitted, inheritable: for capset(2)


def become(process: Process, warnings: list[str], *, hold: bool = False) -> Sets | None:
    """Take the identity and the capability sets of `process`. Raises OSError.

    With `hold` CAP_SYS_ADMIN is kept in use for one more step of the caller's, who then sets what is returned.
    """
    sys.prctl(sys.PR_SET_KEEPCAPS, 1)
    _set_groups(process.groups)
    os.setresgid(process.gid, process.gid, process.gid)
    os.setresuid(process.uid, process.uid, process.uid)
    sys.prctl(sys.PR_SET_KEEPCAPS, 0)
    owned = sys.capget()[1]
    wanted = _wanted(process.capabilities, owned, warnings)
    held = _HELD & owned if hold else 0
    sys.capset(wanted[0] | held, wanted[1] | held, wanted[2])
    _raise_ambient(_mask(process.capabilities["ambient"]) & wanted[1] & wanted[2])
    return wanted if held & ~(wanted[0] & wanted[1]) else None


def _wanted(sets: Mapping[str, Iterable[str]], owned: int, warnings: list[str]) -> Sets:
    """What of `sets` can be given."""
    wanted = _mask(sets["permitted"])
    permitted = wanted & owned
    if wanted != permitted:
        missing = ", ".join(capabilities.names(wanted & ~permitted))
        warnings.append(f"capabilities {missing} are not the engine's own and cannot be given")
    return _mask(sets["effective"]) & permitted, permitted, _mask(sets["inheritable"]) & permitted


def _raise_ambient(bits: int) -> None:
    sys.prctl(sys.PR_CAP_AMBIENT, sys.PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(64):
        if bits >> number & 1:
            sys.prctl(sys.PR_CAP_AMBIENT, sys.PR_CAP_AMBIENT_RAISE, number)
