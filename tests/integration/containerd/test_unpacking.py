"""Layers are unpacked side by side, while they arrive, and before it is known what they are of."""

from __future__ import annotations

import asyncio
import io
import json
import os
import stat
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hakobune.containerd.client import Client
from hakobune.containerd.client.transfer import Place, Platform, Progress
from hakobune.containerd.transfer.early import WORTH
from hakobune.errors import InvalidArgument
from hakobune.testing.manager import PrivateManager
from hakobune.testing.manager import run as loop
from hakobune.testing.registry import LyingRegistry, Request, Sample, image_of, sample

pytestmark = [pytest.mark.root, pytest.mark.slow]
HERE = Platform("linux", {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine])


async def quiet(_said: Progress) -> None:
    """Listens and says nothing."""


def layer(*members: tuple[str, int, int]) -> bytes:
    """Of (name, mode, owner); a name that ends with a slash is a directory, others are empty files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, mode, owner in members:
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.mode, member.uid, member.mtime = mode, owner, 7
            archive.addfile(member)
    return packed.getvalue()


async def until(found: object) -> Path:
    """A file that matches, once there is one."""
    assert callable(found)
    async with asyncio.timeout(30):
        while not (listed := list(found())):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return Path(listed[0])


def unpacked(manager: PrivateManager, name: str) -> object:
    place = Path(manager.root, "io.containerd.snapshotter.v1.overlayfs", "snapshots")
    return lambda: place.glob(f"*/fs/{name}")


async def kinds(client: Client) -> list[str]:
    return sorted(one.kind for one in await client.snapshots.list())


def test_no_layer_waits_for_the_one_below(empty_manager: PrivateManager) -> None:
    """The lowest comes last; a directory that only it describes looks like there all the same."""
    image = image_of(
        layer(("./", 0o755, 0), ("a/", 0o710, 5), ("old", 0o644, 0)),
        layer(("a/b/c", 0o600, 6), (".wh.old", 0o600, 0)),
        layer(("top", 0o644, 0)),
    )

    async def story(registry: LyingRegistry) -> None:
        client = await empty_manager.client()
        held = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wait(_request: Request, _data: bytes) -> bool:
            asyncio.run_coroutine_threadsafe(held.wait(), loop).result(60)
            return False

        registry.lies[image.layers[0]] = wait
        name = f"{registry.name}/some/app:latest"
        pulling = asyncio.create_task(client.transfer.pull(Place(name), name, HERE, "overlayfs", quiet))
        second = await until(unpacked(empty_manager, "a/b/c"))
        await until(unpacked(empty_manager, "top"))
        assert await kinds(client) == ["active", "active"]
        held.set()
        await pulling
        assert await kinds(client) == ["committed"] * 3
        parent = (second.parent.parent).stat()
        assert (stat.S_IMODE(parent.st_mode), parent.st_uid, parent.st_mtime) == (0o710, 5, 7)
        view = await client.snapshots.view("look", (await top(client)), {})
        lowers = next(one for one in view[0].options if one.startswith("lowerdir="))
        assert [sorted(os.listdir(one)) for one in lowers.removeprefix("lowerdir=").split(":")] == [
            ["top"], ["a", "old"], ["a", "old"],
        ]  # fmt: skip
        await client.close()

    with LyingRegistry(image) as registry:
        loop(story(registry))


async def top(client: Client) -> str:
    """The name of the snapshot that none lies on."""
    found = await client.snapshots.list()
    return next(one.name for one in found if one.name not in {other.parent for other in found})


def archive(image: Sample, *, more: bytes = b"") -> tuple[bytes, bytes]:
    """An OCI layout of the image, layers first: (the layers and `more`, all that says what they are)."""
    layers, rest = io.BytesIO(), io.BytesIO()
    index = {"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image.manifest,
        "size": len(image.blobs[image.manifest]), "annotations": {"io.containerd.image.name": "localhost/early:latest"},
    }]}  # fmt: skip
    with tarfile.open(fileobj=layers, mode="w") as out:
        for digest in image.layers:
            put(out, f"blobs/sha256/{digest[7:]}", image.blobs[digest])
        if more:
            put(out, "more", more)
        front = out.offset
    with tarfile.open(fileobj=rest, mode="w") as out:
        for digest in (image.config, image.manifest):
            put(out, f"blobs/sha256/{digest[7:]}", image.blobs[digest])
        put(out, "index.json", json.dumps(index).encode())
        put(out, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    return layers.getvalue()[:front], rest.getvalue()


def put(out: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    out.addfile(member, io.BytesIO(data))


async def sent(first: bytes, held: asyncio.Future[bytes]) -> AsyncIterator[bytes]:
    """The first part, and what the future brings."""
    for at in range(0, len(first), 1 << 18):
        yield first[at : at + (1 << 18)]
    yield await held


def test_an_archive_is_unpacked_while_it_arrives(empty_manager: PrivateManager) -> None:
    image = sample(2 * WORTH, 10, 2 * WORTH)
    layers, rest = archive(image)

    async def story() -> None:
        client = await empty_manager.client()
        held: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        loading = asyncio.create_task(client.transfer.load(sent(layers, held), [HERE], "overlayfs", quiet))
        early = [await until(unpacked(empty_manager, name)) for name in ("file-0", "file-2")]
        inodes = [one.stat().st_ino for one in early]
        assert await kinds(client) == ["active", "active"]
        assert await client.images.list() == []
        held.set_result(rest)
        await loading
        assert "localhost/early:latest" in [one.name for one in await client.images.list()]
        assert await kinds(client) == ["committed"] * 3
        assert [one.stat().st_ino for one in early] == inodes
        assert [one.stat().st_size for one in early] == [2 * WORTH] * 2
        await client.close()

    loop(story())


def test_what_was_unpacked_for_nothing_goes(empty_manager: PrivateManager) -> None:
    """A member that is no layer of the image, damaged even; then the sender who goes away; then the same image again."""
    image, other = sample(2 * WORTH), sample(3 * WORTH)
    wrong = other.blobs[other.layers[0]][: 2 * WORTH]
    layers, rest = archive(image, more=wrong)

    async def load(first: bytes, then: bytes | Exception) -> None:
        client = await empty_manager.client()
        held: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        loading = asyncio.create_task(client.transfer.load(sent(first, held), [HERE], "overlayfs", quiet))
        if isinstance(then, Exception):
            await until(unpacked(empty_manager, "file-0"))
            held.set_exception(then)
        else:
            held.set_result(then)
        await loading

    async def story() -> None:
        client = await empty_manager.client()
        with pytest.raises(ConnectionError, match="gone"):
            await load(layers, ConnectionError("gone"))
        async with asyncio.timeout(30):
            while await client.snapshots.list():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        with pytest.raises(InvalidArgument):
            await load(layers, b"\1" * 1024)
        assert await client.snapshots.list() == []
        for _time in range(2):
            await load(layers, rest)
            assert await kinds(client) == ["committed"]
        await client.close()

    loop(story())
