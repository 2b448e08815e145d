"""The manager's end of the zygote: finds a living one or starts it, and asks it for shims.

The protocol is written down in shim/zygote.py. One connection is kept open; a zygote that has died is
noticed before the next request and replaced: shims do not need it. Imports: asyncio, socket, subprocess.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from dataclasses import dataclass

from hakobune.errors import Internal, Unavailable
from hakobune.wire import pb

VERSION = "1"  # of shim/zygote.py: a test compares the two
START_SECONDS = 30.0
ANSWER_SECONDS = 20.0
UPGRADE_SECONDS = 60.0
RENEW = ("hakobune.shim.v1.Shim", "Renew")  # service and method of a shim's ttrpc socket: shim/renewal.py


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a shim answers that has gone on as newer code."""

    pid: int
    release: str
    previous: str


def ask_renewal(python: str, way: str = "") -> bytes:
    """The request: interpreter 1 ("": what stands in the shim's own's place), way 2 ("": the shim's choice)."""
    return pb.field(1, python) + pb.field(2, way)


def read_renewal(payload: bytes) -> Renewed:
    """The answer: pid 1, release 2, release before 3. Raises ValueError."""
    fields = pb.decode(payload)
    return Renewed(pb.number(fields, 1), pb.text(fields, 2), pb.text(fields, 3))


class Zygote:
    """Owns the connection, not the process: that outlives us when it has shims."""

    def __init__(self, path: str, log: str) -> None:
        self._path = path
        self._log = log
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = asyncio.Lock()

    async def ready(self) -> None:
        """Have a zygote of our version. Raises Unavailable."""
        async with self._turn:
            await self._connected()

    async def shim(
        self, namespace: str, container_id: str, bundle: str, socket_path: str, events_address: str
    ) -> int:
        """A new shim that listens on `socket_path`; its pid.

        Raises Unavailable when no zygote answers (a shim may have been made nevertheless), Internal with the
        zygote's own words when it refuses.
        """
        words = ("SHIM", namespace, container_id, bundle, socket_path, events_address, "")
        async with self._turn:
            connection = await self._connected()
            answer = await self._ask(connection, words)
        return int(answer[1])

    async def upgrade(self, python: str) -> tuple[str, str]:
        """Have it go on as the code of that interpreter; its release before and now.

        One that dies over it is replaced by one of the code that we are. Raises Unavailable, Internal.
        """
        async with self._turn:
            connection = await self._connected()
            before = _release(await self._ask(connection, ("PING",)))
            try:
                answer = await self._ask(connection, ("UPGRADE", python), UPGRADE_SECONDS)
            except Unavailable:
                answer = await self._ask(await self._connected(), ("PING",))
            return before, _release(answer)

    async def retire(self) -> None:
        """Tell it to end with its last shim; silent when there is none."""
        async with self._turn:
            if self._alive() or await self._adopt():
                assert self._socket is not None
                with contextlib.suppress(Unavailable, Internal):
                    await self._ask(self._socket, ("RETIRE",))
            self.close()

    def close(self) -> None:
        """Let go of the connection; the zygote stays as long as it has shims."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # --- the connection ---

    def _alive(self) -> bool:
        if self._socket is None:
            return False
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    async def _connected(self) -> socket.socket:
        if not self._alive():
            self.close()
            if not await self._adopt():
                await self._start()
        assert self._socket is not None
        return self._socket

    async def _adopt(self) -> bool:
        """Use the zygote that listens already; one of another version is sent away."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, self._path)
            answer = await self._ask(connection, ("PING",))
            if answer[2:3] == [VERSION]:
                self._socket = connection
                return True
            await self._ask(connection, ("RETIRE",))
        except (OSError, Unavailable, Internal):
            pass
        connection.close()
        return False

    async def _start(self) -> None:
        try:
            await asyncio.wait_for(asyncio.to_thread(self._spawn), START_SECONDS)
        except (OSError, TimeoutError) as err:
            raise Unavailable(
                f"the zygote does not start: {err or 'no word from it'} (see {self._log})"
            ) from err
        if not await self._adopt():
            raise Unavailable(f"the zygote does not answer at {self._path} (see {self._log})")

    def _spawn(self) -> None:
        """In a thread: execute it and wait for its word that it listens."""
        with open(self._log, "ab", opener=lambda p, f: os.open(p, f, 0o600)) as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-m", "hakobune.cmd.zygote", "--socket", self._path],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, cwd="/", start_new_session=True,
            )  # fmt: skip
        self._process = process  # kept, so that it is reaped when the next one is started
        assert process.stdout is not None
        with process.stdout as word:
            if not word.readline():
                raise OSError(f"it ended with status {process.wait()}")

    async def _ask(
        self, connection: socket.socket, words: tuple[str, ...], seconds: float = ANSWER_SECONDS
    ) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            connection.send("\0".join(words).encode())
            packet = await asyncio.wait_for(loop.sock_recv(connection, 65536), seconds)
        except (OSError, TimeoutError) as err:
            self.close()
            raise Unavailable(f"the zygote does not answer {words[0]}: {err or 'no answer'}") from err
        if not packet:
            self.close()
            raise Unavailable(f"the zygote has died over {words[0]}")
        answer = packet.decode().split("\0")
        if answer[0] != "OK":
            raise Internal(f"the zygote refuses: {' '.join(answer[1:])}")
        return answer


def _release(answer: list[str]) -> str:
    """What a PING or an UPGRADE says; before releases were told it was the first one."""
    return answer[3] if len(answer) > 3 else "0.1.0"
