"""Docker and Podman of this machine, where they are installed and reachable, for the table at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hakobune.layers import starter

from ..failure import Failure
from ..http import Client, quote

_REPOSITORY = "localhost/hakobune-demo"
_SOCKETS = {
    "Docker": ("/run/docker.sock", "/var/run/docker.sock"),
    "Podman": ("/run/podman/podman.sock",),
}
_SECONDS = 10.0


class Peer:
    """Another engine behind Docker's API."""

    def __init__(self, name: str, host: str) -> None:
        self.name = name
        self.client = Client(host)

    @contextmanager
    def image(self) -> Iterator[str]:
        """The same starter image in that engine, for as long as the block lasts. Raises Failure."""
        tag = f"{_REPOSITORY}:{os.getpid()}"
        with tempfile.TemporaryFile() as file:
            starter.write_tar(file)
            file.seek(0)
            where = f"/images/create?fromSrc=-&repo={quote(tag)}"
            blocks = iter(lambda: file.read(1 << 16), b"")
            for event in self.client.open("POST", where, stream=blocks).lines():
                if event.get("error"):
                    raise Failure(event["error"])
        try:
            yield tag
        finally:
            self.client.call("DELETE", f"/images/{quote(tag, safe='/')}?force=1", fine=(404, 409))

    def answers(self) -> bool:
        """Whether somebody is there."""
        try:
            return str(self.client.get("/_ping")).strip() == "OK"
        except (Failure, OSError, ValueError):
            return False


@contextmanager
def peers() -> Iterator[list[Peer]]:
    """Those that answer; an installed Podman without a service gets one for the time being."""
    with ExitStack() as stack:
        found = []
        for name, paths in _SOCKETS.items():
            candidates = [Peer(name, f"unix://{path}") for path in paths if os.path.exists(path)]
            found += [peer for peer in candidates if peer.answers()][:1]
        podman = shutil.which("podman")
        if podman and not any(peer.name == "Podman" for peer in found):
            peer = stack.enter_context(_service(podman))
            found += [peer] if peer.answers() else []
        yield found


@contextmanager
def _service(podman: str) -> Iterator[Peer]:
    """`podman system service` on a socket of our own."""
    with tempfile.TemporaryDirectory(prefix="hk-") as directory:
        socket = Path(directory) / "podman.sock"
        line = [podman, "system", "service", "--time=0", f"unix://{socket}"]
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        peer = Peer("Podman", f"unix://{socket}")
        try:
            end = time.monotonic() + _SECONDS
            while process.poll() is None and time.monotonic() < end and not peer.answers():
                time.sleep(0.05)
            yield peer
        finally:
            process.terminate()
            process.wait()
