"""What `containerd-shim-hako-v1 start` does: understand who asks, have a zygote, get a shim, answer.

A containerd says what it wants in three ways (see cmd/shim.py). BootstrapParams on stdin and the runtime's
options, an Any, decode as each other: only the ids on the command line tell which it is.
Imports: fcntl, os, wire, linux.sockets.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hakobune.errors import HakoError, InvalidArgument, Unavailable
from hakobune.linux import sockets
from hakobune.linux.sockets import Socket
from hakobune.wire import pb

SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `version` of the task API that the asker knows; 0: it only reads plain addresses."""

    namespace: str
    id: str
    address: str
    events: str
    version: int


def read(raw: bytes, flags: Mapping[str, str], environment: Mapping[str, str]) -> Asked:
    """The request in argv, environment and stdin. Raises InvalidArgument."""
    namespace = flags.get("namespace") or environment.get("NAMESPACE", "")
    container_id = flags.get("id", "")
    if not namespace or not container_id:
        raise InvalidArgument("-namespace and -id are required")
    address = flags.get("address") or environment.get("GRPC_ADDRESS", "")
    events = environment.get("TTRPC_ADDRESS", "")
    version = int(environment.get("MAX_SHIM_VERSION", "0") or 0)
    params = _params(raw)
    if (pb.text(params, 1), pb.text(params, 2)) == (container_id, namespace):
        # instance_id 1, namespace 2, containerd_ttrpc_address 5, containerd_grpc_address 6
        address, events = pb.text(params, 6) or address, pb.text(params, 5) or events
        version = version or 3
    return Asked(namespace, container_id, address, events or (f"{address}.ttrpc" if address else ""), version)


def _params(raw: bytes) -> pb.Fields:
    try:
        return pb.decode(raw)
    except ValueError:
        return {}


def answer(asked: Asked, address: str) -> bytes:
    """The plain address, or JSON, which every containerd that sends BootstrapParams reads too."""
    if asked.version < 2:
        return address.encode()
    return json.dumps({"version": min(asked.version, 3), "address": address, "protocol": "ttrpc"}).encode()


@contextlib.contextmanager
def zygote(path: str) -> Iterator[Socket]:
    """A connection to the zygote at `path`, which is started when none answers. Raises Unavailable."""
    lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two that start at once share one
        channel = sockets.unix(sockets.SEQPACKET)
        channel.settimeout(SECONDS)
        try:
            channel.connect(path)
        except OSError:
            _spawn(path)
            channel.connect(path)
        yield channel
        channel.close()
    finally:
        os.close(lock)


def _spawn(path: str) -> None:
    """Start a zygote in a session of its own; returns when it listens."""
    reading, writing = os.pipe()
    log = path + ".log"
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, writing, 1),
        (os.POSIX_SPAWN_OPEN, 2, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
    ]
    line = [sys.executable, "-I", "-m", "hakobune.cmd.zygote", "--socket", path]
    os.posix_spawn(sys.executable, line, os.environ, file_actions=actions, setsid=True)
    os.close(writing)
    with open(reading, "rb") as ready:
        if ready.readline() != b"\n":
            raise Unavailable(f"the zygote did not come up, see {log}")


def fork(manager: Socket, asked: Asked, bundle: str, path: str) -> int:
    """A shim that listens at `path`; its pid. Raises HakoError with the zygote's words."""
    words = ("SHIM", asked.namespace, asked.id, os.path.abspath(bundle), path, asked.events, "")
    manager.send("\0".join(words).encode())
    status, *rest = manager.recv(65536).decode().split("\0")
    if status != "OK":
        raise HakoError(": ".join(rest))
    return int(rest[0])
