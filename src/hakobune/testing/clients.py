"""containerd's command lines, ctr and nerdctl, as programs that a test or a table talks to.

One `Cli` is one program on one manager and one namespace. Everything waits for output, nothing sleeps.
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from hakobune.layers import starter
from hakobune.testing.peers import built

SECONDS = 60.0
IMAGE = "example.test/starter:1"
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class Failed(AssertionError):
    """A command that did not do what it should; the message has the client's own words."""


@dataclass(frozen=True)
class Cli:
    """`cli(*arguments)` runs the program; `name` and `version` are for people."""

    name: str
    version: str
    program: str
    address: str = ""
    namespace: str = "default"
    runtime: str = "io.containerd.hako.v1"
    scratch: Path = field(default_factory=Path)

    @property
    def title(self) -> str:
        """As in "ctr 2.4.2"."""
        return f"{self.name} {self.version}"

    def argv(self, *arguments: str) -> list[str]:
        """The whole command line."""
        if self.name == "nerdctl":
            where = ("--address", f"unix://{self.address}", "--namespace", self.namespace)
            return [self.program, *where, "--data-root", str(self.scratch / "nerdctl"), *arguments]
        return [self.program, "--address", self.address, "--namespace", self.namespace, *arguments]

    def __call__(self, *arguments: str, stdin: bytes = b"", status: int = 0) -> str:
        """Run it; its output. Raises Failed for another exit status than `status`."""
        return self.output(*arguments, stdin=stdin, status=status).decode("utf-8", "replace")

    def output(self, *arguments: str, stdin: bytes = b"", status: int = 0) -> bytes:
        """As a call, for output that is no text."""
        done = subprocess.run(
            self.argv(*arguments), input=stdin, capture_output=True, timeout=SECONDS, check=False
        )
        if done.returncode != status:
            raise Failed(
                _reason(done.stderr + done.stdout) or f"{' '.join(arguments)}: status {done.returncode}"
            )
        return done.stdout

    def refused(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run what cannot succeed; what it says. Raises Failed when it does."""
        done = subprocess.run(
            self.argv(*arguments), input=stdin, capture_output=True, timeout=SECONDS, check=False
        )
        if not done.returncode:
            raise Failed(f"{' '.join(arguments)} succeeded")
        return done.stderr.decode("utf-8", "replace")

    def on_terminal(self, *arguments: str, typed: bytes = b"") -> str:
        """Run it on a terminal of its own and type something; all that the terminal shows."""
        near, far = pty.openpty()
        process = subprocess.Popen(
            self.argv(*arguments), stdin=far, stdout=far, stderr=far, start_new_session=True
        )
        os.close(far)
        shown = b""
        try:
            os.write(near, typed)
            for part in _parts(near):
                shown += part
            if process.wait(SECONDS):
                raise Failed(_reason(shown) or f"{' '.join(arguments)}: status {process.returncode}")
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            os.close(near)
        return shown.decode("utf-8", "replace")

    @contextmanager
    def watching(self, *arguments: str) -> Iterator[Watch]:
        """A command that goes on while others run, such as `events`."""
        process = subprocess.Popen(
            self.argv(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            yield Watch(process)
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@dataclass
class Watch:
    """The output of a command that goes on."""

    process: subprocess.Popen[bytes]
    seen: bytes = b""

    def until(self, text: str) -> None:
        """Wait for `text`. Raises Failed when it does not come."""
        assert self.process.stdout is not None
        for part in _parts(self.process.stdout.fileno(), lambda: text.encode() in self.seen):
            self.seen += part
        if text.encode() not in self.seen:
            raise Failed(f"{text!r} did not come: {_reason(self.seen)}")


def _parts(fd: int, enough: object = None) -> Iterator[bytes]:
    """What comes, until the end, until `enough()`, or until the time is over."""
    deadline = time.monotonic() + SECONDS
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while not (callable(enough) and enough()) and (left := deadline - time.monotonic()) > 0:
        if poll.poll(left * 1000):
            try:
                part = os.read(fd, 65536)
            except OSError:  # EIO: nobody has the terminal's other end any more
                return
            if not part:
                return
            yield part


def _reason(output: bytes) -> str:
    """The last line that says something, without program, time and level."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    found = re.search(r'msg="((?:[^"\\]|\\.)*)"', last)
    return found[1].replace('\\"', '"') if found else last.removeprefix("ctr: ")


def found() -> list[Cli]:
    """The clients of this machine: Debian's ctr, a current ctr, a current nerdctl; those that are there."""
    programs = {
        "ctr": [
            shutil.which("ctr", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") or "",
            built("ctr"),
        ],
        "nerdctl": [built("nerdctl")],
    }
    return [
        Cli(name, _version(program), program)
        for name, paths in programs.items()
        for program in paths
        if program
    ]


def _version(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    number = _VERSION.search(said)
    if number:
        return number[0]
    # built from a module, ctr does not know its version; the directory does (tools/install_go_peers.sh)
    number = _VERSION.search(os.path.realpath(program))
    return number[0] if number else "unknown"


def image_archive(path: Path, name: str = IMAGE) -> Path:
    """An archive as `docker save` writes it, of the starter image; made once."""
    if path.exists():
        return path
    packed = io.BytesIO()
    starter.write_tar(packed)
    layer = packed.getvalue()
    diff = sha256(layer).hexdigest()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = json.dumps(
        {
            "created": "2026-01-01T00:00:00Z",
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}"]},
        }
    ).encode()
    members = {
        f"{sha256(config).hexdigest()}.json": config,
        f"{diff}/layer.tar": layer,
        "manifest.json": json.dumps(
            [
                {
                    "Config": f"{sha256(config).hexdigest()}.json",
                    "RepoTags": [name],
                    "Layers": [f"{diff}/layer.tar"],
                }
            ]
        ).encode(),
    }
    with tarfile.open(path, "w") as archive:
        for member, data in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path
