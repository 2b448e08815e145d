"""A small client of the Docker API for measuring: one kept-alive connection, and execs over a hijacked one."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from typing import Any

API = "v1.41"

# Podman's own defaults are more than a root without CAP_SYS_RESOURCE may give: every engine gets these instead.
LIMITS = [{"Name": name, "Soft": 4096, "Hard": 4096} for name in ("nofile", "nproc")]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=300)
        self.path = path

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(300)
        self.sock.connect(self.path)


class Client:
    """Speaks to the engine at a socket's path. Not for several threads: each takes one of its own."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._connection = UnixConnection(path)

    def call(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
    ) -> Any:
        """One request; the decoded answer. Raises RuntimeError with the engine's words."""
        data = json.dumps(body) if isinstance(body, dict) else body
        headers = {"Content-Type": content_type} if body is not None else {}
        self._connection.request(method, f"/{API}{path}", body=data, headers=headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status not in (200, 201, 204, 304):
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
        is_json = answer.getheader("Content-Type", "").startswith("application/json")
        return json.loads(content) if content and is_json and content.count(b"\n") <= 1 else content

    def create(self, image: str, command: list[str], network: str) -> str:
        """A container's id."""
        host = {"NetworkMode": network, "Ulimits": LIMITS}
        body = {"Image": image, "Cmd": command, "HostConfig": host}
        return str(self.call("POST", "/containers/create", body)["Id"])

    def start(self, identity: str) -> None:
        """Start it."""
        self.call("POST", f"/containers/{identity}/start")

    def wait(self, identity: str) -> int:
        """Its exit code. On a connection of its own, as the docker command does it: some engines end it after."""
        with contextlib.closing(Client(self.path)) as apart:
            return int(apart.call("POST", f"/containers/{identity}/wait")["StatusCode"])

    def remove(self, identity: str) -> None:
        """Take it away, running or not."""
        self.call("DELETE", f"/containers/{identity}?force=true&v=true")

    def exec(self, identity: str, command: list[str]) -> tuple[int, bytes]:
        """Run a command in it: (exit code, framed output)."""
        body = {"Cmd": command, "AttachStdout": True, "AttachStderr": True}
        one = self.call("POST", f"/containers/{identity}/exec", body)["Id"]
        output = _hijack(self.path, f"/{API}/exec/{one}/start", b'{"Detach":false,"Tty":false}')
        return int(self.call("GET", f"/exec/{one}/json")["ExitCode"]), output

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _hijack(path: str, target: str, body: bytes) -> bytes:
    head = (
        f"POST {target} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nConnection: Upgrade\r\n"
        f"Upgrade: tcp\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(path)
        connection.sendall(head.encode() + body)
        parts = []
        while data := connection.recv(65536):
            parts.append(data)
    return b"".join(parts)
