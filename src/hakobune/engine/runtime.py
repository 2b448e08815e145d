"""What the engine needs from below, as a Protocol of its own, and the adapter that gets it from a containerd.

A container of the engine is below: one snapshot, one container record, one task, all under its id. A manager
that dies over a call comes back: what may be asked twice is, and what may not is looked at first. Imports:
containerd.client, spec.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hakobune.containerd.client import Client
from hakobune.containerd.client.containers import Container as Record
from hakobune.containerd.client.events import Subscription, TaskExit, TaskOOM
from hakobune.engine.runtimes import OPTIONS_TYPE, Kind
from hakobune.errors import AlreadyExists, HakoError, NotFound, Unavailable
from hakobune.failpoint import reach
from hakobune.spec.mount import Mount

SNAPSHOTTER = "overlayfs"
OWNED = "io.hakobune.container"  # label of the snapshots that are containers' own


@dataclass(frozen=True, slots=True)
class Streams:
    """Where a process's output goes and its input comes from: the URIs of task/stdio.py."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """How a task stands: `status` is created, running, paused, stopped or unknown. Time in nanoseconds."""

    id: str
    pid: int
    status: str
    exit_code: int
    exited_at: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A process has ended: init when `process` equals `container`, else an exec."""

    container: str
    process: str
    pid: int
    exit_code: int
    at: int


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The kernel killed in this container."""

    container: str


class Runtime(Protocol):
    """The manager below. Every method raises HakoError; those that take away are idempotent."""

    async def prepare(self, identity: str, parent: str) -> tuple[Mount, ...]: ...
    async def rootfs(self, identity: str) -> tuple[Mount, ...]: ...
    async def discard(self, identity: str) -> None: ...
    async def snapshots(self) -> list[str]: ...
    async def records(self) -> list[str]: ...
    async def usage(self, identity: str) -> int: ...
    async def create(self, identity: str, image: str, spec: dict[str, Any], rootfs: Sequence[Mount],
                     streams: Streams, kind: Kind) -> int: ...  # fmt: skip
    async def start(self, identity: str, process: str = "") -> int: ...
    async def delete(self, identity: str) -> None: ...
    async def kill(
        self, identity: str, signal: int, process: str = "", *, everyone: bool = False
    ) -> None: ...
    async def exec(self, identity: str, process: str, document: dict[str, Any], streams: Streams) -> None: ...
    async def forget_exec(self, identity: str, process: str) -> None: ...
    async def resize(self, identity: str, rows: int, columns: int, process: str = "") -> None: ...
    async def close_input(self, identity: str, process: str = "") -> None: ...
    async def pause(self, identity: str) -> None: ...
    async def resume(self, identity: str) -> None: ...
    async def update(self, identity: str, resources: dict[str, Any]) -> None: ...
    async def pids(self, identity: str) -> list[int]: ...
    async def stats(self, identity: str) -> dict[str, Any]: ...
    async def standing(self) -> dict[str, Standing]: ...
    async def process_standing(self, identity: str, process: str = "") -> Standing: ...
    def ends(self) -> contextlib.AbstractAsyncContextManager[AsyncIterator[Ended | OutOfMemory]]: ...


class ContainerdRuntime:
    """The Protocol over a containerd client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def prepare(self, identity: str, parent: str) -> tuple[Mount, ...]:
        """A new writable snapshot on top of `parent`; one that a crash left behind is replaced."""
        labels = {"containerd.io/gc.root": "1", OWNED: "1"}

        async def fresh() -> list[Mount]:
            try:
                return await self._client.snapshots.prepare(identity, parent, labels=labels)
            except AlreadyExists:
                await self.discard(identity)
                return await self._client.snapshots.prepare(identity, parent, labels=labels)

        return tuple(await self._client.again(fresh))

    async def rootfs(self, identity: str) -> tuple[Mount, ...]:
        """The mounts of a snapshot that stands. Raises NotFound."""
        return tuple(await self._client.again(lambda: self._client.snapshots.mounts(identity)))

    async def discard(self, identity: str) -> None:
        """Remove the snapshot with all that was written to it."""
        with contextlib.suppress(NotFound):
            await self._client.again(lambda: self._client.snapshots.remove(identity))

    async def snapshots(self) -> list[str]:
        """Ids of the containers that have a snapshot."""
        every = await self._client.again(self._client.snapshots.list)
        return [snapshot.name for snapshot in every if OWNED in snapshot.labels]

    async def records(self) -> list[str]:
        """Ids of the containers that are on record below, with a task or without."""
        return [record.id for record in await self._client.again(self._client.containers.list)]

    async def usage(self, identity: str) -> int:
        """Bytes written to the snapshot."""
        return (await self._client.again(lambda: self._client.snapshots.usage(identity))).size

    async def create(
        self, identity: str, image: str, spec: dict[str, Any], rootfs: Sequence[Mount], streams: Streams,
        kind: Kind,
    ) -> int:  # fmt: skip
        """A task whose init process waits for `start`; returns its pid. Leaves nothing when it fails."""
        document = json.dumps(spec, separators=(",", ":")).encode()
        record = Record(
            id=identity, image=image, runtime=kind.shim, spec=document, snapshotter=SNAPSHOTTER,
            snapshot_key=identity, labels={}, options=(OPTIONS_TYPE if kind.options else "", kind.options),
        )  # fmt: skip
        return await self._client.again(lambda: self._create(record, rootfs, streams))

    async def _create(self, record: Record, rootfs: Sequence[Mount], streams: Streams) -> int:
        try:
            await self._client.containers.create(record)
        except AlreadyExists:  # of a start that was cut
            await self.delete(record.id)
            await self._client.containers.create(record)
        reach("engine.start.record")
        try:
            return await self._client.tasks.create(
                record.id,
                list(rootfs),
                stdin=streams.stdin,
                stdout=streams.stdout,
                stderr=streams.stderr,
                terminal=streams.terminal,
                options=record.options,
            )
        except Unavailable:
            raise  # it may have been made: whoever asks again, or takes back, looks
        except AlreadyExists:  # asked for on a connection that broke, and begun after we had looked
            await self.delete(record.id)
            raise Unavailable(f"task {record.id} was being made already") from None
        except BaseException:
            with contextlib.suppress(HakoError):
                await self._client.containers.delete(record.id)
            raise

    async def start(self, identity: str, process: str = "") -> int:
        """Let init or an exec run; returns its pid."""

        async def looked_at() -> int:
            found = await self._client.tasks.get(identity, process)
            if found.status != "created":
                return found.pid  # it was started; perhaps it has ended since
            return await self._client.tasks.start(identity, process)

        try:
            return await self._client.tasks.start(identity, process)
        except Unavailable:
            return await self._client.again(looked_at)

    async def delete(self, identity: str) -> None:
        """Take away a task, killing what still runs, and its record."""
        await self._client.again(lambda: self._delete(identity))

    async def _delete(self, identity: str) -> None:
        with contextlib.suppress(NotFound):
            try:
                await self._client.tasks.delete(identity)
            except (NotFound, Unavailable):
                raise
            except HakoError:
                await self._client.tasks.kill(identity, 9, everyone=True)
                await self._client.tasks.wait(identity)
                await self._client.tasks.delete(identity)
        reach("engine.delete.task")
        with contextlib.suppress(NotFound):
            await self._client.containers.delete(identity)

    async def kill(self, identity: str, signal: int, process: str = "", *, everyone: bool = False) -> None:
        """Send a signal. Raises NotFound."""
        await self._client.again(
            lambda: self._client.tasks.kill(identity, signal, process, everyone=everyone)
        )

    async def exec(self, identity: str, process: str, document: dict[str, Any], streams: Streams) -> None:
        """Add an exec named `process`; `start` makes it run."""
        with contextlib.suppress(AlreadyExists):  # names are new each time: it is ours, asked for twice
            await self._client.again(
                lambda: self._client.tasks.exec(
                    identity,
                    process,
                    json.dumps(document, separators=(",", ":")).encode(),
                    stdin=streams.stdin,
                    stdout=streams.stdout,
                    stderr=streams.stderr,
                    terminal=streams.terminal,
                )
            )

    async def forget_exec(self, identity: str, process: str) -> None:
        """Delete an exec that has ended."""
        with contextlib.suppress(NotFound):
            await self._client.again(lambda: self._client.tasks.delete(identity, process))

    async def resize(self, identity: str, rows: int, columns: int, process: str = "") -> None:
        """Set the window size of a terminal."""
        await self._client.again(lambda: self._client.tasks.resize(identity, columns, rows, process))

    async def close_input(self, identity: str, process: str = "") -> None:
        """No more input comes: the shim may let go of its end."""
        await self._client.again(lambda: self._client.tasks.close_io(identity, process))

    async def pause(self, identity: str) -> None:
        """Freeze all its processes."""
        await self._turned(identity, "paused", self._client.tasks.pause)

    async def resume(self, identity: str) -> None:
        """Thaw them."""
        await self._turned(identity, "running", self._client.tasks.resume)

    async def _turned(self, identity: str, status: str, verb: Callable[[str], Awaitable[None]]) -> None:
        """A verb that is refused when it has been done already; whoever dies over it may have done it."""

        async def looked_at() -> None:
            if (await self._client.tasks.get(identity)).status != status:
                await verb(identity)

        try:
            await verb(identity)
        except Unavailable:
            await self._client.again(looked_at)

    async def update(self, identity: str, resources: dict[str, Any]) -> None:
        """New limits, as OCI linux.resources."""
        await self._client.again(lambda: self._client.tasks.update(identity, json.dumps(resources).encode()))

    async def pids(self, identity: str) -> list[int]:
        """Host pids of all its processes."""
        return await self._client.again(lambda: self._client.tasks.pids(identity))

    async def stats(self, identity: str) -> dict[str, Any]:
        """The counters of its cgroup (cgroups/cgroup.py)."""
        return await self._client.again(lambda: self._client.tasks.metrics(identity))

    async def standing(self) -> dict[str, Standing]:
        """Every task there is, by id."""
        return {
            task.id: Standing(task.id, task.pid, task.status, task.exit_status, task.exited_at)
            for task in await self._client.again(self._client.tasks.list)
        }

    async def process_standing(self, identity: str, process: str = "") -> Standing:
        """How init or one exec stands. Raises NotFound."""
        task = await self._client.again(lambda: self._client.tasks.get(identity, process))
        return Standing(process, task.pid, task.status, task.exit_status, task.exited_at)

    @contextlib.asynccontextmanager
    async def ends(self) -> AsyncIterator[AsyncIterator[Ended | OutOfMemory]]:
        """Ends of processes as they happen, from the moment the context is entered; they stop with the connection."""
        subscription = await self._client.events.open('topic=="/tasks/exit"', 'topic=="/tasks/oom"')
        try:
            yield _ends(subscription)
        finally:
            subscription.close()


async def _ends(subscription: Subscription) -> AsyncIterator[Ended | OutOfMemory]:
    async for event in subscription:
        value = event.value
        if isinstance(value, TaskExit):
            yield Ended(value.container_id, value.id, value.pid, value.exit_status, value.exited_at)
        elif isinstance(value, TaskOOM):
            yield OutOfMemory(value.container_id)
