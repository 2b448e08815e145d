"""POST /images/{name}/tag: one more name for an image."""

from __future__ import annotations

from hakobune.engine.images.images import Images
from hakobune.errors import InvalidArgument
from hakobune.spec import reference


async def tag(images: Images, source: str, repository: str, label: str) -> None:
    """Let `repository:label` (latest for "") stand for `source`.

    Raises NotFound, InvalidArgument; what had the name before keeps its other names, or stays without one.
    """
    if not repository:
        raise InvalidArgument("invalid reference format: repo is not given")
    name = reference.parse(repository)
    if name.digest or ":" in label:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    name = name.tagged(label) if label else name.whole()
    async with images.catalogue.lock:
        image, _ = await images.find(source)
        await images.catalogue.put(str(name), image.content.target)
    images.tell(image, "tag", name.familiar)
