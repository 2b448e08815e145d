"""The engine's composition root: every room is made here, wired to the others, started and ended in order.

Start: lock both roots, the manager, the database, networks, containers of the engine before us, and only then
the sockets that clients see. End: the sockets first; containers go on running. Imports: every room.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import sys
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from hakobune.containerd.client import BACK_SECONDS, Client
from hakobune.engine import wiring
from hakobune.engine.config import Config
from hakobune.engine.containerd_process import ContainerdProcess
from hakobune.engine.containers import exits, takeover
from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.model import Container
from hakobune.engine.containers.store import MIGRATION as CONTAINERS
from hakobune.engine.containers.store import Store
from hakobune.engine.events.bus import Bus
from hakobune.engine.execs import verbs as exec_verbs
from hakobune.engine.execs.model import MIGRATION as EXECS
from hakobune.engine.execs.model import Execs
from hakobune.engine.http.message import Taken
from hakobune.engine.http.router import Router
from hakobune.engine.http.server import Server
from hakobune.engine.images import layer
from hakobune.engine.images.images import Images
from hakobune.engine.images.pressure import MIGRATION as IMAGE_USE
from hakobune.engine.images.pressure import Pressure
from hakobune.engine.images.remembered import MIGRATION as IMAGE_CONTENT
from hakobune.engine.images.remembered import Remembered
from hakobune.engine.runtime import ContainerdRuntime, Ended, OutOfMemory
from hakobune.engine.runtimes import Runtimes
from hakobune.engine.succession import Succession
from hakobune.engine.system import upgrade
from hakobune.engine.volumes.volumes import MIGRATION as VOLUMES
from hakobune.engine.volumes.volumes import Volumes
from hakobune.errors import FailedPrecondition, HakoError, InvalidArgument, NotFound, Unavailable
from hakobune.net import store as net_store
from hakobune.net.door import Door
from hakobune.net.model import DEFAULT_POOLS, Settings
from hakobune.net.networks import Networks
from hakobune.persist.database import Database
from hakobune.version import VERSION

NAMESPACE = "moby"
SERVER = f"Docker/28.3.0 (linux) Hakobune/{VERSION}"
_RECONNECT_SECONDS = 0.1
_LONGEST_EXEC_ROOT = 107 - len("/containerd/s/") - 20  # sun_path, less the longest name of a socket there
_CANCEL_SECONDS = 0.1
_SETTLE_SECONDS = 5.0  # for verbs that were cut by the end, to take back what they did


class App:
    """One engine. `start`, and in any case `close`, which takes back as much of the start as there was."""

    def __init__(
        self, config: Config, left: Succession | None = None, stop: Callable[[], None] = lambda: None
    ) -> None:
        """`left`: what an engine before us in this process has left; `stop` asks for `close`."""
        self._config = config
        self._left = left
        self._stop = stop
        self._up = False
        self.succession: Succession | None = None  # set when another program is to go on in this process
        self._ends = contextlib.AsyncExitStack()
        self._store: Store | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscribed = asyncio.Event()
        self._taken_over = asyncio.Event()  # what is told before is not for containers as they are on record

    async def start(self) -> None:
        """Come up; raises HakoError with what is in the way."""
        config = self._config
        if len(os.fsencode(config.exec_root)) > _LONGEST_EXEC_ROOT:
            raise InvalidArgument(
                f"--exec-root: {config.exec_root} is longer than {_LONGEST_EXEC_ROOT} bytes: "
                "the sockets in it could not be reached"
            )
        for path, mode in ((config.data_root, 0o710), (config.exec_root, 0o711)):
            os.makedirs(path, mode=mode, exist_ok=True)
            self._ends.callback(os.close, _locked(f"{path}/engine.lock"))
        for name in ("containers", "volumes"):
            os.makedirs(f"{config.data_root}/{name}", mode=0o710, exist_ok=True)
        os.makedirs(f"{config.exec_root}/s", mode=0o700, exist_ok=True)
        _write_pid(config.pidfile)
        self._ends.callback(_unlink, config.pidfile)
        self._client = Client(config.containerd_address, NAMESPACE, patience=BACK_SECONDS)
        self._manager = ContainerdProcess(config, self._client)
        self._ends.push_async_callback(self._let_go)
        await self._manager.start()
        self._open_rooms()
        self._ends.push_async_callback(self._leave_networks)
        await self._networks.start()
        self._ends.push_async_callback(self._settle)
        self._spawn(self._watch_ends())
        await self._subscribed.wait()
        await takeover.take_over(self._deps)
        self._taken_over.set()
        await takeover.sweep(self._deps)
        await layer.sweep(self._client)
        for container in self._deps.store:
            if container.state.running:
                await exec_verbs.catch_up(self._deps, self._execs, container)
            else:
                self._execs.prune(container.id)
        if self._left is not None:
            self._left.unpark(self._deps.store)
        self._server = Server(Router(wiring.routes(self._rooms())), name=SERVER)
        self._ends.push_async_callback(self._server.close)
        for host in config.hosts:
            await self._listen(host)
        self._up = True
        if config.image_gc.high:
            self._spawn(Pressure(self._images, self._database, config.data_root, config.image_gc).run())
        if self._left is not None:
            self._spawn(self._upgrade_the_rest(self._left))

    def _open_rooms(self) -> None:
        config = self._config
        self._database = Database.open(
            f"{config.data_root}/engine.db", [CONTAINERS, EXECS, VOLUMES, IMAGE_USE, IMAGE_CONTENT]
        )
        self._ends.callback(self._database.close)
        self._bus = Bus()
        settings = Settings(
            bridge=config.bridge,
            bip=config.bip,
            pools=config.pools or DEFAULT_POOLS,
            state_dir=config.exec_root,
            host_ip=config.host_ip,
            icc=config.icc,
            mtu=config.mtu,
        )
        path = f"{config.data_root}/network.db"
        self._networks = Door(lambda: Networks(Database.open(path, net_store.MIGRATIONS), settings))
        self._volumes = Volumes(self._database, f"{config.data_root}/volumes", self._bus)
        store = self._store = Store(self._database)
        self._images = Images(
            self._client,
            self._bus,
            lambda image: [(one.id, one.state.running) for one in store if one.image == image],
            Remembered(self._database),
        )
        self._execs = Execs(self._database)
        options = dict(config.log_opts)
        self._deps = Deps(
            store=store,
            runtime=ContainerdRuntime(self._client),
            images=self._images,
            volumes=self._volumes,
            networks=self._networks,
            execs=self._execs,
            bus=self._bus,
            root=f"{config.data_root}/containers",
            sides=f"{config.exec_root}/s",
            runtimes=Runtimes(config.runtimes, config.default_runtime, f"{config.exec_root}/runtimes"),
            log_driver=config.log_driver,
            log_options=options,
            dns=config.dns,
            hear=lambda end: self._spawn(self._ended(end)),
        )

    def _rooms(self) -> wiring.Rooms:
        return wiring.Rooms(
            config=self._config, identity=_identity(f"{self._config.data_root}/engine-id"), client=self._client, deps=self._deps, execs=self._execs, images=self._images,
            volumes=self._volumes, networks=self._networks, bus=self._bus, succeed=self._succeed,
        )  # fmt: skip

    # --- another program in this process ---

    def _succeed(self, python: str, taken: Taken) -> None:
        """End, and have that interpreter's engine go on. Raises FailedPrecondition."""
        if self.succession is not None:
            raise FailedPrecondition("the engine is being upgraded already")
        self.succession = Succession(python, os.dup(taken.sock.fileno()))
        self._stop()

    async def _upgrade_the_rest(self, left: Succession) -> None:
        """We are the new engine, or the old one again; then everything below us."""
        for fds in left.listeners.values():
            for fd in fds:
                os.close(fd)
        if left.failure:
            await left.tell(process="hakod", previous=left.previous, error=left.failure)
        else:
            await left.tell(process="hakod", previous=left.previous, release=VERSION)
            await upgrade.below(self._manager, self._client, left.tell)
        await left.tell(containers=len(left.running), untouched=left.untouched(self._deps.store))
        os.close(left.client)

    @property
    def _leaving(self) -> bool:
        """Whether another program goes on here: everything below stays as it is."""
        return self.succession is not None or (self._left is not None and not self._up)

    async def _listen(self, host: str) -> None:
        if self._left is not None and (given := self._left.listeners.get(host)):
            await self._server.adopt(host, given)
            return
        scheme, _, rest = host.partition("://")
        if scheme == "unix":
            await self._server.listen_unix(rest, group=self._config.group)
            return
        name, _, port = rest.rpartition(":")
        await self._server.listen_tcp(name.strip("[]") or "127.0.0.1", int(port))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (err := task.exception()) is not None:
            print(f"hakod: {type(err).__name__}: {err}", file=sys.stderr)

    # --- the ends of processes ---

    async def _watch_ends(self) -> None:
        """For ever: listen to the manager; when it was away, ask what was missed."""
        missed = False
        while True:
            try:
                async with self._deps.runtime.ends() as ends:
                    self._subscribed.set()
                    if missed:
                        self._spawn(self._catch_up())
                    async for end in ends:
                        self._spawn(self._ended(end))
            except Unavailable:
                pass
            except HakoError as err:
                print(f"hakod: events: {err}", file=sys.stderr)
            missed = True
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _catch_up(self) -> None:
        """Ends that the manager had nobody to tell while it was away."""
        await asyncio.gather(*(self._catch_up_one(container) for container in self._deps.store))

    async def _catch_up_one(self, container: Container) -> None:
        try:
            await exec_verbs.catch_up(self._deps, self._execs, container)
            if end := await takeover.catch_up(self._deps, container):
                await self._ended(end)
        except HakoError as err:
            print(f"hakod: container {container.short_id}: {err}", file=sys.stderr)

    async def _ended(self, end: Ended | OutOfMemory) -> None:
        await self._taken_over.wait()
        try:
            container = self._deps.store.get(end.container)
        except NotFound:
            return
        if isinstance(end, OutOfMemory):
            await exits.out_of_memory(self._deps, container)
        elif end.process != end.container:
            await exec_verbs.ended(self._deps, self._execs, container, end)
        else:
            await exits.ended(self._deps, container, end)
            self._execs.prune(container.id)

    async def close(self) -> None:
        """End: containers that run go on; without any, nothing of the engine is left in the kernel."""
        if self.succession is not None:
            self.succession.listeners = self._server.keep()
            self.succession.park(self._deps.store)
        await self._ends.aclose()

    async def _settle(self) -> None:
        """No task of ours goes on, and no verb is in the middle of a container."""
        restarts = {one.restart for one in self._deps.store if one.restart is not None}
        chores = [chore for one in self._deps.store for chore in one.chores]
        tasks = [*self._tasks, *restarts, *chores]
        while pending := [task for task in tasks if not task.done()]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=_CANCEL_SECONDS)  # CPython 3.11's wait_for may lose one
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                for container in self._deps.store:
                    async with container.lock:
                        pass

    def _running(self) -> bool:
        """Whether a container runs, or is to run again."""
        if self._store is None:
            return False
        return any(one.state.running or one.state.status == "restarting" for one in self._store)

    async def _leave_networks(self) -> None:
        await self._networks.close(remove=not self._running() and not self._leaving)

    async def _let_go(self) -> None:
        """Of the manager: a start that came to nothing before the record was read leaves it as it was."""
        await self._client.close()
        keep = self._running() or self._leaving or (self._store is None and not self._manager.ours)
        await self._manager.stop(keep=keep)


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _locked(path: str) -> int:
    """The lock of a root; held until the process ends. Raises FailedPrecondition."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        os.close(fd)
        raise FailedPrecondition(f"{os.path.dirname(path)} is in use by another hakod") from err
    return fd


def _identity(path: str) -> str:
    """This engine's own name, made once for each data root."""
    try:
        with open(path) as file:
            return file.read().strip()
    except FileNotFoundError:
        identity = str(uuid.uuid4())
        with open(path, "w") as file:
            file.write(identity)
        return identity


def _write_pid(path: str) -> None:
    """Over the old one, whose room on a full disk it keeps; without any it is told, and the engine comes up."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.ftruncate(fd, os.write(fd, f"{os.getpid()}\n".encode()))
    except OSError as err:
        if err.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"hakod: {path} not written: {err.strerror}", file=sys.stderr)
    finally:
        os.close(fd)
