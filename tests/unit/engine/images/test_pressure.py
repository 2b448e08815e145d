"""Which images go when the disk is full, and the marks that are refused."""

from __future__ import annotations

import pytest

from hakobune.engine.config import parse
from hakobune.engine.images.model import Content, Image
from hakobune.engine.images.pressure import Marks, candidates, marks
from hakobune.errors import InvalidArgument
from hakobune.spec.descriptor import Descriptor


def image(name: str, updated: int) -> Image:
    return Image(Content(name, Descriptor("", name, 0), {}, "", (), 0), (name,), updated)


def test_the_longest_unused_goes_first() -> None:
    images = [
        image("pulled-late", 9),
        image("old", 1),
        image("used-late", 2),
        image("busy", 0),
        image("used", 3),
    ]
    used = {"used-late": 8, "used": 4, "old": 0}
    found = candidates(images, used, lambda identity: identity == "busy", before=8)
    assert [one.id for one in found] == ["old", "used", "used-late"]


def test_the_marks() -> None:
    assert marks(0, None, 120, 60) == Marks()
    assert marks(85, None, 120, 60) == Marks(85, 75)
    assert marks(5, None, 0, 1) == Marks(5, 0, 0, 1)
    found = parse(["--image-gc-high", "90", "--image-gc-low", "50", "--image-gc-age", "7"])
    assert found is not None
    assert found.image_gc == Marks(90, 50, 7, 60)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--image-gc-high", "101"], "--image-gc-high: 101 is not between"),
        (
            ["--image-gc-high", "50", "--image-gc-low", "60"],
            "--image-gc-low: 60 is not between 0 and the high mark, 50",
        ),
        (["--image-gc-low", "5"], "--image-gc-low: 5 is not between 0 and the high mark, 0"),
        (["--image-gc-age", "-1"], "--image-gc-age: -1"),
        (["--image-gc-every", "0"], "--image-gc-every: 0"),
        (["--image-gc-high", "x"], "invalid int value"),
    ],
)
def test_what_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        parse(words)
