"""POST /containers/{id}/wait: answered at once, by the shim at the end of init, or by us after the removal."""

from __future__ import annotations

from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.model import Container, Waiter
from hakobune.engine.http.message import Request, Response, Taken, json_response
from hakobune.errors import HakoError, InvalidArgument

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
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
    side = container.side
    if side is None or not container.state.running:
        _send_head(taken)
        container.waiters.append(Waiter(taken, condition, b""))
        return taken
    try:
        await side.wait(condition, HEAD, taken.sock)
    except HakoError:  # it ended this moment
        if condition == "removed" and container.auto_remove and not container.removed:
            _send_head(taken)
            container.waiters.append(Waiter(taken, condition, b""))
            return taken
        answer(Waiter(taken, condition, HEAD), container.state.exit_code)
        return taken
    taken.sock.close()
    return taken


def _send_head(taken: Taken) -> None:
    """The client goes on only when it has seen the head."""
    try:
        taken.sock.send(HEAD)
    except OSError:
        pass
