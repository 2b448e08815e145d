"""POST /containers/{id}/wait: answered at once, by the shim at the end of init, or by us after the removal."""

from __future__ import annotations

import select
import socket

from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.model import Container, Lent, Waiter
from hakobune.engine.http.message import Request, Response, Taken, json_response
from hakobune.errors import HakoError, InvalidArgument
from hakobune.shim.client import Side

# The connection leaves our hands and is closed after the answer: a client must not keep it for its next request.
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
CONDITIONS = ("not-running", "next-exit", "removed")


def answer(waiter: Waiter, code: int) -> None:
    """Write the end to a connection of ours and let it go. `head` is empty where it went out before."""
    body = b'{"StatusCode":%d}\n' % code
    data = waiter.head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    sock = waiter.taken.sock
    try:
        sock.send(data)
    except OSError:
        pass  # it has gone
    finally:
        sock.close()


async def wait(deps: Deps, container: Container, request: Request) -> Response | Taken:
    """Serve one wait request. Raises InvalidArgument for an unknown condition."""
    condition = request.query.get("condition") or "not-running"
    if condition not in CONDITIONS:
        raise InvalidArgument(f"invalid condition: {condition!r}")
    if condition == "not-running" and not container.state.running:
        return json_response({"StatusCode": container.state.exit_code})
    if condition == "removed" and container.removed:
        return json_response({"StatusCode": container.state.exit_code})
    taken = request.connection.take()
    _send_head(taken)  # by us and before anything else: whoever answers in the end adds the body only
    side = container.side
    if side is None or not container.state.running:
        container.waiters.append(Waiter(taken, condition, b""))
        return taken
    lent = lend(container, taken.sock, condition)
    try:
        await hand_over(side, lent, b"")
    except HakoError:  # it ended this moment, or the shim was killed
        lent.orphaned = True
    if lent.orphaned:
        await _take_back(container, lent, taken)
    else:
        taken.sock.close()
        if lent not in container.lent:  # its end has been dealt with meanwhile, and the shim answers
            lent.waiter.taken.sock.close()
    return taken


async def hand_over(side: Side, lent: Lent, head: bytes) -> None:
    """The shim answers from now on. Raises HakoError: it has not got the connection."""
    await side.wait(lent.waiter.condition, head, lent.waiter.taken.sock)
    lent.taken_over = True


async def _take_back(container: Container, lent: Lent, taken: Taken) -> None:
    """A connection that the shim has not got is ours again."""
    if lent in container.lent:
        container.lent.remove(lent)
    lent.waiter.taken.sock.close()
    waiter = Waiter(taken, lent.waiter.condition, b"")
    if waiter.condition == "removed" and not container.removed:
        container.waiters.append(waiter)
        return
    await container.ended.wait()
    answer(waiter, container.state.exit_code)


def lend(container: Container, client: socket.socket, condition: str) -> Lent:
    """Keep a copy of a connection that goes to the shim."""
    for lent in [one for one in container.lent if one.taken_over and _has_hung_up(one.waiter.taken.sock)]:
        container.lent.remove(lent)
        lent.waiter.taken.sock.close()
    lent = Lent(Waiter(Taken(client.dup(), b""), condition, b""))
    container.lent.append(lent)
    return lent


def _has_hung_up(client: socket.socket) -> bool:
    look = select.poll()
    look.register(client, select.POLLRDHUP)
    return bool(look.poll(0))


def answer_ended(container: Container) -> None:
    """Answer those that wait for the end and not for the removal."""
    ended = [waiter for waiter in container.waiters if waiter.condition != "removed"]
    container.waiters = [waiter for waiter in container.waiters if waiter.condition == "removed"]
    for waiter in ended:
        answer(waiter, container.state.exit_code)


def _send_head(taken: Taken) -> None:
    """The client goes on only when it has seen the head."""
    try:
        taken.sock.send(HEAD)
    except OSError:
        pass
