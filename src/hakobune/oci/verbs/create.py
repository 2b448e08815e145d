"""`create`: everything but exec(2); init waits at the gate. And `run`, which goes on from there.

The gate is a socket in the state directory. `start` connects to it, says START, and hears the end of
the connection when exec(2) has succeeded, or the reason why it has not: a FIFO could only say "go".
Imports: os, time; linux.sockets, oci.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import HakoError, InvalidArgument
from hakobune.failpoint import reach
from hakobune.linux import sockets
from hakobune.linux.sockets import Socket
from hakobune.oci import hooks
from hakobune.oci.config import Config
from hakobune.oci.init import messages, parent, reading
from hakobune.oci.init.child import Gate, Streams
from hakobune.oci.rootfs import hostroot
from hakobune.oci.status import Container, Record, start_time
from hakobune.oci.verbs import delete, launch, start
from hakobune.oci.verbs.spec import VERSION
from hakobune.record import dataclass


@dataclass(frozen=True, slots=True)
class Order:
    """The flags of create and run."""

    bundle: str
    pid_file: str = ""
    console_socket: str = ""
    preserve: int = 0
    detached: bool = True


def create(root: str, container_id: str, order: Order) -> tuple[Record, int]:
    """Make the container: (its record, the pty's master or -1). Raises HakoError, OSError; nothing is left then."""
    bundle = os.path.realpath(order.bundle)
    config = reading.load(bundle)
    _check_terminal(config, order)
    container = Container(root, container_id)
    container.claim()
    cgroup = reading.cgroup_path(config, container_id)
    try:
        launched = _launch(container, bundle, config, order)
        reach("runtime.create.launched")
        try:
            record = Record(
                container_id, VERSION, bundle, os.path.join(bundle, config.root), launched.pid,
                start_time(launched.pid), cgroup, time.time_ns(), annotations=dict(config.annotations),
            )  # fmt: skip
            container.write(record)
            if order.console_socket and launched.console >= 0:
                launch.send_console(order.console_socket, launched.console)
            launch.write_pid(order.pid_file, launched.pid)
        except BaseException:
            delete.end(Cgroup.find(cgroup))
            raise
    except BaseException:
        hooks.run_kept(hooks.GONE, container.directory)  # for what others have made for it
        hostroot.take_away(f"{container.directory}/{hostroot.NOTE}")
        container.forget()
        raise
    launched.far.close()
    return record, launched.console


def _check_terminal(config: Config, order: Order) -> None:
    terminal = config.process is not None and config.process.terminal
    if terminal and order.detached and not order.console_socket:
        raise InvalidArgument("cannot allocate tty if the runtime will detach without setting console socket")
    if order.console_socket and (not terminal or not order.detached):
        raise InvalidArgument("cannot use console socket if the runtime will not detach or allocate tty")


def _launch(container: Container, bundle: str, config: Config, order: Order) -> launch.Launched:
    listener = sockets.unix(sockets.SEQPACKET)
    place = os.open(container.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener.bind(f"/proc/self/fd/{place}/gate")  # a path of any length
    os.close(place)
    listener.listen(4)
    terminal = config.process is not None and config.process.terminal
    streams = None if terminal else Streams(0, 1, 2)

    def work(near: Socket) -> None:
        def made(cgroup: Cgroup, _config: Config) -> None:
            container.note(cgroup.path)
            messages.say_cgroup(near, cgroup.path, "")

        gate = _gate(listener, near)
        request = parent.Request(bundle, (), streams, near, gate, preserve=order.preserve, made=made,
                                 links=_give, kept=container.directory, host_root=f"{container.directory}/{hostroot.NOTE}")  # fmt: skip
        pid, _cgroup, _config = parent.create(request, container.id)
        messages.say_pid(near, pid)

    try:
        return launch.launch(work)
    finally:
        listener.close()


def _give(devices: Mapping[str, str], pid: int) -> None:
    from hakobune.oci.verbs import links  # few have any

    links.give(devices, pid)


def _gate(listener: Socket, near: Socket) -> Gate:
    """In init: wait for one who says START; from there on that one hears what becomes of it."""

    def gate() -> bool:
        while True:
            starter = sockets.accept(listener, sockets.SEQPACKET)
            if starter.recv(16) == messages.START:
                os.dup2(starter.fileno(), near.fileno(), inheritable=False)
                return True
            starter.close()

    return gate


def run(root: str, container_id: str, order: Order, *, keep: bool = False) -> int:
    """`run`: create, start and, in the foreground, wait and delete; the exit status."""
    record, console = create(root, container_id, order)
    try:
        start.start(root, container_id)
    except HakoError:
        delete.delete(root, container_id, force=True)
        raise
    if order.detached:
        return 0
    code = launch.forward(record.pid, console)
    if not keep:
        delete.delete(root, container_id, force=True)
    return code
