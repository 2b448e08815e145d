"""Pulls that are cut, killed, shared, lied to and run out of disk: nothing half visible, and the next one goes on."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hakobune
from hakobune.containerd.client import Client
from hakobune.containerd.client.transfer import Place, Platform, Progress
from hakobune.errors import DataLoss, HakoError, ResourceExhausted
from hakobune.testing.manager import PrivateManager
from hakobune.testing.manager import run as loop
from hakobune.testing.registry import LyingRegistry, Request, sample

pytestmark = [pytest.mark.root, pytest.mark.slow]

SIZE = 6_000_000
HALF = 3_000_000


@pytest.fixture
def manager(empty_manager: PrivateManager) -> PrivateManager:
    return empty_manager


@pytest.fixture
def registry() -> Iterator[LyingRegistry]:
    with LyingRegistry(sample(SIZE)) as made:
        yield made


class Gate:
    """A lie that sends what is asked for in pieces: up to `first`, and the rest when it is let."""

    def __init__(self, *stops: int) -> None:
        self._stops = stops
        self.let = [threading.Event() for _ in stops]
        self.gone = threading.Event()  # the client went in the middle

    def __call__(self, request: Request, data: bytes) -> bool:
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(data) - start))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.end_headers()
        try:
            at = start
            for stop, let in zip(self._stops, self.let, strict=True):
                request.wfile.write(data[at : max(stop, at)])
                at = max(stop, at)
                let.wait(60)
            request.wfile.write(data[at:])
        except OSError:
            self.gone.set()
        return True

    def open(self) -> None:
        """Let all of it go."""
        for let in self.let:
            let.set()


async def quiet(_said: Progress) -> None:
    """Listens and says nothing."""


async def pull(client: Client, registry: LyingRegistry, told: Any = quiet) -> None:
    name = f"{registry.name}/some/app:latest"
    await client.transfer.pull(Place(name), name, Platform("linux", "amd64"), "overlayfs", told)


async def until(condition: Any) -> None:
    """Until it is true; the test's own time is the limit."""
    while True:
        if condition():
            return
        await asyncio.sleep(0.01)


def part_on_disk(manager: PrivateManager) -> list[Path]:
    """The files of writes under way."""
    return list(Path(manager.root, "io.containerd.content.v1.content", "ingest").iterdir())


async def half(manager: PrivateManager) -> None:
    """Until half of the layer is on disk."""
    await until(lambda: any(file.stat().st_size >= HALF - (1 << 20) for file in part_on_disk(manager)))


async def whole(client: Client, registry: LyingRegistry) -> None:
    """The image is there, with every byte."""
    assert [one.name for one in await client.images.list()] == [f"{registry.name}/some/app:latest"]
    for digest, data in registry.image.blobs.items():
        assert await client.content.read_all(digest) == data
    assert [one.name for one in await client.snapshots.list()] == list(registry.image.layers)


async def nothing(client: Client) -> None:
    """No names and no snapshots."""
    assert await client.images.list() == []
    assert await client.snapshots.list() == []


async def undone(client: Client) -> None:
    """No name; what was being unpacked goes as soon as the manager has heard that nobody waits."""
    assert await client.images.list() == []
    async with asyncio.timeout(10):
        while True:
            if not await client.snapshots.list():
                return
            await asyncio.sleep(0.01)


def ranges(registry: LyingRegistry) -> list[str]:
    """Of the layer's requests."""
    return [headers.get("Range", "") for headers in registry.asked(registry.image.layers[0])]


def test_killed_in_the_middle(manager: PrivateManager, registry: LyingRegistry) -> None:
    gate = registry.lies[registry.image.layers[0]] = Gate(HALF)

    async def begin() -> None:
        client = await manager.client()
        pulling = asyncio.create_task(pull(client, registry))
        await half(manager)
        manager.kill()
        with pytest.raises(HakoError):
            await pulling
        await client.close()

    async def again() -> None:
        client = await manager.client()
        await nothing(client)
        await pull(client, registry)
        await whole(client, registry)
        await client.close()

    loop(begin())
    gate.open()
    manager.start()
    loop(again())
    first, second = ranges(registry)
    assert first == ""
    assert int(second.removeprefix("bytes=").partition("-")[0]) >= HALF - (1 << 20), (
        "what was on disk is not fetched again"
    )


POINTS = sorted(
    name
    for path in Path(hakobune.__file__).parent.glob("containerd/transfer/*.py")
    for name in re.findall(r'\breach\("([^"]+)"\)', path.read_text())
)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_each_step(point: str, registry: LyingRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAKOBUNE_FAILPOINT", point)
    manager = PrivateManager()

    async def begin() -> None:
        client = await manager.client()
        with pytest.raises(HakoError):
            await pull(client, registry)
        await client.close()

    async def again() -> None:
        client = await manager.client()
        assert await client.images.list() == []
        await pull(client, registry)
        await whole(client, registry)
        await client.close()

    try:
        manager.start()
        loop(begin())
        assert manager.wait() == -signal.SIGKILL
        monkeypatch.delenv("HAKOBUNE_FAILPOINT")
        manager.start()
        loop(again())
    finally:
        manager.end()


def test_a_part_that_was_damaged_is_fetched_again(manager: PrivateManager, registry: LyingRegistry) -> None:
    gate = registry.lies[registry.image.layers[0]] = Gate(HALF)

    async def begin() -> None:
        client = await manager.client()
        pulling = asyncio.create_task(pull(client, registry))
        await half(manager)
        manager.kill()
        with pytest.raises(HakoError):
            await pulling
        await client.close()

    async def again() -> None:
        client = await manager.client()
        await pull(client, registry)
        await whole(client, registry)
        await client.close()

    loop(begin())
    gate.open()
    (part,) = part_on_disk(manager)
    with part.open("r+b") as file:
        file.seek(1000)
        file.write(bytes(1000))
    manager.start()
    loop(again())
    assert ranges(registry)[-1] == ""


def test_cancelled_it_goes_on_later(manager: PrivateManager, registry: LyingRegistry) -> None:
    gate = registry.lies[registry.image.layers[0]] = Gate(HALF)

    async def story() -> None:
        client = await manager.client()
        pulling = asyncio.create_task(pull(client, registry))
        await half(manager)
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
        await undone(client)
        gate.open()
        await until(gate.gone.is_set)  # the registry's side: nobody listens
        await pull(client, registry)
        await whole(client, registry)
        await client.close()

    loop(story())
    assert len(ranges(registry)) == 2
    assert ranges(registry)[1].startswith("bytes=")


def test_two_share_the_work(manager: PrivateManager, registry: LyingRegistry) -> None:
    """The first one goes away in the middle: the other one has it all, and the registry was asked once."""
    gate = registry.lies[registry.image.layers[0]] = Gate(1_000_000, HALF)
    heard: list[str] = []

    async def told(said: Progress) -> None:
        heard.append(said.event)

    async def story() -> None:
        client, other = await manager.client(), await manager.client()
        first = asyncio.create_task(pull(client, registry))
        await until(lambda: ranges(registry))
        second = asyncio.create_task(pull(other, registry, told))
        await until(lambda: "waiting" in heard)
        gate.let[0].set()
        await until(lambda: "downloading" in heard)  # it listens
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.open()
        await second
        await whole(other, registry)
        await client.close()
        await other.close()

    loop(story())
    assert ranges(registry) == [""]


def test_two_unpack_it_once(manager: PrivateManager, registry: LyingRegistry) -> None:
    """The second one waits for the snapshot that the first one makes."""
    extracted: list[str] = []

    async def told(said: Progress) -> None:
        if said.event == "extracting":
            extracted.append(said.name)

    async def story() -> None:
        clients = [await manager.client() for _ in range(3)]
        await asyncio.gather(*(pull(client, registry, told) for client in clients))
        await whole(clients[0], registry)
        for client in clients:
            await client.close()

    loop(story())
    assert len(extracted) == 1
    assert len(ranges(registry)) == 1


def test_other_bytes_are_refused_and_forgotten(manager: PrivateManager, registry: LyingRegistry) -> None:
    layer = registry.image.layers[0]
    registry.lies[layer] = lambda request, data: request.reply(200, b"x" + data[1:]) or True

    async def story() -> None:
        client = await manager.client()
        with pytest.raises(DataLoss, match="verification failed for digest"):
            await pull(client, registry)
        await nothing(client)
        assert part_on_disk(manager) == []
        del registry.lies[layer]
        await pull(client, registry)
        await whole(client, registry)
        await client.close()

    loop(story())


def test_a_full_disk(registry: LyingRegistry) -> None:
    manager = PrivateManager()
    os.mkdir(manager.root)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", manager.root], check=True)

    async def story() -> None:
        client = await manager.client()
        with pytest.raises(ResourceExhausted, match=r"(?i)no space left on device"):
            await pull(client, registry)
        await nothing(client)
        assert part_on_disk(manager) == []
        with LyingRegistry(sample(1000)) as small:
            await pull(client, small)
            await whole(client, small)
        await client.close()

    try:
        manager.start()
        loop(story())
    finally:
        try:
            manager.end()
        finally:
            subprocess.run(["umount", "-l", manager.root], check=False, capture_output=True)
            manager.end()


def test_what_was_cut_is_collected_in_the_end(manager: PrivateManager, registry: LyingRegistry) -> None:
    """Its lease has an end of its own: when that is over, and nobody went on, nothing is left."""
    registry.lies[registry.image.layers[0]] = Gate(HALF)

    async def story() -> None:
        client = await manager.client()
        pulling = asyncio.create_task(pull(client, registry))
        await half(manager)
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
        held = await client.leases.list()
        assert len(held) == 1
        assert "containerd.io/gc.expire" in held[0].labels
        assert len(await client.content.list()) == 2  # manifest and configuration
        await client.leases.delete(held[0].id, sync=True)
        assert await client.content.list() == []
        await client.close()

    loop(story())
