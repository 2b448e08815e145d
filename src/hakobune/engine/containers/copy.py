"""GET, HEAD and PUT /containers/{id}/archive: what `docker cp` does. Paths are inside the container, volumes included."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from hakobune.engine.containers import rootfs, users
from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.export import check
from hakobune.engine.containers.filesystem import looking
from hakobune.engine.containers.model import Container
from hakobune.errors import InvalidArgument, NotFound

STAT = "X-Docker-Container-Path-Stat"


@contextlib.contextmanager
def _named(container: Container, path: str) -> Iterator[None]:
    """A missing file is told in Docker's words."""
    try:
        yield
    except NotFound as err:
        if container.removed:
            raise
        raise NotFound(f"Could not find the file {path} in container {container.name}") from err


def _check(container: Container, path: str) -> None:
    check(container, "copy from or to")
    if not path:
        raise InvalidArgument("missing parameter: path")


async def status(deps: Deps, container: Container, path: str) -> str:
    """The value of the header. Raises NotFound, InvalidArgument."""
    _check(container, path)
    with _named(container, path):
        async with looking(deps, container, "stat", path) as program:
            return _header(await program.line())


def _header(document: object) -> str:
    return base64.b64encode(json.dumps(document, separators=(",", ":")).encode()).decode()


async def read(deps: Deps, container: Container, path: str) -> tuple[str, AsyncGenerator[bytes, None]]:
    """(value of the header, archive of the file or directory). Raises NotFound, InvalidArgument."""
    _check(container, path)
    parts = _read(deps, container, path)
    with _named(container, path):
        header = (await anext(parts)).decode()
    deps.tell(container, "archive-path")
    return header, parts


async def _read(deps: Deps, container: Container, path: str) -> AsyncGenerator[bytes, None]:
    """First the header's value, then the archive."""
    async with looking(deps, container, "read", path) as program:
        yield _header(await program.line()).encode()
        async for part in program.parts():
            yield part


async def write(
    deps: Deps, container: Container, path: str, archive: AsyncIterator[bytes], *, own: bool, keep: bool
) -> None:
    """Unpack into a directory. `own`: all belongs to the container's user; `keep`: no directory becomes a file, nor
    the other way round. Raises NotFound, InvalidArgument (also for what is read-only), ResourceExhausted."""
    _check(container, path)
    owner = await _owner(deps, container) if own else ""
    with _named(container, path):
        async with looking(
            deps, container, "write", path, owner, "keep" if keep else "", fed=True
        ) as program:
            await program.feed(archive)
    deps.tell(container, "extract-to-dir")


async def _owner(deps: Deps, container: Container) -> str:
    """`uid:gid` of the container's user; empty when none is set."""
    if not container.config["User"]:
        return ""
    with rootfs.opened(await deps.runtime.rootfs(container.id)) as root:
        passwd, group = rootfs.read(root, "/etc/passwd"), rootfs.read(root, "/etc/group")
    identity = users.resolve(container.config["User"], passwd, group)
    return f"{identity.uid}:{identity.gid}"
