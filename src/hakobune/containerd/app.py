"""The manager put together: rooms made, edges added, boot in order, end in order."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal

from hakobune.containerd.checking import rpc as checking_rpc
from hakobune.containerd.checking.check import Check
from hakobune.containerd.config import Config
from hakobune.containerd.containers import rpc as containers_rpc
from hakobune.containerd.containers.store import Containers
from hakobune.containerd.content import rpc as content_rpc
from hakobune.containerd.content.store import Content
from hakobune.containerd.diff import rpc as diff_rpc
from hakobune.containerd.events import rpc as events_rpc
from hakobune.containerd.events.exchange import Exchange
from hakobune.containerd.images import rpc as images_rpc
from hakobune.containerd.images.store import Images
from hakobune.containerd.introspection import rpc as introspection_rpc
from hakobune.containerd.leases import rpc as leases_rpc
from hakobune.containerd.leases.store import Leases
from hakobune.containerd.metadata.collector import Collector
from hakobune.containerd.metadata.schema import open_database
from hakobune.containerd.namespaces import rpc as namespaces_rpc
from hakobune.containerd.namespaces.store import Namespaces
from hakobune.containerd.publish import publisher
from hakobune.containerd.renewal import rpc as renewal_rpc
from hakobune.containerd.serving import Service
from hakobune.containerd.snapshots import rpc as snapshots_rpc
from hakobune.containerd.snapshots.native import Native
from hakobune.containerd.snapshots.overlay import Overlay
from hakobune.containerd.snapshots.snapshotter import Snapshotter, Snapshotters
from hakobune.containerd.streaming import rpc as streaming_rpc
from hakobune.containerd.streaming.streams import Streams
from hakobune.containerd.tasks import rpc as tasks_rpc
from hakobune.containerd.tasks.makers import Makers, OfZygote
from hakobune.containerd.tasks.programs import Programs, find
from hakobune.containerd.tasks.tasks import Tasks
from hakobune.containerd.transfer import rpc as transfer_rpc
from hakobune.containerd.transfer.deps import Deps as TransferDeps
from hakobune.errors import FailedPrecondition, Unavailable
from hakobune.shim.manager_client import Zygote
from hakobune.transport.grpc_runtime import SERVER_OPTIONS, aio
from hakobune.transport.ttrpc_server import TtrpcServer

GRACE_SECONDS = 0.2  # for calls that only wait
FINISH_SECONDS = 10.0  # for calls that change something
_LOG = logging.getLogger("hakobune.containerd")


_CONTENT = "io.containerd.content.v1.content"
_SNAPSHOTTER = "io.containerd.snapshotter.v1"
_STORES = (_CONTENT, *(f"{_SNAPSHOTTER}.{name}" for name in ("overlayfs", "native")))


class App:
    """One manager: `async with` is its life. Made only while `lock` of its root is held."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._events_address = f"{config.address}.ttrpc"
        self._database = open_database(f"{config.root}/meta.db")
        self._exchange = Exchange()
        self._containers = Containers(self._database)
        self._snapshotters = Snapshotters(*(
            Snapshotter(self._database, f"{config.root}/{_SNAPSHOTTER}.{backend.name}", backend)
            for backend in (Overlay(), Native())
        ))  # fmt: skip
        self._content = Content(self._database, f"{config.root}/{_CONTENT}")
        self._images = Images(self._database)
        self._collector = Collector(
            self._database, self._content, self._images, self._snapshotters, self._exchange
        )
        self._zygote = Zygote(f"{config.state}/zygote.sock", f"{config.state}/zygote.log")
        self._programs = Programs(config.address, self._events_address, publisher())
        makers = Makers(OfZygote(self._zygote, self._events_address), self._programs, find)
        self._tasks = Tasks(self._containers, self._exchange, makers, config.state)
        self._server = aio.server(options=SERVER_OPTIONS)
        self._edges = self._services()
        handlers = events_rpc.ttrpc_handlers(self._exchange)
        for service in self._edges:
            service.add_to(self._server)
            handlers.update(service.ttrpc_handlers)
        self._ttrpc = TtrpcServer(handlers)

    def _services(self) -> list[Service]:
        images, leases, streams = self._images, Leases(self._database), Streams()
        moving = TransferDeps(
            self._content, images, self._snapshotters, leases, streams, self._exchange, self._collector
        )
        return [
            checking_rpc.service(self._check),
            containers_rpc.service(self._containers, self._exchange, self._collector.soon),
            content_rpc.service(self._content, self._exchange, self._collector.soon),
            diff_rpc.service(self._content, self._exchange),
            events_rpc.service(self._exchange),
            images_rpc.service(images, self._exchange, self._collector),
            leases_rpc.service(leases, self._collector),
            namespaces_rpc.service(Namespaces(self._database), self._exchange),
            renewal_rpc.service(self._tasks, self._zygote),
            snapshots_rpc.service(self._snapshotters, self._exchange),
            streaming_rpc.service(streams),
            tasks_rpc.service(self._tasks),
            transfer_rpc.service(moving),
            introspection_rpc.version(),
            introspection_rpc.health(),
            introspection_rpc.introspection(
                self._config.root,
                self._programs.describe,
                {name: f"{self._config.root}/{name}" for name in _STORES},
            ),
        ]

    def _check(self, repair: bool, young: float) -> Check:
        def running(namespace: str) -> set[str]:
            return {task.bundle.id for task in self._tasks.of(namespace)}

        return Check(
            self._database,
            self._content,
            self._snapshotters,
            self._exchange,
            running,
            repair=repair,
            young=young,
        )

    async def start(self) -> None:
        """Recover what was, then serve: who gets an answer sees everything."""
        self._snapshotters.sweep()
        self._content.sweep()
        self._collector.soon()
        warming = asyncio.ensure_future(self._warm())
        await self._ttrpc.listen(self._events_address)
        await self._tasks.recover()
        self._ttrpc.open()
        await self._listen()
        await warming

    async def _warm(self) -> None:
        """The zygote starts beside us; if it cannot, the first task says why."""
        try:
            await self._zygote.ready()
        except Unavailable as err:
            _LOG.error("%s", err)

    async def _listen(self) -> None:
        before = os.umask(0o117)
        try:
            if not self._server.add_insecure_port(f"unix:{self._config.address}"):
                raise Unavailable(f"cannot listen at {self._config.address}")
            await self._server.start()
        finally:
            os.umask(before)

    async def stop(self) -> None:
        """End of service. The zygote goes only when no task is left."""
        await asyncio.gather(self._server.stop(GRACE_SECONDS), self._ttrpc.settle(FINISH_SECONDS))
        running = [call for service in self._edges for call in service.running]
        if running:
            await asyncio.wait(running, timeout=FINISH_SECONDS)
        self._collector.stop()
        await self._tasks.close()
        if len(self._tasks):
            self._zygote.close()
        else:
            await self._zygote.retire()
        await self._ttrpc.close()
        await self._snapshotters.settle()
        self._database.close()
        for path in (self._config.address, self._events_address):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def lock(config: Config) -> int:
    """Make the directories and hold the root; the descriptor to keep. Raises FailedPrecondition."""
    for directory in (config.root, config.state):
        os.makedirs(directory, mode=0o711, exist_ok=True)
    os.makedirs(os.path.dirname(config.address) or ".", mode=0o711, exist_ok=True)
    held = os.open(f"{config.root}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise FailedPrecondition(f"another manager uses {config.root}") from None
    return held


async def serve(config: Config) -> None:
    """From start to SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    app = App(config)
    await app.start()
    _LOG.info("serving at %s", config.address)
    await stopped.wait()
    await app.stop()
