"""Images of the engine over a private hako-containerd: made, named, found, listed, removed; nothing is left."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from typing import Any

import pytest

from hakobune.containerd.client import Client
from hakobune.engine.images import document, importing, layer, pull
from hakobune.engine.images.images import Images
from hakobune.engine.images.listing import listing
from hakobune.engine.images.model import Image
from hakobune.engine.images.remove import prune, remove
from hakobune.engine.images.tag import tag
from hakobune.engine.schema.filters import Filters
from hakobune.errors import Conflict, HakoError, InvalidArgument, NotFound, ResourceExhausted
from hakobune.spec.descriptor import Descriptor
from hakobune.testing.manager import PrivateManager
from hakobune.testing.manager import run as loop

pytestmark = pytest.mark.root


class Room:
    """Images over a client, with the events that they told and the containers that the test says there are."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events: list[tuple[str, str]] = []
        self.containers: dict[str, list[tuple[str, bool]]] = {}
        self.images = Images(client, self, lambda image: self.containers.get(image, []))

    def publish(self, kind: str, action: str, actor: str, attributes: Mapping[str, str]) -> None:
        """What the bus does."""
        assert kind == "image"
        self.events.append((action, attributes["name"]))

    async def load(self, data: bytes, name: str = "", **more: Any) -> Image:
        """Import an archive."""
        asked = importing.wanted(
            name, more.get("tag", ""), more.get("message", ""), more.get("changes", ()), ""
        )
        return await importing.load(self.images, asked, parts(data))

    async def left(self) -> tuple[int, int, int, int]:
        """How many blobs, snapshots, names and leases there are."""
        blobs, snapshots = await self.client.content.list(), await self.client.snapshots.list()
        return (
            len(blobs),
            len(snapshots),
            len(await self.client.images.list()),
            len(await self.client.leases.list()),
        )


async def parts(data: bytes) -> AsyncIterator[bytes]:
    """As a request's body comes."""
    for at in range(0, len(data), 1000):
        yield data[at : at + 1000]


def archive(**files: str) -> bytes:
    """A tar of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


Work = Callable[[Room], Coroutine[Any, Any, Any]]


@pytest.fixture(scope="module")
def manager() -> Iterator[PrivateManager]:
    made = PrivateManager()
    made.start()
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def run(manager: PrivateManager, request: pytest.FixtureRequest) -> Callable[[Work], Any]:
    """`run(async function of a Room)` in a namespace of the test's own."""

    def runner(work: Work) -> Any:
        async def body() -> Any:
            client = await manager.client(f"t{abs(hash(request.node.name))}")
            try:
                return await work(Room(client))
            finally:
                await client.close()

        return loop(body())

    return runner


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_an_import_in_any_compression(run: Callable[[Work], Any], pack: Callable[[bytes], bytes]) -> None:
    async def story(room: Room) -> None:
        image = await room.load(
            pack(archive(hello="world")), "box", changes=['CMD ["sh"]', "ENV A=b"], message="me"
        )
        assert image.id.startswith("sha256:")
        assert image.chain == image.config["rootfs"]["diff_ids"][0]
        assert image.config["config"] == {"Cmd": ["sh"], "Env": ["A=b"]}
        for text in ("box", "box:latest", "docker.io/library/box", image.id, image.id[7:], image.id[7:19]):
            assert (await room.images.resolve(text)).id == image.id
        assert await room.left() == (3, 1, 1, 0)
        snapshot = await room.client.snapshots.stat(image.chain)
        assert snapshot.kind == "committed"
        assert room.events == [("import", image.id), ("tag", "box:latest")]
        assert (await remove(room.images, "box", force=False))[-1] == {"Deleted": image.chain}
        assert await room.left() == (0, 0, 0, 0)

    run(story)


def test_an_import_without_a_name(run: Callable[[Work], Any]) -> None:
    async def story(room: Room) -> None:
        image = await room.load(archive(a="1"))
        assert [one.names for one in await room.images.every()] == [()]
        assert (await room.images.resolve(image.id)).id == image.id
        await tag(room.images, image.id[7:15], "some/where", "v1")
        assert [one.names for one in await room.images.every()] == [("some/where:v1",)]
        assert (await room.left())[2] == 1

    run(story)


def test_no_archive_leaves_nothing(run: Callable[[Work], Any]) -> None:
    async def story(room: Room) -> None:
        for junk in (b"", b"hello world" * 500, gzip.compress(b"no tar" * 500), archive(a="1" * 2000)[:1500]):
            with pytest.raises(InvalidArgument):
                await room.load(junk, "junk")
        assert await room.left() == (0, 0, 0, 0)
        assert room.events == []

    run(story)


def test_a_full_disk_or_a_client_that_goes_leave_nothing(
    run: Callable[[Work], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(room: Room) -> None:
        async def full(descriptor: Descriptor, mounts: Any) -> Descriptor:
            raise ResourceExhausted("apply layer: no space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(room.client.diff, "apply", full)
            with pytest.raises(ResourceExhausted, match="no space left on device"):
                await room.load(archive(a="1"), "full")
        assert await room.left() == (0, 0, 0, 0)

        async def endless() -> AsyncIterator[bytes]:
            yield archive(a="1")
            await asyncio.sleep(60)

        asked = importing.wanted("gone", "", "", (), "")
        task = asyncio.create_task(importing.load(room.images, asked, endless()))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await room.left() == (0, 0, 0, 0)

    run(story)


def test_the_same_layer_twice(run: Callable[[Work], Any]) -> None:
    async def story(room: Room) -> None:
        first, second = await asyncio.gather(
            room.load(archive(a="1"), "one", message="one"), room.load(archive(a="1"), "two", message="two")
        )
        assert first.id != second.id
        assert first.chain == second.chain
        assert await room.left() == (5, 1, 2, 0)
        gone = await remove(room.images, "one", force=False)
        assert gone == [{"Untagged": "one:latest"}, {"Deleted": first.id}]
        assert await room.left() == (3, 1, 1, 0)
        assert (await room.images.resolve("two")).chain == second.chain

    run(story)


def test_a_name_moves_and_the_old_image_stays_without_one(run: Callable[[Work], Any]) -> None:
    async def story(room: Room) -> None:
        old = await room.load(archive(a="1"), "box")
        new = await room.load(archive(a="2"), "box")
        assert (await room.images.resolve("box")).id == new.id
        assert {one.id: one.names for one in await room.images.every()} == {
            old.id: (),
            new.id: ("box:latest",),
        }
        found = await listing(room.images, Filters({"dangling": ("true",)}))
        assert [one.id for one in found] == [old.id]
        answer = await prune(room.images, Filters())
        assert answer["ImagesDeleted"] == [{"Deleted": old.id}, {"Deleted": old.chain}]
        assert answer["SpaceReclaimed"] == old.size
        assert await room.left() == (3, 1, 1, 0)
        room.containers[new.id] = [("c" * 64, False)]
        assert (await prune(room.images, Filters({"dangling": ("false",)})))["ImagesDeleted"] is None
        room.containers.clear()
        assert (await prune(room.images, Filters({"dangling": ("false",)})))["ImagesDeleted"][0] == {
            "Untagged": "box:latest"
        }
        assert await room.left() == (0, 0, 0, 0)

    run(story)


def test_conflicts_of_removal(run: Callable[[Work], Any]) -> None:
    async def story(room: Room) -> None:
        image = await room.load(archive(a="1"), "box")
        short, user = image.id[7:19], "c" * 64
        room.containers[image.id] = [(user, True)]
        with pytest.raises(Conflict) as failure:
            await remove(room.images, "box", force=False)
        assert str(failure.value) == (
            'conflict: unable to remove repository reference "box" (must force) - container '
            f"{user[:12]} is using its referenced image {short}"
        )
        with pytest.raises(
            Conflict, match=r"\(cannot be forced\) - image is being used by running container c"
        ):
            await remove(room.images, short, force=True)
        assert await remove(room.images, "box", force=True) == [{"Untagged": "box:latest"}]
        assert (await room.images.resolve(short)).id == image.id
        room.containers[image.id] = [(user, False)]
        with pytest.raises(
            Conflict, match=r"\(must be forced\) - image is being used by stopped container c"
        ):
            await remove(room.images, short, force=False)
        assert await remove(room.images, short, force=True) == [{"Deleted": image.id}]
        with pytest.raises(NotFound, match=f"No such image: {short}"):
            await remove(room.images, short, force=True)

    run(story)


def test_several_names_and_their_ends(run: Callable[[Work], Any]) -> None:
    async def story(room: Room) -> None:
        image = await room.load(archive(a="1"), "box")
        await tag(room.images, "box", "host:5000/other", "v2")
        await tag(room.images, "box:latest", "third", "")
        with pytest.raises(Conflict, match="image is referenced in multiple repositories"):
            await remove(room.images, image.id, force=False)
        assert await remove(room.images, "third", force=False) == [{"Untagged": "third:latest"}]
        gone = await remove(room.images, image.id[7:19], force=True)
        assert gone == [{"Untagged": "box:latest"}, {"Untagged": "host:5000/other:v2"}, {"Deleted": image.id},
                        {"Deleted": image.chain}]  # fmt: skip
        assert [action for action, _ in room.events] == [
            "import",
            "tag",
            "tag",
            "tag",
            "untag",
            "untag",
            "untag",
            "delete",
        ]
        for bad in ("UPPER", "a b", "x@sha256:" + "a" * 64):
            with pytest.raises(InvalidArgument):
                await tag(room.images, "box", bad, "")

    run(story)


def test_a_stopped_containers_layer_outlives_its_image(run: Callable[[Work], Any]) -> None:
    async def story(room: Room) -> None:
        image = await room.load(archive(a="1"), "box")
        await room.client.snapshots.prepare("container", image.chain, {"containerd.io/gc.root": "1"})
        room.containers[image.id] = [("c" * 64, False)]
        await remove(room.images, "box", force=True)
        assert {one.name for one in await room.client.snapshots.list()} == {"container", image.chain}

    run(story)


def test_filters_and_documents(run: Callable[[Work], Any]) -> None:
    async def story(room: Room) -> None:
        first = await room.load(archive(a="1"), "team/one", changes=["LABEL a=b"])
        second = await room.load(archive(a="22"), "two", tag="v1")

        async def names(**wanted: tuple[str, ...]) -> list[str]:
            return [name for one in await listing(room.images, Filters(wanted)) for name in one.names]

        assert await names() == ["two:v1", "team/one:latest"]
        assert await names(reference=("*",)) == ["two:v1"]
        assert await names(reference=("team/*", "two:v?")) == ["two:v1", "team/one:latest"]
        assert await names(label=("a=b",)) == ["team/one:latest"]
        assert await names(before=("two:v1",)) == ["team/one:latest"]
        assert await names(since=("team/one",)) == ["two:v1"]
        assert await names(until=("1h",)) == []
        with pytest.raises(InvalidArgument, match="invalid filter 'foo'"):
            await names(foo=("1",))
        with pytest.raises(NotFound, match="No such image: nope:latest"):
            await names(since=("nope",))
        shown = document.inspect(await room.images.complete(first), (1, 51))
        assert shown["RepoTags"] == ["team/one:latest"]
        assert shown["RepoDigests"] == [f"team/one@{first.content.target.digest}"]
        assert shown["Config"]["Labels"] == {"a": "b"}
        assert shown["Comment"] == "Imported from -"
        assert shown["RootFS"] == {"Type": "layers", "Layers": [first.chain]}
        assert (await room.images.resolve(shown["RepoDigests"][0])).id == first.id
        (step,) = document.history(second)
        assert step["Id"] == second.id
        assert step["Size"] == second.size > 0
        json.dumps([shown, step, document.summary(second)])

    run(story)


def test_the_starter_is_made_once_on_demand(run: Callable[[Work], Any]) -> None:
    async def story(room: Room) -> None:
        with pytest.raises(NotFound):
            await room.images.find("hako/starter")
        names = ("hako/starter", "hako/starter:latest", "docker.io/hako/starter")
        found = await asyncio.gather(*(room.images.resolve(name) for name in names))
        assert len({one.id for one in found}) == 1
        assert await room.left() == (3, 1, 1, 0)
        assert room.events == [("pull", "hako/starter")]
        assert found[0].config["config"]["Cmd"] == ["/bin/sh"]
        assert any(one.startswith("PATH=") for one in found[0].config["config"]["Env"])
        with pytest.raises(NotFound, match="No such image: hako/starter:v2"):
            await room.images.resolve("hako/starter:v2")
        await remove(room.images, "hako/starter", force=False)
        lines = [json.loads(one) async for one in pull.starter(room.images)]
        assert lines[0] == {"status": "Pulling from hako/starter", "id": "latest"}
        assert lines[-1]["status"] == "Status: Downloaded newer image for hako/starter:latest"
        lines = [json.loads(one) async for one in pull.starter(room.images)]
        assert lines[-1]["status"] == "Status: Image is up to date for hako/starter:latest"

    run(story)


def test_one_who_asked_for_the_starter_and_left_spoils_it_for_nobody(run: Callable[[Work], Any]) -> None:
    async def story(room: Room) -> None:
        first = asyncio.create_task(room.images.resolve("hako/starter"))
        await asyncio.sleep(0.02)
        second = asyncio.create_task(room.images.resolve("hako/starter"))
        await asyncio.sleep(0.02)
        first.cancel()
        assert (await second).size > 0
        assert (await room.left())[3] == 0

    run(story)


def test_resolving_again_costs_nothing(run: Callable[[Work], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(room: Room) -> None:
        image = await room.load(archive(a="1"), "box")
        calls = []
        get = room.client.images.get

        async def counted(name: str) -> Any:
            calls.append(name)
            return await get(name)

        monkeypatch.setattr(room.client.images, "get", counted)
        for _ in range(100):
            assert (await room.images.resolve("box")).id == image.id
        assert calls == []
        await room.client.images.delete("docker.io/library/box:latest", sync=True)  # somebody else did
        room.images.catalogue._records.clear()
        with pytest.raises(NotFound):
            await room.images.resolve("box")
        with pytest.raises(HakoError):
            await room.images.resolve(image.id)

    run(story)


def test_a_lease_holds_what_has_no_name_yet(run: Callable[[Work], Any]) -> None:
    async def story(room: Room) -> None:
        async with layer.lease(room.client):
            made = await layer.add(room.client, parts(archive(a="1")))
            assert await room.left() == (1, 1, 0, 1)
            info = await room.client.content.info(made.blob.digest)
            assert info.labels["containerd.io/uncompressed"] == made.diff
        assert await room.left() == (0, 0, 0, 0)

    run(story)
