"""`start`: open the gate at which init waits, and hear what became of it. Imports: os, socket; oci.status."""

from __future__ import annotations

import os
import socket

from hakobune.errors import FailedPrecondition
from hakobune.oci.init import messages
from hakobune.oci.status import Container


def start(root: str, container_id: str) -> None:
    """`start`. Raises NotFound, FailedPrecondition, and what exec(2) said."""
    container = Container(root, container_id)
    record = container.read()
    status = container.status(record)
    if status != "created":
        raise FailedPrecondition(f"cannot start a container in the {status} state")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as starter:
        place = os.open(container.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        starter.connect(f"/proc/self/fd/{place}/gate")
        os.close(place)
        starter.send(messages.START)
        os.unlink(container.gate)
        packet = starter.recv(messages.MAX_MESSAGE)
    if packet[:1] == messages.FAILED:
        raise messages.failure(packet)
