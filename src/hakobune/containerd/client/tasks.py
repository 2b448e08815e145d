"""Client of the tasks service: running containers and their processes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf import any_pb2
from google.protobuf.empty_pb2 import Empty

from hakobune.cgroups import metrics
from hakobune.containerd.client.connection import Connection, nanoseconds
from hakobune.containerd.client.containers import any_of
from hakobune.containerd.client.mounts import mounts_to
from hakobune.errors import InvalidArgument, NotFound
from hakobune.proto import task_types_pb2
from hakobune.proto import tasks_pb2 as pb
from hakobune.spec.mount import Mount

_SERVICE = "containerd.services.tasks.v1.Tasks"
PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"
RESOURCES_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"


@dataclass(frozen=True, slots=True)
class Process:
    """Init (`exec_id` empty) or an exec; `exited_at` in nanoseconds since the epoch, 0 while it lives.

    `status` is "created", "running", "stopped", "paused", "pausing" or "unknown".
    """

    id: str
    exec_id: str
    pid: int
    status: str
    exit_status: int
    exited_at: int


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a process; `exited_at` in nanoseconds since the epoch."""

    id: str
    exec_id: str
    pid: int
    status: int
    exited_at: int


class Tasks:
    """Raises NotFound for an unknown task or exec, FailedPrecondition for a verb that its state forbids."""

    def __init__(self, connection: Connection) -> None:
        def brief(method: str, decode: Any = Empty.FromString) -> Any:
            return connection.brief(_SERVICE, method, decode)

        self._create = brief("Create", pb.CreateTaskResponse.FromString)
        self._start = brief("Start", pb.StartResponse.FromString)
        self._delete = brief("Delete", pb.DeleteResponse.FromString)
        self._delete_process = brief("DeleteProcess", pb.DeleteResponse.FromString)
        self._get = brief("Get", pb.GetResponse.FromString)
        self._list = connection.unary(_SERVICE, "List", pb.ListTasksResponse.FromString)
        self._list_pids = connection.unary(_SERVICE, "ListPids", pb.ListPidsResponse.FromString)
        self._metrics = connection.unary(_SERVICE, "Metrics", pb.MetricsResponse.FromString)
        self._wait = connection.unary(_SERVICE, "Wait", pb.WaitResponse.FromString)
        self._kill, self._exec, self._resize = brief("Kill"), brief("Exec"), brief("ResizePty")
        self._close_io, self._update = brief("CloseIO"), brief("Update")
        self._pause, self._resume = brief("Pause"), brief("Resume")

    async def create(
        self,
        container_id: str,
        mounts: Iterable[Mount],
        *,
        stdin: str = "",
        stdout: str = "",
        stderr: str = "",
        terminal: bool = False,
        options: tuple[str, bytes] = ("", b""),
    ) -> int:
        """Make the init process of a recorded container; its pid. It waits for `start`.

        `options` of the runtime: a type's name and an encoded message.
        """
        response = await self._create(pb.CreateTaskRequest(
            container_id=container_id, rootfs=mounts_to(mounts), stdin=stdin, stdout=stdout, stderr=stderr,
            terminal=terminal, options=any_of(options),
        ))  # fmt: skip
        return int(response.pid)

    async def start(self, container_id: str, exec_id: str = "") -> int:
        """Let it run, or make the exec; its pid, after a successful exec(2)."""
        response = await self._start(pb.StartRequest(container_id=container_id, exec_id=exec_id))
        return int(response.pid)

    async def delete(self, container_id: str, exec_id: str = "") -> Exit:
        """Forget a stopped process; with init, everything of the task."""
        if exec_id:
            request = pb.DeleteProcessRequest(container_id=container_id, exec_id=exec_id)
            found = await self._delete_process(request)
        else:
            found = await self._delete(pb.DeleteTaskRequest(container_id=container_id))
        return Exit(container_id, exec_id, found.pid, found.exit_status, nanoseconds(found.exited_at))

    async def kill(self, container_id: str, signal: int, exec_id: str = "", everyone: bool = False) -> None:
        """Send a signal to one process, or to all of the container. NotFound when it has ended."""
        await self._kill(
            pb.KillRequest(container_id=container_id, exec_id=exec_id, signal=signal, all=everyone)
        )

    async def exec(
        self,
        container_id: str,
        exec_id: str,
        process: bytes,
        *,
        stdin: str = "",
        stdout: str = "",
        stderr: str = "",
        terminal: bool = False,
    ) -> None:
        """Remember an exec; `process` is an OCI Process as JSON. `start` makes it."""
        await self._exec(pb.ExecProcessRequest(
            container_id=container_id, exec_id=exec_id, stdin=stdin, stdout=stdout, stderr=stderr,
            terminal=terminal, spec=any_pb2.Any(type_url=PROCESS_TYPE, value=process),
        ))  # fmt: skip

    async def resize(self, container_id: str, width: int, height: int, exec_id: str = "") -> None:
        """A new window size, in characters."""
        await self._resize(
            pb.ResizePtyRequest(container_id=container_id, exec_id=exec_id, width=width, height=height)
        )

    async def close_io(self, container_id: str, exec_id: str = "") -> None:
        """No more input."""
        await self._close_io(pb.CloseIORequest(container_id=container_id, exec_id=exec_id, stdin=True))

    async def pause(self, container_id: str) -> None:
        """Freeze all processes."""
        await self._pause(pb.PauseTaskRequest(container_id=container_id))

    async def resume(self, container_id: str) -> None:
        """Thaw them."""
        await self._resume(pb.ResumeTaskRequest(container_id=container_id))

    async def update(self, container_id: str, resources: bytes) -> None:
        """New limits; `resources` is an OCI LinuxResources as JSON."""
        value = any_pb2.Any(type_url=RESOURCES_TYPE, value=resources)
        await self._update(pb.UpdateTaskRequest(container_id=container_id, resources=value))

    async def get(self, container_id: str, exec_id: str = "") -> Process:
        """The state of one process."""
        found = await self._get(pb.GetRequest(container_id=container_id, exec_id=exec_id))
        return _from(found.process, container_id, exec_id)

    async def pids(self, container_id: str) -> list[int]:
        """All processes in the container, as the host numbers them."""
        found = await self._list_pids(pb.ListPidsRequest(container_id=container_id))
        return [int(process.pid) for process in found.processes]

    async def list(self) -> list[Process]:
        """The init processes of all tasks of the namespace."""
        found = await self._list(pb.ListTasksRequest())
        return [_from(process, process.container_id or process.id, "") for process in found.tasks]

    async def wait(self, container_id: str, exec_id: str = "") -> Exit:
        """The end of a process, when it comes. `pid` is 0: the answer does not say it."""
        found = await self._wait(pb.WaitRequest(container_id=container_id, exec_id=exec_id))
        return Exit(container_id, exec_id, 0, found.exit_status, nanoseconds(found.exited_at))

    async def metrics(self, container_id: str) -> dict[str, Any]:
        """The counters of the container's cgroup. Unimplemented for those of another system."""
        found = await self._metrics(pb.MetricsRequest(filters=[f"id=={container_id}"]))
        for metric in found.metrics:
            if metric.id == container_id:
                return _stats(metric.data)
        raise NotFound(f"task {container_id!r} has no counters")


def _stats(value: any_pb2.Any) -> dict[str, Any]:
    try:
        return metrics.decode(value.type_url.rpartition("/")[2], value.value)
    except ValueError as err:
        raise InvalidArgument(f"counters: {err}") from err


def _from(wire: task_types_pb2.Process, container_id: str, exec_id: str) -> Process:
    status = task_types_pb2.Status.Name(wire.status).lower()
    return Process(container_id, exec_id, wire.pid, status, wire.exit_status, nanoseconds(wire.exited_at))
