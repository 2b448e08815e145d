"""POST /hako/upgrade: the daemons, the zygote and every shim go on as the code that is installed now.

`python` names another installation's interpreter; without it the engine's own is executed again, which has other code
by now. Nothing is installed here. The answer is one JSON object a line: {process, previous, release} or
{process, error} for each process, and {containers, untouched} at the end. Order: the engine (a check of the new code,
then exec), the manager (ended and started), the zygote (check, exec), the shims (a check each, then they go over).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from hakobune.containerd.client import Client
from hakobune.engine.containerd_process import ContainerdProcess
from hakobune.engine.http.message import Request, Taken
from hakobune.errors import FailedPrecondition, HakoError, InvalidArgument, Unimplemented

CHECK_SECONDS = 30.0
Tell = Callable[..., Awaitable[None]]


async def upgrade(request: Request, begin: Callable[[str, Taken], None]) -> Taken:
    """Check the new code, take the connection, and `begin(interpreter, connection)`.

    Raises InvalidArgument, FailedPrecondition with what the new code says; nothing has changed then.
    """
    if not request.connection.can_take:
        raise Unimplemented("an upgrade is asked for over a socket that can be handed over: not over TLS")
    python = request.query.get("python") or sys.executable
    if not os.path.isabs(python) or not os.access(python, os.X_OK):
        raise InvalidArgument(f"interpreter {python!r} is no program with a full path")
    await asyncio.gather(
        _check(python, "hakobune.cmd.hakod", *sys.argv[1:], "--validate"),
        _check(python, "hakobune.cmd.containerd", "--version"),
    )
    taken = request.connection.take()
    try:
        begin(python, taken)
        answer = _head("200 OK")
    except HakoError as err:
        answer = _head("409 Conflict") + json.dumps({"message": str(err)}).encode()
    with taken.sock, contextlib.suppress(OSError):
        taken.sock.send(answer)
    return taken


def _head(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n".encode()


async def _check(python: str, module: str, *words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        python,
        "-I",
        "-m",
        module,
        *words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        said, _nothing = await asyncio.wait_for(process.communicate(), CHECK_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise FailedPrecondition(f"{python} -m {module} does not end within {CHECK_SECONDS:g} s") from None
    if process.returncode:
        text = said.decode(errors="replace").strip() or "without a word"
        raise FailedPrecondition(f"{python} -m {module} ended with {process.returncode}: {text}")


async def below(manager: ContainerdProcess, client: Client, tell: Tell) -> None:
    """In the new engine: everything beneath it. What cannot be done is told, and the rest goes on."""
    previous = ""
    try:
        previous, _revision = await client.version.get()
        if await manager.replace():
            release, _revision = await client.version.get()
            await tell(process="hako-containerd", previous=previous, release=release)
        else:
            await tell(
                process="containerd", previous=previous, release=previous, note="not this engine's own"
            )
    except HakoError as err:
        await tell(process="hako-containerd", previous=previous, error=str(err))
    try:
        async for one in client.renewal.run():
            await tell(**asdict(one))
    except Unimplemented:
        await _shims_of_another(tell)
    except HakoError as err:
        await tell(process="zygote", error=str(err))


async def _shims_of_another(tell: Tell) -> None:
    """The manager is a containerd, whose shims of ours have zygotes of their own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-m",
        "hakobune.cmd.shim",
        "upgrade",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    async for line in process.stdout:
        await tell(**json.loads(line))
    if code := await process.wait():
        await tell(process="zygote", error=f"containerd-shim-hako-v1 upgrade ended with {code}")
