"""`kill`: a signal for the init process, or for everyone. Imports: os; cgroups, linux.sockets, oci.status."""

from __future__ import annotations

import os

from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import FailedPrecondition, InvalidArgument
from hakobune.linux.sockets import SIGKILL
from hakobune.oci.status import Container


def signal_number(text: str) -> int:
    """9, KILL, SIGKILL, sigkill, RTMIN+3. Raises InvalidArgument."""
    if text.isdigit():
        return int(text)
    import signal  # its enums are two milliseconds, which a number need not pay

    name, plus, offset = text.upper().removeprefix("SIG").partition("+")
    try:
        return int(signal.Signals[f"SIG{name}"]) + (int(offset) if plus else 0)
    except (KeyError, ValueError) as err:
        raise InvalidArgument(f"unknown signal {text!r}") from err


def kill(root: str, container_id: str, number: int, *, everyone: bool) -> None:
    """`kill`. Raises FailedPrecondition when it does not run.

    SIGKILL ends the whole container, also one whose pid namespace is the host's or another container's, where the
    kernel does not do it, and also when only its init process has gone.
    """
    container = Container(root, container_id)
    brief = container.brief()
    cgroup = Cgroup.find(brief.cgroup)
    if everyone:
        _kill_everyone(cgroup, number)
        return
    status = container.status(brief)
    if status == "stopped":
        if number != SIGKILL or not cgroup.pids():
            raise FailedPrecondition("container not running")
        cgroup.kill()
        return
    try:
        alone = number == SIGKILL and not _is_first(brief.pid)
        os.kill(brief.pid, number)
        if alone:
            cgroup.kill()
    except ProcessLookupError as err:
        raise FailedPrecondition("container not running") from err
    if number == SIGKILL and status == "paused":
        cgroup.thaw()


def _is_first(pid: int) -> bool:
    """Whether it is process 1 of its pid namespace, with which all others end (pid_namespaces(7))."""
    try:
        with open(f"/proc/{pid}/status") as file:
            line = next(line for line in file if line.startswith("NSpid:"))
    except OSError:
        return False
    numbers = line.split()[1:]
    return len(numbers) > 1 and numbers[-1] == "1"


def _kill_everyone(cgroup: Cgroup, number: int) -> None:
    if number == SIGKILL:
        cgroup.kill()
        return
    for pid in cgroup.pids():
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
