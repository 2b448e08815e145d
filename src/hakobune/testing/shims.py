"""A zygote of one's own, and its shims over raw ttrpc: what a manager says, without a manager.

For tests of the shim and for its benchmark. Everything blocks, with a time limit. Imports: os, socket,
subprocess; wire, spec, testing.bundle.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hakobune.errors import HakoError, from_code
from hakobune.shim.manager_client import RENEW, ask_renewal, read_renewal
from hakobune.spec.mount import Mount
from hakobune.testing.bundle import Bundle
from hakobune.wire import pb, side, ttrpc

SERVICE = "containerd.task.v3.Task"
SECONDS = 15.0
_PROCESS = "types.containerd.io/opencontainers/runtime-spec/1/Process"
_RESOURCES = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
RUNC_OPTIONS = "containerd.runc.v1.Options"
STATUS = {0: "unknown", 1: "created", 2: "running", 3: "stopped", 4: "paused", 5: "pausing"}


class Ttrpc:
    """One connection; several calls may be under way, each is a stream."""

    def __init__(self, path: str, service: str = SERVICE) -> None:
        self._service = service
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(SECONDS)
        self._socket.connect(path)
        self._decoder = ttrpc.Decoder()
        self._stream = -1
        self._answers: dict[int, ttrpc.Response] = {}

    def send(self, method: str, payload: bytes = b"", service: str = "") -> int:
        """Start a call; its stream."""
        self._stream += 2
        request = ttrpc.pack_request(ttrpc.Request(service or self._service, method, payload))
        self._socket.sendall(ttrpc.pack(ttrpc.Frame(self._stream, ttrpc.REQUEST, 0, request)))
        return self._stream

    def answer(self, stream: int) -> bytes:
        """The payload of the call's answer. Raises the HakoError that it carries, EOFError, TimeoutError."""
        while stream not in self._answers:
            data = self._socket.recv(65536)
            if not data:
                raise EOFError("the shim has gone")
            for frame in self._decoder.feed(data):
                self._answers[frame.stream] = ttrpc.unpack_response(frame.data)
        response = self._answers.pop(stream)
        if response.code:
            raise from_code(response.code, response.message)
        return response.payload

    def call(self, method: str, payload: bytes = b"") -> bytes:
        """`send` and `answer`."""
        return self.answer(self.send(method, payload))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


@dataclass(frozen=True)
class Exit:
    """What Wait and Delete answer."""

    status: int
    at: int
    pid: int = 0


def _seconds(raw: bytes) -> int:
    fields = pb.decode(raw)
    return pb.number(fields, 1) * 1_000_000_000 + pb.number(fields, 2)


def _mount(mount: Mount) -> bytes:
    options = b"".join(pb.field(4, option) for option in mount.options)
    return pb.field(1, mount.type) + pb.field(2, mount.source) + pb.field(3, mount.target) + options


class Task:
    """One shim and the verbs of its task; field numbers as in containerd's shim API."""

    def __init__(self, bundle: Bundle, socket_path: str, pid: int) -> None:
        self.bundle = bundle
        self.socket_path = socket_path
        self.shim = pid
        self.rpc = Ttrpc(socket_path)
        self._name = pb.field(1, bundle.id)
        self.program = ""  # of its runtime, instead of the one built in

    def create(self, *, stdin: str = "", stdout: str = "", stderr: str = "", terminal: bool = False) -> int:
        """Task.Create; the pid."""
        return self.answer_pid(self.send_create(stdin, stdout, stderr, terminal))

    def send_create(self, stdin: str = "", stdout: str = "", stderr: str = "", terminal: bool = False) -> int:
        """Start a Create; its stream."""
        rootfs = b"".join(pb.message(3, _mount(mount)) for mount in self.bundle.mounts)
        io = pb.field(4, terminal) + pb.field(5, stdin) + pb.field(6, stdout) + pb.field(7, stderr)
        wrapped = pb.field(1, RUNC_OPTIONS) + pb.message(2, pb.field(6, self.program))
        options = pb.message(10, wrapped) if self.program else b""
        return self.rpc.send(
            "Create", self._name + pb.field(2, str(self.bundle.path)) + rootfs + io + options
        )

    def answer_pid(self, stream: int) -> int:
        """The pid in the answer of a Create or Start."""
        return pb.number(pb.decode(self.rpc.answer(stream)), 1)

    def start(self, exec_id: str = "") -> int:
        """Task.Start; the pid."""
        return self.answer_pid(self.send_start(exec_id))

    def send_start(self, exec_id: str = "") -> int:
        """Start a Start; its stream."""
        return self.rpc.send("Start", self._name + pb.field(2, exec_id))

    def exec(self, exec_id: str, args: Sequence[str], *, stdin: str = "", stdout: str = "", stderr: str = "",
             terminal: bool = False, process: Mapping[str, Any] | None = None) -> None:  # fmt: skip
        """Task.Exec, with init's own environment and capabilities."""
        document = self.bundle.config()["process"] | {"args": list(args), "terminal": terminal}
        document |= process or {}
        spec = pb.field(1, _PROCESS) + pb.field(2, json.dumps(document))
        io = pb.field(3, terminal) + pb.field(4, stdin) + pb.field(5, stdout) + pb.field(6, stderr)
        self.rpc.call("Exec", self._name + pb.field(2, exec_id) + io + pb.message(7, spec))

    def send_wait(self, exec_id: str = "") -> int:
        """Start a Wait; its stream."""
        return self.rpc.send("Wait", self._name + pb.field(2, exec_id))

    def answer_exit(self, stream: int) -> Exit:
        """What a Wait answered."""
        fields = pb.decode(self.rpc.answer(stream))
        return Exit(pb.number(fields, 1), _seconds(pb.blob(fields, 2)))

    def wait(self, exec_id: str = "") -> Exit:
        """Task.Wait."""
        return self.answer_exit(self.send_wait(exec_id))

    def kill(self, number: int = signal.SIGKILL, exec_id: str = "", *, everyone: bool = False) -> None:
        """Task.Kill."""
        self.rpc.call(
            "Kill", self._name + pb.field(2, exec_id) + pb.field(3, int(number)) + pb.field(4, everyone)
        )

    def delete(self, exec_id: str = "") -> Exit:
        """Task.Delete."""
        fields = pb.decode(self.rpc.call("Delete", self._name + pb.field(2, exec_id)))
        return Exit(pb.number(fields, 2), _seconds(pb.blob(fields, 3)), pb.number(fields, 1))

    def state(self, exec_id: str = "") -> str:
        """The word for Task.State's status."""
        fields = pb.decode(self.rpc.call("State", self._name + pb.field(2, exec_id)))
        return STATUS[pb.number(fields, 4)]

    def pids(self) -> list[int]:
        """Task.Pids."""
        fields = pb.decode(self.rpc.call("Pids", self._name))
        return [pb.number(pb.decode(raw), 1) for raw in fields.get(1, []) if isinstance(raw, bytes)]

    def verb(self, method: str) -> bytes:
        """Pause, Resume, Stats, Connect: those which name nothing but the task."""
        return self.rpc.call(method, self._name)

    def close_io(self, exec_id: str = "") -> None:
        """Task.CloseIO of stdin."""
        self.rpc.call("CloseIO", self._name + pb.field(2, exec_id) + pb.field(3, True))

    def resize(self, columns: int, rows: int, exec_id: str = "") -> None:
        """Task.ResizePty."""
        size = pb.field(3, columns) + pb.field(4, rows)
        self.rpc.call("ResizePty", self._name + pb.field(2, exec_id) + size)

    def update(self, resources: Mapping[str, Any]) -> None:
        """Task.Update."""
        value = pb.field(1, _RESOURCES) + pb.field(2, json.dumps(resources))
        self.rpc.call("Update", self._name + pb.message(2, value))

    def shutdown(self, *, now: bool = False) -> None:
        """Task.Shutdown: the shim ends."""
        self.rpc.call("Shutdown", self._name + pb.field(2, now))

    def renew(self, python: str = "", way: str = "") -> tuple[str, str]:
        """Go on as the code of that interpreter; the release before and now."""
        service, method = RENEW
        found = read_renewal(self.rpc.answer(self.rpc.send(method, ask_renewal(python, way), service)))
        self.shim = found.pid
        return found.previous, found.release

    def rest(self) -> int:
        """Wait until the shim has gone to sleep, in a process of its own; the pid of that. Raises TimeoutError."""
        if not gone(self.shim):
            raise TimeoutError(f"the shim {self.shim} of {self.bundle.id} does not rest")
        self.shim = shim_of(self.bundle)
        return self.shim

    def end(self) -> None:
        """Whatever the state is: no process, no cgroup, no shim afterwards. For clean-up."""
        try:
            try:
                self.kill(everyone=True)
                self.wait()
            except HakoError:
                pass
            try:
                self.delete()
            except HakoError:
                pass
            self.shutdown(now=True)
        except (OSError, EOFError):
            pass
        self.rpc.close()
        gone(self.shim)


class Zygote:
    """`with Zygote(directory) as zygote: zygote.task(bundle)`; the directory's path has to be short."""

    def __init__(
        self, directory: Path, *, events: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        self.directory = directory
        self.events = events
        self.tasks: list[Task] = []
        self._environment = {**os.environ, **(environment or {})}
        self._count = 0

    def __enter__(self) -> Self:
        path = self.directory / "zygote.sock"
        self.log = (self.directory / "zygote.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-m", "hakobune.cmd.zygote", "--socket", str(path)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, env=self._environment,
        )  # fmt: skip
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"\n":
            raise EOFError("the zygote did not come up: " + (self.directory / "zygote.log").read_text())
        self.process.stdout.close()
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._manager.settimeout(SECONDS)
        self._manager.connect(str(path))
        return self

    def ask(self, *words: str) -> list[str]:
        """One request to the zygote. Raises HakoError for an ERR."""
        self._manager.send("\0".join(words).encode())
        answer = self._manager.recv(65536).decode().split("\0")
        if answer[0] != "OK":
            raise HakoError("\0".join(answer[1:]))
        return answer[1:]

    def disconnect(self) -> None:
        """Be its manager no more."""
        self._manager.close()

    def task(self, bundle: Bundle) -> Task:
        """A shim for the bundle, connected; nothing is created yet."""
        self._count += 1
        path = str(self.directory / f"{self._count}.s")
        (pid,) = self.ask("SHIM", "test", bundle.id, str(bundle.path), path, self.events, "")
        task = Task(bundle, path, int(pid))
        self.tasks.append(task)
        return task

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self.tasks:
            task.end()
        self._manager.close()
        self.process.terminate()
        self.process.wait(SECONDS)
        self.log.close()


class Side:
    """An engine's end of a shim's side socket, blocking."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(SECONDS)
        self._socket.connect(path)
        self._seq = 0

    def _told(self) -> tuple[int, int, list[bytes]]:
        return side.unpack(self._socket.recv(side.MAX_PACKET))

    def call(self, kind: int, *fields: bytes, fd: int = -1) -> None:
        """Send one message, wait for its answer. Raises HakoError with the shim's text."""
        self._seq += 1
        socket.send_fds(self._socket, [side.pack(kind, self._seq, *fields)], [fd] if fd >= 0 else [])
        answer, seq, values = self._told()
        while seq == 0:  # what nobody asked for
            answer, seq, values = self._told()
        assert seq == self._seq
        if answer == side.ERROR:
            raise HakoError(values[0].decode())

    def attach(self, flags: int, *, exec_id: str = "", head: bytes = b"", early: bytes = b"",
               keys: bytes = b"") -> socket.socket:  # fmt: skip
        """The client's end of an attached connection."""
        client, handed = socket.socketpair()
        client.settimeout(SECONDS)
        with handed:
            self.call(side.ATTACH, exec_id.encode(), b"%d" % flags, head, early, keys, fd=handed.fileno())
        return client

    def close(self) -> None:
        """Hang up: the shim then answers clients by itself."""
        self._socket.close()


class Events:
    """A manager's event service in a thread: collects (topic, fields of the event)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.got: list[tuple[str, pb.Fields]] = []
        self._more = threading.Condition()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(16)
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        decoder = ttrpc.Decoder()
        with connection, contextlib.suppress(ConnectionError):  # a shim may end, or be killed, at any time
            while data := connection.recv(65536):
                for frame in decoder.feed(data):
                    request = ttrpc.unpack_request(frame.data)
                    envelope = pb.decode(pb.blob(pb.decode(request.payload), 1))
                    event = pb.decode(pb.blob(pb.decode(pb.blob(envelope, 4)), 2))
                    with self._more:
                        self.got.append((pb.text(envelope, 3), event))
                        self._more.notify_all()
                    answer = ttrpc.pack_response(ttrpc.Response())
                    connection.sendall(ttrpc.pack(ttrpc.Frame(frame.stream, ttrpc.RESPONSE, 0, answer)))

    def topics(self, until: str) -> list[str]:
        """All topics in order, as soon as `until` is among them. Raises TimeoutError."""
        self.until(lambda got: any(topic == until for topic, _ in got))
        return [topic for topic, _ in self.got]

    def until(self, condition: Callable[[list[tuple[str, pb.Fields]]], bool]) -> None:
        """Return when what has been got fulfils the condition. Raises TimeoutError."""
        with self._more:
            if not self._more.wait_for(lambda: condition(self.got), SECONDS):
                raise TimeoutError(f"got only {[topic for topic, _ in self.got]}")

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def shim_of(bundle: Bundle) -> int:
    """The process whose error output is the bundle's shim.log. Raises ProcessLookupError."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.readlink(entry / "fd/2") == f"{bundle.path}/shim.log":
                return int(entry.name)
    raise ProcessLookupError(f"{bundle.id} has no shim")


def children(pid: int) -> list[int]:
    """Pids of its children, once those have gone that are on their way; Raises OSError when it has ended."""
    deadline = time.monotonic() + SECONDS
    found = _children(pid)
    while found and time.monotonic() < deadline:
        time.sleep(0.01)
        found = _children(pid)
    return found


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int, seconds: float = SECONDS) -> bool:
    """Whether the process ends (a zombie counts as ended) within `seconds`."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return True
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    try:
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(handle)
