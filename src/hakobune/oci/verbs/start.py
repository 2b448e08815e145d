"""`start`: open the gate at which init waits, and hear what became of it. Imports: os; linux.sockets, oci.status."""

from __future__ import annotations

import os

from hakobune.errors import FailedPrecondition
from hakobune.linux import sockets
from hakobune.oci.init import messages
from hakobune.oci.status import Container

_REFUSED = {  # the words of runc
    "running": "cannot start an already running container",
    "paused": "cannot start an already running container",
    "stopped": "cannot start a container that has stopped",
}


def start(root: str, container_id: str) -> None:
    """`start`. Raises NotFound, FailedPrecondition, and what exec(2) said."""
    container = Container(root, container_id)
    status = container.status(container.brief())
    if status != "created":
        raise FailedPrecondition(_REFUSED[status])
    starter = sockets.unix(sockets.SEQPACKET)
    place = os.open(container.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    starter.connect(f"/proc/self/fd/{place}/gate")
    os.close(place)
    starter.send(messages.START)
    os.unlink(container.gate)
    packet = starter.recv(messages.MAX_MESSAGE)
    starter.close()
    if packet[:1] == messages.FAILED:
        raise messages.failure(packet)
    if os.path.exists(f"{container.directory}/poststart"):
        from hakobune.oci import hooks

        for failed in hooks.run_kept(hooks.STARTED, container.directory):
            os.write(2, f"hako-runtime: warning: {failed}\n".encode())
