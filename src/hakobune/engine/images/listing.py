"""Which images are wanted: the filters of the list and of prune."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from hakobune.engine.containers.logs import moment
from hakobune.engine.images.images import Images
from hakobune.engine.images.model import Image
from hakobune.engine.schema.filters import Filters
from hakobune.errors import InvalidArgument
from hakobune.spec import reference
from hakobune.spec.duration import nanoseconds

_FILTERS = ("before", "dangling", "label", "reference", "since", "until")

Fits = Callable[[Image], bool]


async def listing(images: Images, filters: Filters) -> list[Image]:
    """Newest first. Raises InvalidArgument for filters that are none, NotFound for images they name."""
    filters.check(_FILTERS)
    before = [(await images.find(name))[0].created for name in filters.get("before")]
    since = [(await images.find(name))[0].created for name in filters.get("since")]
    dangling = filters.bool("dangling", False) if "dangling" in filters else None
    patterns = [pattern(text) for text in filters.get("reference")]
    fits = [labelled(filters), older(filters)]
    found = []
    for image in await images.every():
        if dangling is not None and dangling == bool(image.names):
            continue
        if any(image.created >= at for at in before) or any(image.created <= at for at in since):
            continue
        if patterns:
            image = replace(image, names=tuple(name for name in image.names if _named(name, patterns)))
            if not image.names:
                continue
        if all(one(image) for one in fits):
            found.append(image)
    return sorted(found, key=lambda image: (-image.created, image.names))


def labelled(filters: Filters) -> Fits:
    """Whether an image has all labels of `label` and none of `label!`."""

    if "label" not in filters and "label!" not in filters:
        return lambda image: True

    def fits(image: Image) -> bool:
        labels = image.content.labels
        unwanted = any(Filters({"label": (one,)}).labels(labels) for one in filters.get("label!"))
        return filters.labels(labels) and not unwanted

    return fits


def older(filters: Filters) -> Fits:
    """Whether an image was made before the time of `until`: a time, or how long ago. Raises InvalidArgument."""
    values = filters.get("until")
    if len(values) > 1:
        raise InvalidArgument("more than one until filter specified")
    if not values:
        return lambda image: True
    ago = nanoseconds(values[0])
    at = moment(values[0]) if ago is None else time.time_ns() - ago
    return lambda image: image.created <= at


def _named(name: str, patterns: Iterable[re.Pattern[str]]) -> bool:
    bare = reference.parse(name).familiar_name
    return any(one.fullmatch(name) or one.fullmatch(bare) for one in patterns)


def pattern(text: str) -> re.Pattern[str]:
    """A pattern of names: * and ? do not cross a slash, [a-z] and [^a-z] are classes. Raises InvalidArgument."""
    parts = re.split(r"(\\.|\[[^]]+\]|[*?])", text)
    try:
        return re.compile("".join(_translated(part) for part in parts), re.DOTALL)
    except re.error as err:
        raise InvalidArgument(f"invalid filter 'reference={text}': {err}") from err


def _translated(part: str) -> str:
    if part in ("*", "?"):
        return "[^/]" + part.replace("?", "")
    if part.startswith("[") and part.endswith("]"):
        return part
    return re.escape(part[1:] if part.startswith("\\") and len(part) == 2 else part)
