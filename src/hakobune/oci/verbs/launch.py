"""How create, run and exec make a process: a throw-away fork prepares and clones it, we listen.

The fork enters namespaces, so that we need not; what it clones is our child (CLONE_PARENT), and goes
to the caller's subreaper when we end. Imports: os; linux.sockets, oci.init.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import Internal
from hakobune.linux import sockets
from hakobune.linux.sockets import Socket
from hakobune.oci.init import messages
from hakobune.oci.verbs import delete
from hakobune.record import dataclass

# Not forwarded (man 7 signal): KILL, SEGV, PIPE, CHLD, STOP, TTOU, URG, WINCH.
_OUR_OWN = frozenset((9, 11, 13, 17, 19, 22, 23, 28))
Work = Callable[[Socket], None]  # makes the process and says its pid at the near end


@dataclass(slots=True)
class Launched:
    """A process that waits for START. `console` is the master of its pty, or -1."""

    pid: int
    far: Socket
    console: int
    warnings: list[str]


def launch(work: Work) -> Launched:
    """Run `work` in a fork; returns when the process is READY. Raises the HakoError that it told."""
    far, near = messages.pair()
    worker = os.fork()
    if worker == 0:
        _work(work, near)
    near.close()
    cgroups: list[str] = []
    try:
        return _listen(far, cgroups)
    except BaseException:
        far.close()
        for path in cgroups:
            Cgroup.find(path).kill()
        _reap_everything()
        for path in cgroups:
            delete.end(Cgroup.find(path))
        raise
    finally:
        try:
            os.waitpid(worker, 0)
        except ChildProcessError:
            pass


def _work(work: Work, near: Socket) -> None:
    try:
        work(near)
    except BaseException as err:
        messages.say_failed(near, err)
    os._exit(0)


def _listen(far: Socket, cgroups: list[str]) -> Launched:
    """PID and READY, in either order; a cgroup that was made goes to `cgroups`."""
    pid, ready, console = 0, None, -1
    while not pid or ready is None:
        packet, rights = sockets.receive(far, messages.MAX_MESSAGE)
        if packet[:1] == messages.PID:
            pid = int(packet[1:])
        elif packet[:1] == messages.CGROUP:
            cgroups.append(packet[1:].decode().partition("\n")[0])
        elif packet[:1] == messages.READY:
            ready = packet[1:].decode("utf-8", "replace")
            console = rights[0] if rights else -1
        elif packet[:1] == messages.FAILED:
            raise messages.failure(packet)
        elif not packet:
            raise Internal("the container's process ended before it was ready")
    return Launched(pid, far, console, [line for line in ready.split("\n") if line])


def _reap_everything() -> None:
    """What was cloned and has failed is our child: nothing of it stays, not even its status."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


def begin(far: Socket) -> None:
    """START, and wait for exec(2). Raises the HakoError that the process told."""
    far.send(messages.START)
    finished(far)


def finished(far: Socket) -> None:
    """The end of the channel means that exec(2) has succeeded. Raises the HakoError of a failure."""
    packet = far.recv(messages.MAX_MESSAGE)
    far.close()
    if packet[:1] == messages.FAILED:
        raise messages.failure(packet)


def send_console(path: str, master: int) -> None:
    """Hand the pty's master to the listener at `path` (SCM_RIGHTS), as runc does. Raises OSError."""
    channel = sockets.unix(sockets.STREAM)
    try:
        channel.connect(path)
        sockets.send(channel, b"/dev/pts/ptmx", master)
    except OSError as err:
        raise OSError(err.errno, err.strerror, path) from err
    finally:
        channel.close()
    os.close(master)


def write_pid(path: str, pid: int) -> None:
    """Whole or not at all; nothing when `path` is empty. Raises OSError."""
    if not path:
        return
    with open(path + ".new", "w") as file:
        file.write(str(pid))
    os.rename(path + ".new", path)


def forward(pid: int, console: int) -> int:
    """Be the foreground of a process: signals go to it, a terminal is passed through; its exit status."""
    for number in range(1, 32):
        if number not in _OUR_OWN:
            sockets.set_handler(number, lambda number, _frame: _send(pid, number))
    if console >= 0:
        from hakobune.oci.verbs import foreground

        foreground.proxy(console)
    _pid, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
