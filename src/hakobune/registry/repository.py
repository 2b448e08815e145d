"""What is wanted of a registry, as a Protocol, and the data that goes in and out.

A `Repository` is one name in one registry (`docker.io/library/alpine`), reached by its mirrors and with somebody's
credentials. It holds connections: `async with`. Every method may raise NotFound (the registry does not know it),
Unauthenticated (it wants somebody else), PermissionDenied, ResourceExhausted (rate limits), InvalidArgument (it
answered nonsense), Unavailable (it does not answer, or stopped), DataLoss (what came is not what its digest says).

    async with remote.open_repository("localhost:5000/app", access) as app:
        found = await app.resolve("latest")
        manifest = await app.manifest(found)
        async with contextlib.aclosing(app.blob(layer, offset=0)) as parts:
            async for part in parts: ...

Source: OCI distribution-spec 1.1.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hakobune.spec.descriptor import Descriptor

LARGEST_MANIFEST = 4 << 20  # distribution-spec, "Pushing Manifests": registries take 4 MiB at least

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
SCHEMA_1 = ("application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws")  # fmt: skip
MANIFEST_TYPES = (INDEX, MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)


@dataclass(frozen=True, slots=True)
class Credentials:
    """`header` is a whole Authorization value; else a `username` with its `secret`, else a refresh token as `secret`."""

    username: str = ""
    secret: str = field(default="", repr=False)
    header: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.secret or self.header)


Ask = Callable[[str], Awaitable[Credentials]]
"""The credentials for a host, empty ones for none."""


async def nobody(host: str) -> Credentials:
    """The `Ask` of a client that has no credentials."""
    return Credentials()


@dataclass(frozen=True, slots=True)
class Access:
    """How a registry is reached.

    `host_dir` is a directory of containerd's `hosts.toml` files ("" for none), `default_scheme` replaces https for
    hosts that none of them names, `headers` go with every request to the registry itself. `keep`: a token server may
    give a token to be kept in place of the password.
    """

    ask: Ask = nobody
    host_dir: str = ""
    default_scheme: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    keep: bool = False


Open = Callable[[int], AsyncIterator[bytes]]
"""The bytes of a blob from an offset on: called again when an upload is begun again."""


class Repository(Protocol):
    """One name in a registry.

    `blob` gives the bytes from `offset` up to `end` (-1: all), and goes on by itself where a connection was cut. `urls`
    are where a foreign layer lies. `ranges`: whether several connections for one blob are worth it. `push_blob` says what it did: "pushed", "exists", or the repository that it was
    mounted from; `push_manifest` whether it was new.
    """

    async def resolve(self, label: str) -> Descriptor: ...
    async def manifest(self, descriptor: Descriptor) -> bytes: ...
    def blob(
        self, descriptor: Descriptor, *, offset: int = 0, end: int = -1, urls: Sequence[str] = ()
    ) -> AsyncGenerator[bytes, None]: ...
    async def ranges(self, descriptor: Descriptor) -> bool: ...
    async def tags(self) -> list[str]: ...
    async def push_blob(self, descriptor: Descriptor, read: Open, sources: Sequence[str] = ()) -> str: ...
    async def push_manifest(self, label: str, descriptor: Descriptor, body: bytes) -> bool: ...
