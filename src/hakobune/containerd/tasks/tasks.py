"""All tasks of the manager: made, looked up, ended; found again at boot.

A task is known from the moment its bundle is made until its deletion has been answered. Its shim does
the work; this room adds what a shim cannot: the bundle, the end of a shim that was killed, and that a
Create which fails leaves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os

from google.protobuf import any_pb2

from hakobune.containerd.containers.store import Containers
from hakobune.containerd.events.exchange import Exchange
from hakobune.containerd.tasks.bundle import Bundle, left_behind, stray_sockets
from hakobune.containerd.tasks.makers import KILLED, Makers
from hakobune.containerd.tasks.task import End, Task
from hakobune.containerd.wire import timestamp
from hakobune.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    HakoError,
    NotFound,
    Unavailable,
    Unimplemented,
)
from hakobune.failpoint import reach
from hakobune.proto import event_types_pb2 as events
from hakobune.proto import shim_pb2 as pb
from hakobune.proto import task_types_pb2, tasks_pb2, types_pb2

_LOG = logging.getLogger("hakobune.tasks")


class Tasks:
    """Raises NotFound, AlreadyExists, FailedPrecondition, Unavailable, and what shims say."""

    def __init__(self, containers: Containers, exchange: Exchange, makers: Makers, state: str) -> None:
        self._containers = containers
        self._exchange = exchange
        self._makers = makers
        self._state = state
        self._tasks: dict[tuple[str, str], Task] = {}
        self._disposals: dict[tuple[str, str], asyncio.Task[None]] = {}
        exchange.observers.append(self._observe)
        os.makedirs(f"{state}/s", mode=0o700, exist_ok=True)

    def __len__(self) -> int:
        return len(self._tasks)

    def get(self, namespace: str, container_id: str) -> Task:
        """Raises NotFound, also for one that is being made."""
        task = self._tasks.get((namespace, container_id))
        if task is None or not task.made.is_set():
            raise NotFound(f"task {container_id} not found: not found")
        return task

    async def _made(self, namespace: str, container_id: str) -> Task:
        """As `get`, after a Create that is under way."""
        if task := self._tasks.get((namespace, container_id)):
            await task.made.wait()
        return self.get(namespace, container_id)

    def of(self, namespace: str) -> list[Task]:
        """All of a namespace that have been made."""
        return [task for (ns, _id), task in self._tasks.items() if ns == namespace and task.made.is_set()]

    def every(self) -> list[Task]:
        """All of all namespaces that have been made."""
        return [task for task in self._tasks.values() if task.made.is_set()]

    # --- create and delete ---

    async def create(self, namespace: str, request: tasks_pb2.CreateTaskRequest) -> int:
        """Init's pid; nothing is left when this raises."""
        container = self._containers.get(namespace, request.container_id)
        maker = self._makers.of(container.runtime.name)
        if request.HasField("checkpoint"):
            raise Unimplemented("tasks cannot be made from checkpoints yet")
        key = (namespace, container.id)
        if key in self._tasks:
            raise AlreadyExists(f"task {container.id}: already exists")
        task = self._tasks[key] = Task(Bundle.of(self._state, *key), maker, self._tell)
        try:
            if key in self._disposals:
                await self._disposals[key]
            task.bundle.create(container.spec.value)
            reach("containerd.create.bundle")
            options = request.options if request.HasField("options") else container.runtime.options
            await self._make_shim(task, options.SerializeToString())
            reach("containerd.create.shim")
            asked = _create(task, request, options)
            task.pid = (await task.ask("Create", asked, pb.CreateTaskResponse)).pid
            reach("containerd.create.made")
        except BaseException:
            await self._undo(task)
            self._tasks.pop(key, None)
            raise
        finally:
            task.made.set()
        return task.pid

    async def _make_shim(self, task: Task, options: bytes) -> None:
        """Whoever dies over the request may have made the shim or not: who listens is taken."""
        try:
            await task.maker.make(task.bundle, options)
            await task.connect()
        except Unavailable:
            try:
                await task.connect()
            except Unavailable:
                await task.maker.make(task.bundle, options)
                await task.connect()

    async def _undo(self, task: Task) -> None:
        """After a Create that failed at any step: a shim that nobody is connected to is looked for, too."""
        task.told.add("")
        try:
            _ = task.shim
        except Unavailable:
            with contextlib.suppress(HakoError):
                await task.connect()
        await task.dispose(lost=True)

    async def delete(self, namespace: str, container_id: str) -> End:
        """Forget a stopped task. Raises FailedPrecondition while it runs."""
        task = await self._made(namespace, container_id)
        request = pb.DeleteRequest(id=container_id)
        lost = False
        try:
            found = await task.ask("Delete", request, pb.DeleteResponse)
            end = End(found.pid, found.exit_status, _at(found))
        except Unavailable:
            end, lost = await task.lost(), True
        except NotFound:  # its answer was lost with a connection that broke
            end, lost = End(task.pid, *task.bundle.record_exit(KILLED)), True
        reach("containerd.delete.answered")
        key = (namespace, container_id)
        if self._tasks.pop(key, None) is None:
            raise NotFound(f"task {container_id} not found: not found")
        task.bundle.note_deleted()
        self._dispose(key, task, lost=lost)
        if lost:
            await self._disposals[key]
            self._exchange.publish(namespace, "/tasks/delete", events.TaskDelete(
                container_id=container_id, pid=end.pid, exit_status=end.status, exited_at=timestamp(end.at),
            ))  # fmt: skip
        return end

    def _dispose(self, key: tuple[str, str], task: Task, *, lost: bool) -> None:
        """The answer need not wait for the shim's own end; the next Create of this id does."""

        def done(_finished: asyncio.Task[None]) -> None:
            self._disposals.pop(key, None)

        self._disposals[key] = asyncio.ensure_future(task.dispose(lost=lost))
        self._disposals[key].add_done_callback(done)

    async def delete_exec(self, namespace: str, container_id: str, exec_id: str) -> End:
        """Forget a stopped exec."""
        task = self.get(namespace, container_id)
        try:
            request = pb.DeleteRequest(id=container_id, exec_id=exec_id)
            found = await task.ask("Delete", request, pb.DeleteResponse)
            end = End(found.pid, found.exit_status, _at(found))
        except Unavailable:
            end = _end_of(task, exec_id, await task.lost())
        task.execs.pop(exec_id, None)
        task.told.discard(exec_id)
        return end

    # --- processes ---

    async def start(self, namespace: str, container_id: str, exec_id: str) -> int:
        """The pid."""
        task = self.get(namespace, container_id)
        request = pb.StartRequest(id=container_id, exec_id=exec_id)
        try:
            pid: int = (await task.ask("Start", request, pb.StartResponse)).pid
            reach("containerd.start.done")
        except Unavailable:
            await task.lost()
            raise FailedPrecondition(f"cannot start: the shim of {container_id} has gone") from None
        if exec_id:
            task.execs[exec_id] = pid
        return pid

    async def wait(self, namespace: str, container_id: str, exec_id: str) -> End:
        """The end, when it comes."""
        task = self.get(namespace, container_id)
        try:
            request = pb.WaitRequest(id=container_id, exec_id=exec_id)
            found = await task.ask("Wait", request, pb.WaitResponse)
            return End(0, found.exit_status, _at(found))
        except Unavailable:
            return _end_of(task, exec_id, await task.lost())

    async def state(self, namespace: str, container_id: str, exec_id: str = "") -> task_types_pb2.Process:
        """How a process stands."""
        task = self.get(namespace, container_id)
        try:
            request = pb.StateRequest(id=container_id, exec_id=exec_id)
            found = await task.ask("State", request, pb.StateResponse)
        except Unavailable:
            return _dead(task, exec_id, _end_of(task, exec_id, await task.lost()))
        return task_types_pb2.Process(
            container_id=container_id, id=exec_id or container_id, pid=found.pid, status=found.status,
            stdin=found.stdin, stdout=found.stdout, stderr=found.stderr, terminal=found.terminal,
            exit_status=found.exit_status,
            exited_at=found.exited_at if found.HasField("exited_at") else None,
        )  # fmt: skip

    # --- events ---

    def _observe(self, envelope: types_pb2.Envelope) -> None:
        """Remember which ends shims have told."""
        if envelope.topic != "/tasks/exit":
            return
        event = events.TaskExit.FromString(envelope.event.value)
        task = self._tasks.get((envelope.namespace, event.container_id))
        if task is not None:
            task.told.add("" if event.id == event.container_id else event.id)

    def _tell(self, task: Task, exec_id: str, end: End) -> None:
        event = events.TaskExit(
            container_id=task.bundle.id, id=exec_id or task.bundle.id, pid=end.pid, exit_status=end.status,
            exited_at=timestamp(end.at),
        )  # fmt: skip
        self._exchange.publish(task.bundle.namespace, "/tasks/exit", event)

    # --- boot and end ---

    async def recover(self) -> None:
        """Find again, all at once, the tasks that a manager before us had; what is half there is taken away."""
        bundles = list(left_behind(self._state))
        for name in stray_sockets(self._state, bundles):
            _LOG.warning("socket %s of no task: removed", name)
        await asyncio.gather(*(self._recover(bundle) for bundle in bundles))

    async def _recover(self, bundle: Bundle) -> None:
        task = Task(bundle, self._makers.of_bundle(bundle), self._tell)
        task.made.set()
        key = (bundle.namespace, bundle.id)
        if bundle.deleted():
            await self._undo(task)
            return
        if not self._containers.known(*key):
            _LOG.warning("task %s/%s of no container: ended and removed", *key)
            await self._undo(task)
            return
        try:
            await task.connect()
            task.pid = await task.made_pid()
        except NotFound:
            task.pid = 0
        except DeadlineExceeded:
            task.pid = bundle.pid()  # it lives, and is slow
            _LOG.warning("the shim of %s/%s does not answer", *key)
        except HakoError:
            if bundle.pid():
                self._tasks[key] = task
                await task.lost()
                return
        if task.pid:
            self._tasks[key] = task
        else:
            _LOG.warning("task %s/%s was never made: removed", *key)
            await self._undo(task)

    async def close(self) -> None:
        """Finish deletions; let go of the shims, which live on."""
        if self._disposals:
            await asyncio.gather(*self._disposals.values(), return_exceptions=True)
        for task in self._tasks.values():
            task.close()


def _create(task: Task, request: tasks_pb2.CreateTaskRequest, options: any_pb2.Any) -> pb.CreateTaskRequest:
    return pb.CreateTaskRequest(
        id=task.bundle.id, bundle=task.bundle.path, rootfs=request.rootfs, terminal=request.terminal,
        stdin=request.stdin, stdout=request.stdout, stderr=request.stderr,
        options=options if options.type_url else None,
    )  # fmt: skip


def _at(found: pb.DeleteResponse | pb.WaitResponse) -> int:
    return found.exited_at.seconds * 1_000_000_000 + found.exited_at.nanos


def _end_of(task: Task, exec_id: str, end: End) -> End:
    """How a process of a task without a shim ended: an exec with init, at the latest. Raises NotFound."""
    if not exec_id:
        return end
    if exec_id not in task.execs:
        raise NotFound(f"exec {exec_id!r} of container {task.bundle.id!r} not found")
    return End(task.execs[exec_id], KILLED, end.at)


def _dead(task: Task, exec_id: str, end: End) -> task_types_pb2.Process:
    return task_types_pb2.Process(
        container_id=task.bundle.id, id=exec_id or task.bundle.id, pid=end.pid,
        status=task_types_pb2.STOPPED, exit_status=end.status, exited_at=timestamp(end.at),
    )  # fmt: skip
