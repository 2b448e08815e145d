"""Client of the images service: names for content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.client.connection import Connection, nanoseconds, timestamp
from hakobune.containerd.client.mounts import descriptor_from, descriptor_to
from hakobune.proto import images_pb2 as pb
from hakobune.spec.descriptor import Descriptor

_SERVICE = "containerd.services.images.v1.Images"


@dataclass(frozen=True, slots=True)
class Image:
    """A name and what it stands for; times in nanoseconds since the epoch, 0 for now."""

    name: str
    target: Descriptor
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: int = 0
    updated_at: int = 0


class Images:
    """Raises NotFound for an unknown name, AlreadyExists for a taken one, and what the manager says."""

    def __init__(self, connection: Connection) -> None:
        self._get = connection.unary(_SERVICE, "Get", pb.GetImageResponse.FromString)
        self._list = connection.unary(_SERVICE, "List", bytes)
        self._create = connection.unary(_SERVICE, "Create", pb.CreateImageResponse.FromString)
        self._update = connection.unary(_SERVICE, "Update", pb.UpdateImageResponse.FromString)
        self._delete = connection.unary(_SERVICE, "Delete", Empty.FromString)
        self._listed: tuple[bytes, list[Image]] = b"", []  # the last answer and what it says

    async def get(self, name: str) -> Image:
        """By its full name."""
        return _from((await self._get(pb.GetImageRequest(name=name))).image)

    async def list(self, *filters: str) -> list[Image]:
        """All of the namespace, or those that any filter matches.

        An answer that is the one before, byte by byte, is not read again: its records are the same objects.
        """
        answer = await self._list(pb.ListImagesRequest(filters=filters))
        if filters:
            return _read(answer)
        if answer != self._listed[0]:
            self._listed = answer, _read(answer)
        return list(self._listed[1])

    async def create(self, image: Image) -> Image:
        """Give a new name."""
        return _from((await self._create(pb.CreateImageRequest(image=_to(image)))).image)

    async def update(self, image: Image) -> Image:
        """Change target and labels of a name; NotFound when there is none."""
        return _from((await self._update(pb.UpdateImageRequest(image=_to(image)))).image)

    async def delete(self, name: str, sync: bool = False) -> None:
        """Take the name away; with `sync`, return after what nobody refers to any more is collected."""
        await self._delete(pb.DeleteImageRequest(name=name, sync=sync))


def _read(answer: bytes) -> list[Image]:
    return [_from(image) for image in pb.ListImagesResponse.FromString(answer).images]


def _to(image: Image) -> pb.Image:
    wire = pb.Image(name=image.name, labels=image.labels, target=descriptor_to(image.target))
    if image.created_at:
        wire.created_at.CopyFrom(timestamp(image.created_at))
    return wire


def _from(wire: pb.Image) -> Image:
    return Image(
        wire.name,
        descriptor_from(wire.target),
        dict(wire.labels),
        nanoseconds(wire.created_at),
        nanoseconds(wire.updated_at),
    )
