"""A container with a published port that has to answer through everything: packets need no daemon."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Self

from tests.chaos.conftest import STARTER, Stage

from hakobune.linux.syscalls import CLONE_NEWNET, setns

NAME = "beacon"
_WORD = b"here"
_PAUSE = 0.05
_SECONDS = 5.0


@dataclass
class Beacon:
    """`with Beacon(stage) as beacon: …; beacon.missed` are the times that it did not answer."""

    stage: Stage
    missed: list[str] = field(default_factory=list)
    asked: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self.stage.ok("run", "-d", "--name", NAME, "-p", "127.0.0.1::80", STARTER, "/bin/sleep", "3600")
        self._pid = int(self.stage.ok("inspect", "-f", "{{.State.Pid}}", NAME))
        self._port = int(self.stage.ok("port", NAME, "80").rpartition(":")[2])
        self._server = self._listen()
        self._threads = [threading.Thread(target=work) for work in (self._answer, self._ask)]
        for thread in self._threads:
            thread.start()
        return self

    def _listen(self) -> socket.socket:
        """In the container's namespace, made by a thread that goes there and ends."""
        made: list[socket.socket] = []

        def inside() -> None:
            fd = os.open(f"/proc/{self._pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(fd, CLONE_NEWNET)
                made.append(socket.create_server(("0.0.0.0", 80)))
            finally:
                os.close(fd)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        made[0].settimeout(0.2)
        return made[0]

    def _answer(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                client, _address = self._server.accept()
                with client:
                    client.sendall(_WORD)

    def _ask(self) -> None:
        while not self._over.wait(_PAUSE):
            self.asked += 1
            began = time.monotonic()
            try:
                with socket.create_connection(("127.0.0.1", self._port), _SECONDS) as client:
                    said = client.recv(16)
            except OSError as err:
                said = str(err).encode()
            if said != _WORD:
                self.missed.append(f"at {began - self.stage.began:.2f}: {said.decode()}")

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._server.close()
