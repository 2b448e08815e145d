"""containerd.services.tasks.v1.Tasks: most verbs are a shim's own, passed on with other field names."""

from __future__ import annotations

import asyncio
import time

from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.filters import Filter, fields
from hakobune.containerd.serving import Call, Service, check_name
from hakobune.containerd.tasks.task import End, Task
from hakobune.containerd.tasks.tasks import Tasks
from hakobune.containerd.wire import timestamp
from hakobune.errors import HakoError, NotFound, Unavailable, Unimplemented
from hakobune.proto import shim_pb2 as shim
from hakobune.proto import task_types_pb2, types_pb2
from hakobune.proto import tasks_pb2 as pb

_LIST_SECONDS = 5.0
NAME = "containerd.services.tasks.v1.Tasks"


def service(tasks: Tasks) -> Service:
    """The edge."""
    served = Service(NAME)
    _life(served, tasks)
    _verbs(served, tasks)
    _views(served, tasks)
    return served


def _life(served: Service, tasks: Tasks) -> None:
    async def create(request: pb.CreateTaskRequest, call: Call) -> pb.CreateTaskResponse:
        pid = await tasks.create(call.namespace, request)
        return pb.CreateTaskResponse(container_id=request.container_id, pid=pid)

    async def start(request: pb.StartRequest, call: Call) -> pb.StartResponse:
        return pb.StartResponse(pid=await tasks.start(call.namespace, request.container_id, request.exec_id))

    async def delete(request: pb.DeleteTaskRequest, call: Call) -> pb.DeleteResponse:
        end = await tasks.delete(call.namespace, request.container_id)
        return _deleted(request.container_id, end)

    async def delete_process(request: pb.DeleteProcessRequest, call: Call) -> pb.DeleteResponse:
        end = await tasks.delete_exec(call.namespace, request.container_id, request.exec_id)
        return _deleted(request.exec_id, end)

    async def wait(request: pb.WaitRequest, call: Call) -> pb.WaitResponse:
        end = await tasks.wait(call.namespace, request.container_id, request.exec_id)
        return pb.WaitResponse(exit_status=end.status, exited_at=timestamp(end.at))

    served.unary("Create", pb.CreateTaskRequest, create, whole=True)
    served.unary("Start", pb.StartRequest, start, whole=True)
    served.unary("Delete", pb.DeleteTaskRequest, delete, whole=True)
    served.unary("DeleteProcess", pb.DeleteProcessRequest, delete_process, whole=True)
    served.unary("Wait", pb.WaitRequest, wait)


def _verbs(served: Service, tasks: Tasks) -> None:
    async def kill(request: pb.KillRequest, call: Call) -> Empty:
        passed = shim.KillRequest(
            id=request.container_id, exec_id=request.exec_id, signal=request.signal, all=request.all
        )
        return await _pass(tasks, call, "Kill", request.container_id, passed)

    async def exec_process(request: pb.ExecProcessRequest, call: Call) -> Empty:
        check_name("exec id", request.exec_id)
        passed = shim.ExecProcessRequest(
            id=request.container_id, exec_id=request.exec_id, terminal=request.terminal, stdin=request.stdin,
            stdout=request.stdout, stderr=request.stderr, spec=request.spec,
        )  # fmt: skip
        return await _pass(tasks, call, "Exec", request.container_id, passed)

    async def resize(request: pb.ResizePtyRequest, call: Call) -> Empty:
        passed = shim.ResizePtyRequest(
            id=request.container_id, exec_id=request.exec_id, width=request.width, height=request.height
        )
        return await _pass(tasks, call, "ResizePty", request.container_id, passed)

    async def close_io(request: pb.CloseIORequest, call: Call) -> Empty:
        passed = shim.CloseIORequest(id=request.container_id, exec_id=request.exec_id, stdin=request.stdin)
        return await _pass(tasks, call, "CloseIO", request.container_id, passed)

    async def pause(request: pb.PauseTaskRequest, call: Call) -> Empty:
        passed = shim.PauseRequest(id=request.container_id)
        return await _pass(tasks, call, "Pause", request.container_id, passed)

    async def resume(request: pb.ResumeTaskRequest, call: Call) -> Empty:
        passed = shim.ResumeRequest(id=request.container_id)
        return await _pass(tasks, call, "Resume", request.container_id, passed)

    async def update(request: pb.UpdateTaskRequest, call: Call) -> Empty:
        passed = shim.UpdateTaskRequest(
            id=request.container_id, resources=request.resources, annotations=request.annotations
        )
        return await _pass(tasks, call, "Update", request.container_id, passed)

    async def checkpoint(_request: pb.CheckpointTaskRequest, _call: Call) -> pb.CheckpointTaskResponse:
        raise Unimplemented("checkpoints are not served yet")

    served.unary("Kill", pb.KillRequest, kill)
    served.unary("Exec", pb.ExecProcessRequest, exec_process)
    served.unary("ResizePty", pb.ResizePtyRequest, resize)
    served.unary("CloseIO", pb.CloseIORequest, close_io)
    served.unary("Pause", pb.PauseTaskRequest, pause)
    served.unary("Resume", pb.ResumeTaskRequest, resume)
    served.unary("Update", pb.UpdateTaskRequest, update)
    served.unary("Checkpoint", pb.CheckpointTaskRequest, checkpoint)


Passed = (
    shim.KillRequest
    | shim.ExecProcessRequest
    | shim.ResizePtyRequest
    | shim.CloseIORequest
    | shim.PauseRequest
    | shim.ResumeRequest
    | shim.UpdateTaskRequest
)


async def _pass(tasks: Tasks, call: Call, method: str, container_id: str, request: Passed) -> Empty:
    """Say it to the shim; with one that has gone, the process has ended."""
    task = tasks.get(call.namespace, container_id)
    if task.end is not None:
        raise NotFound("process already finished")
    try:
        return await task.ask(method, request, Empty)
    except Unavailable:
        await task.lost()
        raise NotFound("process already finished") from None


def _views(served: Service, tasks: Tasks) -> None:
    async def get(request: pb.GetRequest, call: Call) -> pb.GetResponse:
        return pb.GetResponse(
            process=await tasks.state(call.namespace, request.container_id, request.exec_id)
        )

    async def list_all(_request: pb.ListTasksRequest, call: Call) -> pb.ListTasksResponse:
        names = [task.bundle.id for task in tasks.of(call.namespace)]
        found = await asyncio.gather(*(_state(tasks, call.namespace, name) for name in names))
        return pb.ListTasksResponse(tasks=[process for process in found if process is not None])

    async def pids(request: pb.ListPidsRequest, call: Call) -> pb.ListPidsResponse:
        task = tasks.get(call.namespace, request.container_id)
        if task.end is not None:
            return pb.ListPidsResponse()
        found = await task.ask("Pids", shim.PidsRequest(id=request.container_id), shim.PidsResponse)
        return pb.ListPidsResponse(processes=found.processes)

    async def metrics(request: pb.MetricsRequest, call: Call) -> pb.MetricsResponse:
        wanted = Filter(request.filters)
        passing = [
            task
            for task in tasks.of(call.namespace)
            if wanted.matches(fields({"id": task.bundle.id, "namespace": call.namespace}, {}))
        ]
        found = await asyncio.gather(*map(_metric, passing))
        return pb.MetricsResponse(metrics=[metric for metric in found if metric is not None])

    served.unary("Get", pb.GetRequest, get)
    served.unary("List", pb.ListTasksRequest, list_all)
    served.unary("ListPids", pb.ListPidsRequest, pids)
    served.unary("Metrics", pb.MetricsRequest, metrics)


async def _state(tasks: Tasks, namespace: str, container_id: str) -> task_types_pb2.Process | None:
    """None for a task that ends while the list is made; "unknown" for a shim that does not answer."""
    try:
        return await asyncio.wait_for(tasks.state(namespace, container_id), _LIST_SECONDS)
    except NotFound:
        return None
    except (HakoError, TimeoutError):
        return task_types_pb2.Process(container_id=container_id, id=container_id)


async def _metric(task: Task) -> types_pb2.Metric | None:
    try:
        request = shim.StatsRequest(id=task.bundle.id)
        found = await task.ask("Stats", request, shim.StatsResponse, _LIST_SECONDS)
    except HakoError:
        return None
    return types_pb2.Metric(timestamp=timestamp(time.time_ns()), id=task.bundle.id, data=found.stats)


def _deleted(name: str, end: End) -> pb.DeleteResponse:
    return pb.DeleteResponse(id=name, pid=end.pid, exit_status=end.status, exited_at=timestamp(end.at))
