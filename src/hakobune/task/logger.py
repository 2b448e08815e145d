"""A program that takes a container's output: containerd's `binary:///path?name=value` (its docs/… "Logging").

It is given the output as descriptor 3, the error output as 4, and 5, which it closes when it is ready; in its
environment the container's id and namespace. Its end is the end of the output. We do not wait until it is
ready: what comes before that is in the pipes. Imports: os, signal.
"""

from __future__ import annotations

import os
import signal

SCHEME = "binary://"


def command(uri: str) -> list[str]:
    """Path and arguments: of `?a=b&c` they are a, b, c."""
    path, _, query = uri[len(SCHEME) :].partition("?")
    words = [_plain(path)]
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        words += [_plain(name, form=True)] + ([_plain(value, form=True)] if equals else [""])
    return words


def _plain(text: str, *, form: bool = False) -> str:
    """Without the escapes of a URI (RFC 3986; in a query a plus is a space)."""
    first, *rest = (text.replace("+", " ") if form else text).encode().split(b"%")
    plain = bytearray(first)
    for part in rest:
        code = part[:2]
        known = len(code) == 2 and code.strip(b"0123456789abcdefABCDEF") == b""
        plain += bytes.fromhex(code.decode()) + part[2:] if known else b"%" + part
    return plain.decode("utf-8", "replace")


def start(uri: str, container_id: str, namespace: str) -> dict[str, int]:
    """Start it; our ends of its pipes by stream. Raises OSError; nothing is left then."""
    argv = command(uri)
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
    theirs = [pipes[0][0], pipes[1][0], pipes[2][1]]
    # By way of numbers which none of them has: 3 may itself be one of those that are to become 4 or 5.
    high = max(*theirs, 5) + 1
    actions: list[tuple[object, ...]] = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
    actions += [(os.POSIX_SPAWN_DUP2, fd, high + at) for at, fd in enumerate(theirs)]
    actions += [(os.POSIX_SPAWN_DUP2, high + at, 3 + at) for at in range(3)]
    actions += [(os.POSIX_SPAWN_CLOSE, high + at) for at in range(3)]
    ours = {"stdout": pipes[0][1], "stderr": pipes[1][1]}
    try:
        os.posix_spawn(
            argv[0], argv, {"CONTAINER_ID": container_id, "CONTAINER_NAMESPACE": namespace},
            file_actions=actions, setsigmask=[], setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD],
        )  # fmt: skip
    except OSError:
        for fd in ours.values():
            os.close(fd)
        raise
    finally:
        for fd in (*theirs, pipes[2][0]):
            os.close(fd)
    return ours
