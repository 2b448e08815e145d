"""What can be transferred where: a table of pairs of places.

Each transfer runs under a lease of its own when the caller has none, so nothing that it makes is collected
before it has a name, and what has got none when it fails is collected afterwards: after a while when it was cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from hakobune.containerd.metadata.marking import EXPIRE
from hakobune.containerd.snapshots.snapshotter import Snapshotter
from hakobune.containerd.streaming import binary
from hakobune.containerd.transfer import asking, naming, reading, saving, tree, writing
from hakobune.containerd.transfer.blobs import Blobs
from hakobune.containerd.transfer.deps import Deps, Tell
from hakobune.containerd.transfer.early import Early
from hakobune.containerd.transfer.tree import Node
from hakobune.containerd.wire import type_name, unpack_as
from hakobune.errors import HakoError, NotFound, Unavailable, Unimplemented
from hakobune.proto import transfer_types_pb2 as pb
from hakobune.spec import reference

_LEASE_HOURS = 24
_PLACES = "containerd.types.transfer."


async def transfer(deps: Deps, namespace: str, lease: str, source: Any, destination: Any, tell: Tell) -> None:
    """Do one. Raises Unimplemented for a pair that is not in the table, InvalidArgument, NotFound, Unavailable.

    Cancelled, or failed: names that were given until then stay, the rest is collected.
    """
    pair = (_name(source), _name(destination))
    verb = _PAIRS.get(pair)
    if verb is None:
        raise Unimplemented(f"unable to transfer from {pair[0]} to {pair[1]}: not implemented")
    with _lease(deps, namespace, lease) as held:
        blobs = Blobs(deps.content, deps.exchange, namespace, held)
        await verb(deps, blobs, _read(source), _read(destination), tell)


def _name(place: Any) -> str:
    return type_name(place).removeprefix(_PLACES)


def _read(place: Any) -> Message:
    made: Message = getattr(pb, _name(place))()
    unpack_as(place, made)
    return made


@contextlib.contextmanager
def _lease(deps: Deps, namespace: str, lease: str) -> Iterator[str]:
    """The caller's, or one that lasts as long as the transfer; after a crash it ends by itself."""
    if lease:
        yield lease
        return
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=_LEASE_HOURS)
    made = deps.leases.create(namespace, "", {EXPIRE: end.isoformat(timespec="seconds")}).id
    try:
        yield made
    except (asyncio.CancelledError, Unavailable):
        raise  # a pull that was cut goes on from what it has got; the lease ends by itself
    except BaseException:
        _end_lease(deps, namespace, made)
        raise
    _end_lease(deps, namespace, made)


def _end_lease(deps: Deps, namespace: str, lease: str) -> None:
    with contextlib.suppress(NotFound):
        deps.leases.delete(namespace, lease)
    deps.collector.soon()


# --- archive -> images ---


async def _import(
    deps: Deps, blobs: Blobs, source: pb.ImageImportStream, store: pb.ImageStore, tell: Tell
) -> None:
    if source.force_compress:
        raise Unimplemented("layers of an archive cannot be compressed on import yet")
    await tell("Importing", "", None)
    async with Early(blobs, _only(deps, store)) as early:
        stream = deps.streams.get(blobs.namespace, source.stream)
        try:
            index = await reading.read(blobs, binary.read(stream), early)
        finally:
            stream.close()
        listed: list[Node] = []
        manifests: list[Node] = []
        for here, found in reading.walk(blobs, index, tree.platforms_of(store.platforms)):
            listed += found if here.digest == index.digest else []
            manifests += [here] if here.is_manifest else []
        await saving.unpack(deps, blobs, store, manifests, early)
    named = [(name, index) for name in naming.of_whole(store, index.digest)]
    named += [(name, one) for one in listed for name in naming.of_archive(store, one.annotations, one.digest)]
    for name, target in named:
        saving.save(deps, blobs.namespace, name, target.message(), store)
        await tell("saved", name, target)
    await tell("Completed import", "", None)


def _only(deps: Deps, store: pb.ImageStore) -> Snapshotter | None:
    """The one that all layers are unpacked with."""
    names = {one.snapshotter for one in store.unpacks}
    return deps.snapshotters.of(names.pop()) if len(names) == 1 else None


# --- images -> archive ---


async def _export(
    deps: Deps, blobs: Blobs, store: pb.ImageStore, destination: pb.ImageExportStream, tell: Tell
) -> None:
    await tell("Exporting", "", None)
    stream = deps.streams.get(blobs.namespace, destination.stream)
    try:
        found = [deps.images.get(blobs.namespace, name) for name in naming.sources(store)]
        wanted = writing.Wanted(
            () if destination.all_platforms else tuple(tree.platforms_of(destination.platforms)),
            not destination.skip_compatibility_manifest,
            destination.skip_non_distributable,
        )
        named = [(image.name, tree.from_message(image.target)) for image in found]
        await writing.write(blobs, named, wanted, binary.writer(stream))
        await stream.finish()  # ctr ends with the call's answer, whatever is still on its way
    finally:
        stream.close()
    await tell("Completed export", "", None)


# --- image -> image ---


async def _tag(deps: Deps, blobs: Blobs, source: pb.ImageStore, store: pb.ImageStore, _tell: Tell) -> None:
    target = deps.images.get(blobs.namespace, source.name).target
    names = naming.of_whole(store, target.digest)
    if not names:
        raise NotFound("no image name found: not found")
    for name in names:
        saving.save(deps, blobs.namespace, name, target, store)


# --- registries ---


async def _pull(deps: Deps, blobs: Blobs, source: pb.OCIRegistry, store: pb.ImageStore, tell: Tell) -> None:
    from hakobune.containerd.transfer import pulling  # with all that speaks HTTP: a megabyte for who needs it

    async with asking.access(deps.streams, blobs.namespace, source) as access:
        await pulling.pull(deps, blobs, reference.parse(source.reference).whole(), access, store, tell)


async def _push(
    deps: Deps, blobs: Blobs, store: pb.ImageStore, destination: pb.OCIRegistry, tell: Tell
) -> None:
    from hakobune.containerd.transfer import pushing

    async with asking.access(deps.streams, blobs.namespace, destination) as access:
        await pushing.push(deps, blobs, reference.parse(destination.reference).whole(), access, store, tell)


_PAIRS: dict[tuple[str, str], Callable[..., Awaitable[None]]] = {
    ("OCIRegistry", "ImageStore"): _pull,
    ("ImageStore", "OCIRegistry"): _push,
    ("ImageImportStream", "ImageStore"): _import,
    ("ImageStore", "ImageExportStream"): _export,
    ("ImageStore", "ImageStore"): _tag,
}


@contextlib.asynccontextmanager
async def progress(deps: Deps, namespace: str, name: str) -> AsyncIterator[Tell]:
    """Tells into the stream `name`, which it closes; "" tells nobody. A client that has gone hears nothing."""
    stream = deps.streams.get(namespace, name) if name else None

    async def tell(
        event: str,
        about: str,
        node: Node | None,
        *,
        progress: int = 0,
        total: int = 0,
        parents: Sequence[str] = (),
    ) -> None:
        if stream is not None:
            said = pb.Progress(
                event=event, name=about, desc=node.message() if node else None, progress=progress, total=total,
                parents=parents,
            )  # fmt: skip
            with contextlib.suppress(HakoError):
                await stream.send(said)

    try:
        yield tell
    finally:
        if stream is not None:
            stream.close()
