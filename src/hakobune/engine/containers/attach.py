"""POST /containers/{id}/attach: the client's connection goes to the shim, now or with the next start."""

from __future__ import annotations

from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.model import Container, Waiting
from hakobune.engine.http.message import Query, Request, Taken, upgrade_head
from hakobune.errors import Conflict, HakoError, InvalidArgument
from hakobune.logs.json_file import Reader
from hakobune.logs.render import View, batches
from hakobune.wire import side

MOST_REPLAYED = 64 * 1024  # bytes of earlier output that travel with the hand-over


def flags(query: Query, *, tty: bool) -> int:
    """The streams a client asks for, in the side socket's bits."""
    found = 0
    for name, bit in (("stdin", side.STDIN), ("stdout", side.STDOUT), ("stderr", side.STDERR)):
        found |= bit if query.bool(name) else 0
    return found if tty else found | side.FRAMED


def parse_detach_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` -> the bytes that detach; the default when it is empty. Raises InvalidArgument."""
    found = bytearray()
    for word in (text or "ctrl-p,ctrl-q").split(","):
        key = word.strip()
        if len(key) == 1:
            found += key.encode()
            continue
        control = key.lower().removeprefix("ctrl-")
        if (
            control == key.lower()
            or len(control) != 1
            or not control.isascii()
            or not "@" <= control.upper() <= "_"
        ):
            raise InvalidArgument(f"invalid detach keys ({text}) provided: unknown character: '{key}'")
        found.append(ord(control.upper()) - ord("@"))
    return bytes(found)


async def attach(deps: Deps, container: Container, request: Request) -> Taken:
    """Serve one attach request. Raises Conflict when it is paused."""
    if container.state.status == "paused":
        raise Conflict(f"container {container.id} is paused, unpause the container before attach")
    if container.state.status == "restarting":
        raise Conflict(f"container {container.id} is restarting, wait until the container is running")
    query = request.query
    wanted = flags(query, tty=container.tty) if query.bool("stream") else 0
    if not container.config["OpenStdin"]:
        wanted &= ~side.STDIN
    keys = parse_detach_keys(query.get("detachKeys"))
    head = upgrade_head(request, container.tty)
    if query.bool("logs"):
        head += _replay(deps, container, query)
    taken = request.connection.take()
    deps.tell(container, "attach")
    try:
        if not query.bool("stream"):
            taken.sock.send(head)
            taken.sock.close()
        elif container.side is None:
            # The client goes on only when it has seen the head; the rest comes with the start.
            taken.sock.send(head)
            container.waiting.append(Waiting(taken, wanted, b"", keys))
        else:
            await container.side.attach("", wanted, head, taken.early, keys, taken.sock)
            taken.sock.close()
    except (HakoError, OSError):
        _end(taken, head)
    return taken


def _replay(deps: Deps, container: Container, query: Query) -> bytes:
    path = deps.log_path(container)
    if not path:
        return b""
    view = View(stdout=query.bool("stdout"), stderr=query.bool("stderr"), framed=not container.tty)
    try:
        output = b"".join(batches(Reader(path, tail=-1), view))
    except OSError:
        return b""
    return output[-MOST_REPLAYED:] if container.tty else output[: 2 * MOST_REPLAYED]


def _end(taken: Taken, head: bytes) -> None:
    """It ended between the request and the hand-over: an empty stream."""
    try:
        taken.sock.send(head)
    except OSError:
        pass
    taken.sock.close()
