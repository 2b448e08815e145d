"""Layers that images share count once."""

from __future__ import annotations

from hakobune.engine.images import sizes
from hakobune.engine.images.model import Content, Image
from hakobune.spec.descriptor import Descriptor


def image(name: str, *layers: tuple[str, int]) -> Image:
    config = {"rootfs": {"diff_ids": [diff for diff, _ in layers]}}
    content = Content(name, Descriptor("", name, 0), config, "", tuple(size for _, size in layers), 0)
    return Image(content)


def test_what_is_shared_and_what_is_not() -> None:
    one, two = image("1", ("a", 10), ("b", 5)), image("2", ("a", 10), ("c", 7))
    other = image("3", ("b", 5))  # the same bytes, but on nothing: another snapshot
    assert sizes.shared([one, two, other]) == {"1": 10, "2": 10, "3": 0}
    assert sizes.total([one, two, other]) == 10 + 5 + 7 + 5
    assert sizes.shared([one]) == {"1": 0}
    assert sizes.total([]) == 0
