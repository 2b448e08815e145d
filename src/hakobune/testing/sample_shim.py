"""A small shim of somebody else's, for tests of who drives shims: it speaks and says where it listens as it is told.

    python -m hakobune.testing.sample_shim ttrpc|grpc path|abstract plain|json|protobuf <a shim's own arguments>

Its container is a process of the host without namespaces, on /dev/null. It tells of the end through the publishing
program, as shims do that have no ttrpc to the manager. Imports: transport, proto, subprocess.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from hakobune.errors import FailedPrecondition, HakoError, NotFound
from hakobune.proto import event_types_pb2 as events
from hakobune.proto import shim_pb2 as pb
from hakobune.proto import task_types_pb2 as types
from hakobune.transport.grpc_runtime import aio, grpc, status_of
from hakobune.transport.ttrpc_server import TtrpcServer
from hakobune.wire import pb as wire

Handler = Callable[[bytes], Awaitable[bytes]]
_WAITS = 'read go && exec "$@"'  # created, it is a shell that waits for one line; its pid stays


def main() -> None:
    """The program of the runtime."""
    protocol, kind, words, *rest = sys.argv[1:]
    parser = argparse.ArgumentParser()
    for name in ("namespace", "address", "publish-binary", "id", "bundle"):
        parser.add_argument(f"-{name}", default="")
    parser.add_argument("action", choices=("start", "delete"))
    given = parser.parse_args(rest)
    if given.action == "start":
        _start(given, protocol, kind, words)
    else:
        _delete()


def _start(given: argparse.Namespace, protocol: str, kind: str, words: str) -> None:
    name = hashlib.sha256(f"{given.address} {given.namespace} {given.id}".encode()).hexdigest()[:16]
    path = f"\0{given.address}.{name}" if kind == "abstract" else f"{os.path.dirname(given.address)}/{name}"
    reading, writing = os.pipe()
    if not os.fork():
        os.close(reading)
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        asyncio.run(Sample(given).serve(protocol, path, lambda: os.close(writing)))
        os._exit(0)
    os.close(writing)
    os.read(reading, 1)  # ends when it listens
    sys.stdout.buffer.write(_place(path, protocol, words))


def _place(path: str, protocol: str, words: str) -> bytes:
    """As shims say it: gRPC's without a scheme, ttrpc's abstract ones too."""
    if path.startswith("\0"):
        address = f"@{path[1:]}" if protocol == "grpc" else path[1:]
    else:
        address = path if protocol == "grpc" else f"unix://{path}"
    if words == "plain":
        return f"{address}\n".encode()
    if words == "json":
        return json.dumps({"version": 3, "address": address, "protocol": protocol}).encode()
    return wire.field(1, 3) + wire.field(2, address) + wire.field(3, protocol)


def _delete() -> None:
    """The container of a shim that has gone is killed, and its end made up."""
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(Path("init.pid").read_text()), signal.SIGKILL)
    ended = pb.DeleteResponse(exit_status=137, exited_at=Timestamp(seconds=int(time.time())))
    sys.stdout.buffer.write(ended.SerializeToString())


class Sample:
    """The shim: one task, no execs."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._process: subprocess.Popen[bytes] | None = None
        self._started = False

    async def serve(self, protocol: str, path: str, ready: Callable[[], None]) -> None:
        """Until Shutdown."""
        self._over = asyncio.Event()
        self._reaper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reaper.set_result(None)
        self._ended: asyncio.Future[tuple[int, Timestamp]] = asyncio.get_running_loop().create_future()
        service = "containerd.task.v{}.Task"
        handlers: dict[str, Handler] = {
            "Create": _typed(pb.CreateTaskRequest, self._create),
            "Start": _typed(pb.StartRequest, self._start),
            "State": _typed(pb.StateRequest, self._state),
            "Wait": _typed(pb.WaitRequest, self._wait),
            "Kill": _typed(pb.KillRequest, self._kill),
            "Pids": _typed(pb.PidsRequest, self._pids),
            "Delete": _typed(pb.DeleteRequest, self._delete),
            "Shutdown": _typed(pb.ShutdownRequest, self._shutdown),
        }
        named = {f"{service.format(n)}/{name}": one for n in (2, 3) for name, one in handlers.items()}
        serving = await (_over_grpc if protocol == "grpc" else _over_ttrpc)(named, path)
        ready()
        await self._over.wait()
        await self._reaper  # the end is told
        await asyncio.sleep(0.1)  # for the last answer
        await serving()
        if not path.startswith("\0"):
            os.unlink(path)

    @property
    def _init(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise NotFound(f"container {self._given.id} not created")
        return self._process

    async def _create(self, request: pb.CreateTaskRequest) -> pb.CreateTaskResponse:
        argv = json.loads(Path(request.bundle, "config.json").read_bytes())["process"]["args"]
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _WAITS, "sh", *argv], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        Path(request.bundle, "init.pid").write_text(str(self._process.pid))
        self._reaper = asyncio.ensure_future(self._reap(self._process))
        return pb.CreateTaskResponse(pid=self._process.pid)

    async def _start(self, _request: pb.StartRequest) -> pb.StartResponse:
        stdin = self._init.stdin
        assert stdin is not None
        stdin.write(b"go\n")
        stdin.close()
        self._started = True
        return pb.StartResponse(pid=self._init.pid)

    async def _reap(self, process: subprocess.Popen[bytes]) -> None:
        code = await asyncio.to_thread(process.wait)
        status, at = (code if code >= 0 else 128 - code), Timestamp(seconds=int(time.time()))
        self._ended.set_result((status, at))
        event = events.TaskExit(
            container_id=self._given.id, id=self._given.id, pid=process.pid, exit_status=status, exited_at=at
        )
        told = AnyMessage(type_url="containerd.events.TaskExit", value=event.SerializeToString())
        line = [self._given.publish_binary, "--address", self._given.address, "publish", "--topic", "/tasks/exit",
                "--namespace", self._given.namespace]  # fmt: skip
        await asyncio.to_thread(subprocess.run, line, input=told.SerializeToString(), check=False)

    async def _state(self, _request: pb.StateRequest) -> pb.StateResponse:
        found = pb.StateResponse(id=self._given.id, pid=self._init.pid, status=types.CREATED)
        if self._started:
            found.status = types.RUNNING
        if self._ended.done():
            found.status = types.STOPPED
            found.exit_status, at = self._ended.result()
            found.exited_at.CopyFrom(at)
        return found

    async def _wait(self, _request: pb.WaitRequest) -> pb.WaitResponse:
        status, at = await asyncio.shield(self._ended)
        return pb.WaitResponse(exit_status=status, exited_at=at)

    async def _kill(self, request: pb.KillRequest) -> Empty:
        if self._ended.done():
            raise NotFound("process already finished")
        self._init.send_signal(request.signal)
        return Empty()

    async def _pids(self, _request: pb.PidsRequest) -> pb.PidsResponse:
        return pb.PidsResponse(processes=[types.ProcessInfo(pid=self._init.pid)])

    async def _delete(self, _request: pb.DeleteRequest) -> pb.DeleteResponse:
        pid = self._init.pid
        if not self._ended.done():
            raise FailedPrecondition("the process runs")
        status, at = self._ended.result()
        self._process = None
        return pb.DeleteResponse(pid=pid, exit_status=status, exited_at=at)

    async def _shutdown(self, _request: pb.ShutdownRequest) -> Empty:
        if self._process is None:
            self._over.set()
        return Empty()


def _typed(kind: Any, work: Callable[[Any], Awaitable[Message]]) -> Handler:
    async def handler(payload: bytes) -> bytes:
        return (await work(kind.FromString(payload))).SerializeToString()

    return handler


async def _over_ttrpc(named: dict[str, Handler], path: str) -> Callable[[], Awaitable[None]]:
    def adapted(handler: Handler) -> Any:
        return lambda request: handler(request.payload)

    server = TtrpcServer({name: adapted(handler) for name, handler in named.items()})
    await server.listen(path)
    server.open()
    return server.close


async def _over_grpc(named: dict[str, Handler], path: str) -> Callable[[], Awaitable[None]]:
    def adapted(handler: Handler) -> Any:
        async def answer(request: bytes, context: Any) -> bytes:
            try:
                return await handler(request)
            except HakoError as err:
                await context.abort(status_of(err), str(err))
                raise AssertionError("unreachable") from None

        return grpc.unary_unary_rpc_method_handler(answer)

    by_service: dict[str, dict[str, Any]] = {}
    for name, handler in named.items():
        service, _, method = name.partition("/")
        by_service.setdefault(service, {})[method] = adapted(handler)
    server = aio.server()
    for service, methods in by_service.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    server.add_insecure_port(f"unix-abstract:{path[1:]}" if path.startswith("\0") else f"unix:{path}")
    await server.start()

    async def close() -> None:
        await server.stop(0)

    return close


if __name__ == "__main__":
    main()
