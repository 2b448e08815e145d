"""A document that can be read in two ways, and digests that are none, end a pull before anything has a name (CVE-2021-41190)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from hakobune.containerd.client.transfer import Place, Platform
from hakobune.errors import HakoError
from hakobune.testing.manager import PrivateManager
from hakobune.testing.manager import run as loop
from hakobune.testing.registry import LyingRegistry, Sample, sample

pytestmark = [pytest.mark.root, pytest.mark.slow]

_KIND = "application/vnd.oci.image."


@pytest.fixture(scope="module")
def manager() -> Iterator[PrivateManager]:
    made = PrivateManager()
    made.start()
    yield made
    made.end()


def pull(manager: PrivateManager, registry: LyingRegistry, namespace: str) -> tuple[list[str], list[str]]:
    """Pull, which may raise; (names, digests of content that is left after the collector)."""

    async def body() -> Any:
        client = await manager.client(namespace)
        name = f"{registry.name}/some/app:latest"
        try:
            await client.transfer.pull(Place(name), name, Platform("linux", "amd64"), "overlayfs", _quiet)
        finally:
            await client.close()

    async def left() -> tuple[list[str], list[str]]:
        client = await manager.client(namespace)
        lease = "to-collect"
        await client.leases.create(lease, {})
        await client.leases.delete(lease, sync=True)
        found = (
            [one.name for one in await client.images.list()],
            [one.digest for one in await client.content.list()],
        )
        await client.close()
        return found

    try:
        loop(body())
    finally:
        pull.left = loop(left())  # type: ignore[attr-defined]
    return pull.left  # type: ignore[attr-defined,no-any-return]


async def _quiet(_progress: object) -> None:
    pass


def _with(image: Sample, **fields: Any) -> Sample:
    """The same with a manifest that has these fields, too; None takes one away."""
    document = json.loads(image.blobs[image.manifest]) | fields
    data = json.dumps({name: value for name, value in document.items() if value is not None}).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return replace(image, blobs={**image.blobs, digest: data}, manifest=digest)


def _descriptor(digest: str, size: int, kind: str = "layer.v1.tar") -> dict[str, Any]:
    return {"mediaType": _KIND + kind, "digest": digest, "size": size}


BAD: dict[str, dict[str, Any]] = {
    "both": {"manifests": []},
    "an index by name": {"mediaType": _KIND + "index.v1+json"},
    "a type of nobody": {"mediaType": "text/html"},
    "a path as digest": {"layers": [_descriptor("sha256:../../../../etc/passwd", 10)]},
    "an unknown algorithm": {"layers": [_descriptor("md5:" + "0" * 32, 10)]},
    "a negative size": {"layers": [_descriptor("sha256:" + "0" * 64, -1)]},
    "no layers": {"layers": None},
    "layers of another kind": {"layers": {"a": "b"}},
    "a descriptor that is none": {"layers": ["x"]},
    "a layer that is not in the configuration": {"layers": []},
}


@pytest.mark.parametrize("what", BAD, ids=str)
def test_refused(what: str, manager: PrivateManager) -> None:
    with LyingRegistry(_with(sample(1000), **BAD[what])) as registry:
        with pytest.raises(HakoError):
            pull(manager, registry, f"bad-{sorted(BAD).index(what)}")
        assert pull.left == ([], [])  # type: ignore[attr-defined]


def test_the_same_is_taken_when_it_is_right(manager: PrivateManager) -> None:
    with LyingRegistry(sample(1000)) as registry:
        names, contents = pull(manager, registry, "good")
        assert names == [f"{registry.name}/some/app:latest"]
        assert sorted(contents) == sorted(registry.image.blobs)


@pytest.mark.parametrize("size", [-1, 1, 10**15])
def test_a_declared_size_is_enforced(size: int, manager: PrivateManager) -> None:
    image = sample(1000)
    layer = _descriptor(image.layers[0], len(image.blobs[image.layers[0]]) + size)
    with LyingRegistry(_with(image, layers=[layer])) as registry:
        with pytest.raises(HakoError):
            pull(manager, registry, f"size-{abs(size)}-{size > 0}")
        assert pull.left == ([], [])  # type: ignore[attr-defined]
