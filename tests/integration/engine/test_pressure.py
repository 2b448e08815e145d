"""A disk that fills up: images go, the longest unused first, until there is room; what is used stays."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Callable, Iterator

import pytest

from hakobune.testing.engine import PrivateEngine, on_a_small_disk

pytestmark = [pytest.mark.root, pytest.mark.slow]

SIZE = 4 << 20  # of a layer: it takes its blob and its files
MARKS = ("--image-gc-high", "75", "--image-gc-low", "60", "--image-gc-age", "0", "--image-gc-every", "1")


@pytest.fixture
def engine() -> Iterator[PrivateEngine]:
    """Its data root holds 64 MB."""
    with on_a_small_disk(64, MARKS) as made:
        yield made


def load(engine: PrivateEngine, name: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = SIZE
        tar.addfile(member, io.BytesIO(os.urandom(SIZE)))
    done = engine.hako("import", "-c", 'CMD ["/x"]', "-", name, input=out.getvalue(), text=False)
    assert done.returncode == 0, done.stderr


def names(engine: PrivateEngine) -> list[str]:
    return sorted(
        tag.partition(":")[0] for image in engine.client.get("/images/json") for tag in image["RepoTags"]
    )


def full(engine: PrivateEngine) -> float:
    found = os.statvfs(engine.root / "d")
    return 100 * (1 - found.f_bavail / found.f_blocks)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not happen in 20 s"
        time.sleep(0.05)


def test_images_go_until_there_is_room(engine: PrivateEngine) -> None:
    for name in ("first", "second", "kept", "third"):
        load(engine, name)
    assert engine.hako("create", "--name", "one", "kept").returncode == 0
    assert engine.hako("create", "--name", "gone", "first").returncode == 0  # used later than the second
    assert engine.hako("rm", "gone").returncode == 0
    assert full(engine) < 75
    time.sleep(1.2)
    assert names(engine) == ["first", "kept", "second", "third"], "below the high mark nothing goes"
    before = full(engine)
    filler = engine.root / "d" / "filler"
    filler.write_bytes(bytes(int((76 - before) / 100 * (64 << 20))))
    until(lambda: full(engine) <= 60)
    time.sleep(1.2)
    assert names(engine) == ["first", "kept"], "the longest unused went first, and no more than had to"
    assert "removed, the longest unused" in engine.tail()
    filler.write_bytes(bytes(40 << 20))
    until(lambda: names(engine) == ["kept"])
    until(lambda: "no more images can be removed" in engine.tail())
