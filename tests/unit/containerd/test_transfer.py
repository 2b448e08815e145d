"""Transfers without a client: names of an archive's images, what an image is made of, streams and their windows."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest
from google.protobuf.any_pb2 import Any

from hakobune.containerd.streaming import binary
from hakobune.containerd.streaming.streams import Streams
from hakobune.containerd.transfer import naming, tree, unpacking
from hakobune.containerd.wire import pack
from hakobune.errors import AlreadyExists, InvalidArgument, NotFound, Unavailable
from hakobune.proto.transfer_types_pb2 import Data, ImageReference, ImageStore, Progress, WindowUpdate

DIGEST = "sha256:" + "a" * 64
FULL, SHORT = naming.FULL, naming.SHORT


@pytest.mark.parametrize(
    ("asked", "annotations", "names"),
    [
        ({"name": "import-1", "allow_overwrite": True}, {FULL: "docker.io/library/a:1", SHORT: "1"}, ["docker.io/library/a:1"]),
        ({"name": "import-1", "allow_overwrite": True}, {SHORT: "1"}, ["import-1:1"]),
        ({"name": "import-1", "allow_overwrite": True}, {}, []),
        ({"name": "ex.test/a"}, {FULL: "ex.test/a:2"}, ["ex.test/a:2"]),
        ({"name": "ex.test/a"}, {FULL: "ex.test/ab:2"}, []),
        ({"name": "ex.test/a"}, {SHORT: "v1"}, ["ex.test/a:v1"]),
        ({"name": "ex.test/a", "add_digest": True}, {SHORT: "v1"}, ["ex.test/a:v1", f"ex.test/a@{DIGEST}"]),
        ({"name": "ex.test/a", "add_digest": True, "skip_named_digest": True}, {SHORT: "v1"}, ["ex.test/a:v1"]),
        ({"name": "ex.test/a", "add_digest": True, "skip_named_digest": True}, {}, [f"ex.test/a@{DIGEST}"]),
    ],
)  # fmt: skip
def test_names_of_an_archive(asked: dict[str, object], annotations: dict[str, str], names: list[str]) -> None:
    store = ImageStore(extra_references=[ImageReference(is_prefix=True, **asked)])  # type: ignore[arg-type]
    assert naming.of_archive(store, annotations, DIGEST) == names


def test_names_of_one_image() -> None:
    store = ImageStore(name="a:1", extra_references=[
        ImageReference(name="b:2"), ImageReference(name="c", is_prefix=True, add_digest=True),
        ImageReference(name="d", is_prefix=True),
    ])  # fmt: skip
    assert naming.of_whole(store, DIGEST) == ["a:1", "b:2", f"c@{DIGEST}"]


def test_short_names() -> None:
    assert naming.short_name("localhost:5000/a:v1") == "v1"
    assert naming.short_name("localhost:5000/a") == "localhost:5000/a"
    assert naming.short_name(f"ex.test/a@{DIGEST}") == f"ex.test/a@{DIGEST}"


def test_children_by_platform() -> None:
    def manifest(at: int, **platform: str) -> dict[str, object]:
        made = {"mediaType": tree.DOCKER_MANIFEST, "digest": f"sha256:{at}", "size": at}
        return made | ({"platform": platform} if platform else {})

    found = tree.children({"manifests": [
        manifest(1, os="linux", architecture="arm64", variant="v8"), manifest(2, os="linux", architecture="amd64"),
        manifest(3),
    ]})  # fmt: skip
    wanted = [tree.Platform.of("linux", "aarch64")]
    assert [child.size for child in tree.chosen(found, wanted)] == [1, 3]
    assert [child.size for child in tree.chosen(found, [])] == [1, 2, 3]
    index = tree.Node(tree.INDEX, DIGEST, 1)
    assert tree.labels(index, found)["containerd.io/gc.ref.content.m.2"] == "sha256:3"


@pytest.mark.parametrize(
    "document", [{}, [], None, {"config": {}}, {"manifests": [1]}, {"config": 1, "layers": 2}]
)
def test_no_image(document: object) -> None:
    with pytest.raises(InvalidArgument):
        tree.children(document)


def test_chain_ids() -> None:
    assert unpacking.chain("", "sha256:a") == "sha256:a"
    # image-spec: ChainID(A|B) = Digest(ChainID(A) + " " + DiffID(B))
    assert unpacking.chain("sha256:a", "sha256:b") == (
        "sha256:" + hashlib.sha256(b"sha256:a sha256:b").hexdigest()
    )


async def each(*messages: Any) -> AsyncIterator[Any]:
    for message in messages:
        yield message


def test_bytes_come_through_and_open_the_window() -> None:
    async def body() -> None:
        streams = Streams()
        with streams.opened("n", "s") as stream:
            assert streams.get("n", "s") is stream
            with pytest.raises(AlreadyExists), streams.opened("n", "s"):
                pass
            with pytest.raises(NotFound):
                streams.get("other", "s")
            sent = [pack(Data(data=bytes(binary.PIECE))) for _ in range(5)]
            pumping = asyncio.ensure_future(stream.pump(each(*sent)))
            got = [part async for part in binary.read(stream)]
            stream.close()
            await pumping
            assert sum(map(len, got)) == 5 * binary.PIECE
            windows = [message async for message in stream.outgoing()]
            assert [WindowUpdate.FromString(one.value).update for one in windows] == [
                binary.WINDOW, 4 * binary.PIECE,
            ]  # fmt: skip

    asyncio.run(body())


def test_a_writer_sends_no_more_than_the_window() -> None:
    async def body() -> None:
        with Streams().opened("n", "s") as stream:
            await stream.pump(each(pack(WindowUpdate(update=3)), pack(WindowUpdate(update=2))))
            await binary.writer(stream)(b"abcde")
            stream.close()
            got = [Data.FromString(message.value).data async for message in stream.outgoing()]
            assert got == [b"abc", b"de"]

    asyncio.run(body())


def test_a_client_that_goes_wakes_both_sides() -> None:
    async def body() -> None:
        with Streams().opened("n", "s") as stream:
            reading = asyncio.ensure_future(stream.receive())
            full = [asyncio.ensure_future(stream.send(Data(data=b"x"))) for _ in range(9)]
            await asyncio.sleep(0)
        assert await reading is None
        with pytest.raises(Unavailable):
            await stream.send(Data(data=b"x"))
        with pytest.raises(Unavailable):
            await binary.writer(stream)(b"x")
        await asyncio.wait_for(asyncio.gather(*full, return_exceptions=True), 5)
        stream.close()

    asyncio.run(body())


def test_what_is_not_data_is_refused() -> None:
    async def body() -> None:
        with Streams().opened("n", "s") as stream:
            await stream.pump(each(pack(Progress(event="x"))))
            with pytest.raises(InvalidArgument):
                _ = [part async for part in binary.read(stream)]

    asyncio.run(body())
