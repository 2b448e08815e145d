"""GET /containers/{id}/logs: read here, followed by the shim."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.model import Container
from hakobune.engine.http.message import Query, Request, Response, Taken
from hakobune.engine.schema.times import moment as moment
from hakobune.errors import HakoError, InvalidArgument, Unimplemented
from hakobune.logs.json_file import Reader
from hakobune.logs.render import View, batches


def view(query: Query, *, tty: bool) -> View:
    """What the query asks for. Raises InvalidArgument."""
    stdout, stderr = query.bool("stdout"), query.bool("stderr")
    if not stdout and not stderr:
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    tail = query.get("tail")
    return View(
        stdout=stdout,
        stderr=stderr,
        since=moment(query.get("since")),
        until=moment(query.get("until")),
        timestamps=query.bool("timestamps"),
        tail=int(tail) if tail.isascii() and tail.isdigit() else -1,
        framed=not tty,
    )


def _media(*, tty: bool, version: tuple[int, int]) -> str:
    raw = tty or version < (1, 42)
    return "application/vnd.docker.raw-stream" if raw else "application/vnd.docker.multiplexed-stream"


async def logs(deps: Deps, container: Container, request: Request) -> Response | Taken:
    """Serve one logs request. Raises Unimplemented when the output is not kept."""
    wanted = view(request.query, tty=container.tty)
    path = deps.log_path(container)
    if not path:
        raise Unimplemented("configured logging driver does not support reading")
    media = _media(tty=container.tty, version=request.version)
    side = container.side
    if request.query.bool("follow") and side is not None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        if not os.path.exists(path):
            open(path, "ab").close()
        taken = request.connection.take()
        try:
            await side.logs(head.encode(), path, wanted.query(), taken.sock)
        except HakoError:
            taken.sock.close()
        else:
            taken.sock.close()
        return taken
    return Response(200, _parts(path, wanted), (("Content-Type", media),))


async def _parts(path: str, wanted: View) -> AsyncIterator[bytes]:
    try:
        reader = Reader(path, tail=wanted.tail)
    except FileNotFoundError:
        return
    with contextlib.closing(reader):
        for data in batches(reader, wanted):
            yield data
            await asyncio.sleep(0)
