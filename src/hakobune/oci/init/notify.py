"""A seccomp listener for an agent outside: SCMP_ACT_NOTIFY (runtime-spec, config-linux.md, Seccomp, and Container Process State).

The worker connects to `listenerPath` in the host; init (or an exec's process) loads the filter, and a second thread of
its own hands the listener over, with the process's state. That thread began before the filter and is not under it: so
the agent may be asked about any call but those by which the two threads wait for each other. exec(2) ends it.
Imports: json, os, _thread; linux.
"""

from __future__ import annotations

import _thread
import json
import os
from collections.abc import Callable, Mapping

from hakobune.errors import InvalidArgument
from hakobune.linux import sockets
from hakobune.linux import syscalls as sys
from hakobune.linux.sockets import Socket
from hakobune.record import Any, dataclass

_STACK = 256 << 10  # bytes: the thread makes one call
VERSION = "1.0.2"


@dataclass(frozen=True, slots=True)
class Listener:
    """Somebody to hand it to; `told(pid)` is the container's state, `proc` the host's /proc."""

    channel: Socket
    proc: int
    metadata: str
    told: Callable[[int], bytes]


def connect(profile: Mapping[str, Any], told: Callable[[int], bytes]) -> Listener:
    """For a profile that notifies. Raises InvalidArgument naming the field."""
    path, metadata = profile.get("listenerPath"), profile.get("listenerMetadata") or ""
    if not isinstance(path, str) or not path.startswith("/"):
        raise InvalidArgument(
            f"linux.seccomp.listenerPath: SCMP_ACT_NOTIFY needs the absolute path of a socket, got {path!r:.60}"
        )
    if not isinstance(metadata, str):
        raise InvalidArgument(f"linux.seccomp.listenerMetadata: expected a string, got {metadata!r:.60}")
    channel = sockets.unix(sockets.STREAM)
    try:
        channel.connect(path)
    except OSError as err:
        channel.close()
        raise InvalidArgument(
            f"linux.seccomp.listenerPath: {path}: {(err.strerror or str(err)).lower()}"
        ) from err
    return Listener(channel, os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), metadata, told)


def _document(listener: Listener, pid: int) -> bytes:
    """containerProcessState; the pid is the one that the host knows."""
    document = {
        "ociVersion": VERSION,
        "fds": ["seccompFd"],
        "pid": pid,
        "state": json.loads(listener.told(pid)),
    }
    if listener.metadata:
        document["metadata"] = listener.metadata
    return json.dumps(document).encode()


def load(listener: Listener, program: bytes, flags: int) -> None:
    """Load the filter and hand its listener over, with the connection then closed. Raises OSError."""
    # What procfs calls "self" is our pid in its own namespace, however deep we are ourselves.
    message = _document(listener, int(os.readlink("self", dir_fd=listener.proc)))
    loaded, sent = _thread.allocate_lock(), _thread.allocate_lock()
    loaded.acquire()
    sent.acquire()
    made: list[int] = []
    failed: list[OSError] = []

    def deliver() -> None:
        loaded.acquire()
        try:
            sockets.send(listener.channel, message, made[0])
            listener.channel.close()
            os.close(made[0])
            os.close(listener.proc)
        except OSError as err:
            failed.append(err)
        sent.release()

    _thread.stack_size(_STACK)
    _thread.start_new_thread(deliver, ())
    made.append(sys.seccomp_load(program, flags | sys.SECCOMP_FILTER_FLAG_NEW_LISTENER))
    loaded.release()
    sent.acquire()
    if failed:
        raise OSError(failed[0].errno, f"hand over the seccomp listener: {failed[0].strerror}") from failed[0]
