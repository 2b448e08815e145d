"""What the verbs of this room use: seven Protocols and two directories, filled in by `engine.app`."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from hakobune.engine.containers.model import Container
from hakobune.engine.containers.store import Store
from hakobune.engine.runtime import Ended, Runtime
from hakobune.engine.runtimes import Runtimes
from hakobune.engine.turns import Turns
from hakobune.net.model import Attachment, Network, Wanted


class Image(Protocol):
    """An image as this room needs it."""

    @property
    def id(self) -> str: ...
    @property
    def chain(self) -> str: ...
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def size(self) -> int: ...


class Images(Protocol):
    """Images by name. Raises NotFound."""

    async def resolve(self, reference: str, platform: str = "") -> Image: ...


class Volume(Protocol):
    """A directory with a life of its own; `path` on the host."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...


class Volumes(Protocol):
    """Volumes by name, and who uses them."""

    def ensure(self, name: str, *, driver: str = "", labels: Mapping[str, str] | None = None,
               options: Mapping[str, str] | None = None, anonymous: bool = False,
               user: str = "") -> tuple[Volume, bool]: ...  # fmt: skip
    def release(self, name: str, container: str) -> None: ...
    def remove(self, name: str, *, force: bool = False) -> None: ...
    def keep_users(self, containers: Collection[str]) -> None: ...


class Networks(Protocol):
    """Network namespaces, addresses and ports; see net.door."""

    async def attach(self, container_id: str, wanted: Wanted) -> Attachment: ...
    async def detach(self, container_id: str) -> None: ...
    def get(self, reference: str) -> Network: ...
    async def adopt(self, container_id: str, init_pid: int) -> Attachment: ...
    async def keep(self, containers: Collection[str]) -> None: ...


class Execs(Protocol):
    """Records of execs."""

    def forget(self, container: str) -> None: ...
    def keep(self, containers: Collection[str]) -> None: ...


class Bus(Protocol):
    """Where events go."""

    def publish(self, kind: str, action: str, actor: str, attributes: Mapping[str, str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Deps:
    """Everything that a verb may touch. `root` holds a directory for each container, `sides` the shims' sockets."""

    store: Store
    runtime: Runtime
    images: Images
    volumes: Volumes
    networks: Networks
    execs: Execs
    bus: Bus
    root: str
    sides: str
    runtimes: Runtimes
    log_driver: str = "json-file"
    log_options: Mapping[str, str] = field(default_factory=dict)
    dns: tuple[str, ...] = ()
    turns: Turns = field(default_factory=Turns)
    hear: Callable[[Ended], None] = lambda _end: None  # somebody other than the manager tells of an end

    def directory(self, container: Container) -> str:
        """The container's own directory on the host."""
        return os.path.join(self.root, container.id)

    def log_path(self, container: Container) -> str:
        """The file its output is kept in; empty when it is not kept."""
        if container.host["LogConfig"]["Type"] != "json-file":
            return ""
        return os.path.join(self.root, container.id, f"{container.id}-json.log")

    def side_path(self, container: Container) -> str:
        """Where its shim listens for us."""
        return os.path.join(self.sides, container.id[:24])

    def fifos(self, container: Container) -> str:
        """Where the streams of a container are whose shim is another's."""
        return os.path.join(self.sides, f"{container.id[:24]}.streams")

    def drop_side(self, container: Container) -> None:
        """Take away the socket that a shim has left when it was killed; silent when there is none."""
        with contextlib.suppress(OSError):
            os.unlink(self.side_path(container))

    def tell(self, container: Container, action: str, **more: str) -> None:
        """Publish an event about a container."""
        self.bus.publish("container", action, container.id, {**container.attributes(), **more})


def now() -> int:
    """Nanoseconds since the epoch."""
    return time.time_ns()
