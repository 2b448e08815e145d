"""Content, images, snapshots, leases and what the collector does with them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hakobune.containerd.client import Client, Container, Image
from hakobune.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from hakobune.proto import content_pb2
from hakobune.spec.descriptor import Descriptor
from hakobune.testing.recipes import LAYER, ROOTED

pytestmark = [pytest.mark.root, pytest.mark.slow]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


async def parts(*data: bytes) -> AsyncIterator[bytes]:
    for part in data:
        yield part


def layer(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def test_a_blob_is_written_read_and_forgotten(run, manager) -> None:
    big = os.urandom(3_000_000)

    async def work(client: Client) -> None:
        digest = digest_of(big)
        written = await client.content.write(
            "big", parts(big[:5], big[5:]), digest=digest, size=len(big), labels=ROOTED
        )
        assert written == (digest, len(big))
        assert await client.content.write("big2", big, digest=digest) == written
        assert await client.content.write("big3", big) == written  # found out at the commit
        assert await client.content.read_all(digest) == big
        info = await client.content.info(digest)
        assert (info.size, info.labels) == (len(big), ROOTED)
        assert (await client.content.update(digest, {"a": "b", **ROOTED})).labels == {"a": "b", **ROOTED}
        assert digest in [found.digest for found in await client.content.list('labels."a"==b')]
        assert await client.content.list("digest==x") == []
        await client.content.delete(digest)
        with pytest.raises(NotFound):
            await client.content.info(digest)
        with pytest.raises(NotFound):
            await client.content.read_all(digest)
        with pytest.raises(InvalidArgument):
            await client.content.info("../../etc/passwd")

    run(work)
    assert not list(Path(manager.root).glob(f"**/blobs/sha256/{digest_of(big)[7:]}"))
    assert not list(Path(manager.root).glob("**/ingest/*"))


def test_a_wrong_digest_and_a_wrong_size_are_refused(run) -> None:
    async def work(client: Client) -> None:
        with pytest.raises(FailedPrecondition, match="unexpected commit digest"):
            await client.content.write("wrong", b"abc", digest=digest_of(b"abd"))
        with pytest.raises(FailedPrecondition, match="unexpected commit size"):
            await client.content.write("wrong", b"abc", size=4)
        digest, size = await client.content.write("wrong", b"abc")  # begins again from the start
        assert (digest, size) == (digest_of(b"abc"), 3)
        await client.content.delete(digest)

    run(work)


def test_one_writer_for_a_ref_and_it_goes_on_later(run) -> None:
    async def work(client: Client) -> None:
        call = client.content._write()
        await call.write(content_pb2.WriteContentRequest(action=content_pb2.WRITE, ref="r", data=b"hello "))
        assert (await call.read()).offset == 6
        with pytest.raises(Unavailable, match="locked"):
            await client.content.write("r", b"x")
        call.cancel()
        await asyncio.sleep(0.1)
        call = client.content._write()
        await call.write(content_pb2.WriteContentRequest(action=content_pb2.STAT, ref="r"))
        assert (await call.read()).offset == 6
        request = content_pb2.WriteContentRequest(
            action=content_pb2.COMMIT, ref="r", offset=6, data=b"world", labels=ROOTED
        )
        await call.write(request)
        assert (await call.read()).digest == digest_of(b"hello world")
        assert await client.content.read_all(digest_of(b"hello world")) == b"hello world"
        await client.content.delete(digest_of(b"hello world"))

    run(work)


def test_layers_are_applied_onto_each_other(run) -> None:
    async def work(client: Client) -> None:
        parent = ""
        for number, data in enumerate((layer(a=b"1", b=b"1"), layer(b=b"2", **{".wh.a": b""}))):
            digest, size = await client.content.write(f"l{number}", data, labels=ROOTED)
            mounts = await client.snapshots.prepare("unpack", parent, ROOTED)
            applied = await client.diff.apply(Descriptor(LAYER, digest, size), mounts)
            assert (applied.digest, applied.size) == (digest, size)
            await client.snapshots.commit(f"layer{number}", "unpack", ROOTED)
            parent = f"layer{number}"
        view = await client.snapshots.view("look", "layer1", ROOTED)
        lowers = next(o for o in view[0].options if o.startswith("lowerdir=")).partition("=")[2].split(":")
        assert (Path(lowers[0]) / "b").read_text() == "2"
        assert (Path(lowers[0]) / "a").is_char_device()
        assert (await client.snapshots.usage("layer1")).inodes == 3
        assert (await client.snapshots.stat("layer1")).parent == "layer0"
        with pytest.raises(FailedPrecondition, match="child"):
            await client.snapshots.remove("layer0")
        with pytest.raises(FailedPrecondition):
            await client.snapshots.mounts("layer1")
        with pytest.raises(AlreadyExists):
            await client.snapshots.prepare("look", "layer1")
        with pytest.raises(NotFound):
            await client.snapshots.prepare("other", "nowhere")
        digest, size = await client.content.write("junk", b"this is no layer" * 100, labels=ROOTED)
        mounts = await client.snapshots.prepare("junk", "", ROOTED)
        with pytest.raises(InvalidArgument):
            await client.diff.apply(Descriptor(LAYER, digest, size), mounts)
        for name in ("look", "layer1", "layer0", "junk"):
            await client.snapshots.remove(name)
        for blob in await client.content.list():
            if blob.size < 20_000:
                await client.content.delete(blob.digest)

    run(work)


def test_images(run) -> None:
    async def work(client: Client) -> None:
        digest, size = await client.content.write("i", b"{}")
        made = await client.images.create(
            Image("docker.io/library/x:1", Descriptor("m", digest, size), {"l": "1"})
        )
        assert made.created_at
        assert await client.images.get(made.name) == made
        with pytest.raises(AlreadyExists):
            await client.images.create(made)
        changed = await client.images.update(Image(made.name, made.target, {"l": "2"}))
        assert (changed.labels, changed.created_at) == ({"l": "2"}, made.created_at)
        assert [image.name for image in await client.images.list("name==docker.io/library/x:1")] == [
            made.name
        ]
        assert await client.images.list("name~=^quay") == []
        with pytest.raises(NotFound):
            await client.images.update(Image("nobody", made.target))
        await client.images.delete(made.name, sync=True)
        with pytest.raises(NotFound):
            await client.content.info(digest)
        with pytest.raises(NotFound):
            await client.images.get(made.name)

    run(work)


def test_the_collector_keeps_what_is_referred_to(run) -> None:
    async def work(client: Client) -> None:
        await client.leases.create("building")
        with client.lease("building"):
            config, config_size = await client.content.write(
                "c", b"config", labels={"containerd.io/gc.ref.snapshot.overlayfs": "top"}
            )
            manifest, manifest_size = await client.content.write(
                "m", b"manifest", labels={"containerd.io/gc.ref.content.config": config}
            )
            loose, _ = await client.content.write("l", b"loose")
            await client.snapshots.prepare("p0", "")
            await client.snapshots.commit("bottom", "p0")
            await client.snapshots.prepare("p1", "bottom")
            await client.snapshots.commit("top", "p1")
        await client.leases.create("other")
        await client.leases.delete("other", sync=True)
        await client.content.info(loose)
        await client.images.create(Image("kept", Descriptor("m", manifest, manifest_size)))
        await client.snapshots.prepare("rw", "bottom")
        await client.containers.create(
            Container("user", spec=b"{}", snapshotter="overlayfs", snapshot_key="rw")
        )
        await client.leases.delete("building", sync=True)
        with pytest.raises(NotFound):
            await client.content.info(loose)
        assert (await client.content.info(config)).size == config_size
        assert {"bottom", "top", "rw"} <= {snapshot.name for snapshot in await client.snapshots.list()}
        await client.images.delete("kept", sync=True)
        names = {snapshot.name for snapshot in await client.snapshots.list()}
        assert "top" not in names
        assert {"bottom", "rw"} <= names
        await client.containers.delete("user")
        for _ in range(40):
            if "bottom" not in {snapshot.name for snapshot in await client.snapshots.list()}:
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("the collector did not come")
        with pytest.raises(NotFound):
            await client.content.info(config)

    run(work)


def test_a_lease_ends_by_itself(run) -> None:
    async def work(client: Client) -> None:
        await client.leases.create("short", {"containerd.io/gc.expire": "2020-01-01T00:00:00Z"})
        with client.lease("short"):
            digest, _ = await client.content.write("s", b"short lived")
        await client.leases.create("x")
        await client.leases.delete("x", sync=True)
        assert "short" not in [lease.id for lease in await client.leases.list()]
        with pytest.raises(NotFound):
            await client.content.info(digest)

    run(work)


def test_namespaces(run, manager) -> None:
    async def work(client: Client) -> None:
        await client.namespaces.create("fresh", {"a": "b"})
        assert (await client.namespaces.get("fresh")).labels == {"a": "b"}
        with pytest.raises(AlreadyExists):
            await client.namespaces.create("fresh")
        with pytest.raises(FailedPrecondition, match="must be empty"):
            await client.namespaces.delete("test")
        await client.namespaces.delete("fresh")
        assert "fresh" not in [space.name for space in await client.namespaces.list()]

    run(work)


def test_events_of_objects_pass_filters(run) -> None:
    async def work(client: Client) -> None:
        chosen = await client.events.open("topic==/containers/create,event.id==yes")
        every = await client.events.open()
        for name in ("no", "yes"):
            await client.containers.create(Container(name, spec=b"{}"))
        assert (await asyncio.wait_for(chosen.__anext__(), 5)).topic == "/containers/create"
        topics = [(await asyncio.wait_for(every.__anext__(), 5)).topic for _ in range(2)]
        assert topics == ["/containers/create"] * 2
        chosen.close()
        every.close()
        with pytest.raises(InvalidArgument):
            await client.events.open("topic=!x")
        for name in ("no", "yes"):
            await client.containers.delete(name)

    run(work)


def test_who_it_is(run) -> None:
    async def work(client: Client) -> None:
        version, _revision = await client.version.get()
        assert version.count(".") == 2

    run(work)


def test_what_survives_kill_9(manager, run) -> None:
    async def before(client: Client) -> str:
        digest, _ = await client.content.write("k", b"kept over kill", labels=ROOTED)
        await client.snapshots.prepare("kept", "starter", ROOTED)
        return digest

    digest = run(before)
    manager.kill()
    stray = Path(manager.root) / "io.containerd.snapshotter.v1.overlayfs/snapshots/99999/fs"
    stray.mkdir(parents=True)
    manager.start()

    async def after(client: Client) -> None:
        assert await client.content.read_all(digest) == b"kept over kill"
        assert (await client.snapshots.stat("kept")).kind == "active"
        await client.snapshots.remove("kept")
        await client.content.delete(digest)

    run(after)
    assert not stray.exists()
