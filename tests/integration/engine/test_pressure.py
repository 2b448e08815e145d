"""A disk that fills up: images go, the longest unused first, until there is room; what is used stays."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hakobune.testing.containerd import RealContainerd
from hakobune.testing.engine import PrivateEngine, on_a_small_disk
from hakobune.testing.peers import built

pytestmark = [pytest.mark.root, pytest.mark.slow]

SIZE = 4 << 20  # of a layer: it takes its blob and its files
MARKS = ("--image-gc-high", "75", "--image-gc-low", "60", "--image-gc-age", "0", "--image-gc-every", "1")


@pytest.fixture
def engine() -> Iterator[PrivateEngine]:
    """Its data root holds 64 MB."""
    with on_a_small_disk(64, MARKS) as made:
        yield made


@pytest.fixture(params=["ours, layers", "ours, content", "containerd"])
def elsewhere(request: pytest.FixtureRequest) -> Iterator[tuple[PrivateEngine, Path]]:
    """A store of the manager, not the engine's data, is on a file system of 64 MB; with that directory."""
    with contextlib.ExitStack() as ends:
        if request.param == "containerd":
            manager = RealContainerd(built("containerd") or pytest.skip("peer not built: current containerd"))
            small(ends, manager.base / "d")
            ends.enter_context(manager)
            made = PrivateEngine(
                arguments=(*MARKS, "--containerd", manager.address),
                environment={"HAKO_SHIM_STATE": str(manager.base / "s")},
            )
            place = manager.base / "d"
        else:
            made = PrivateEngine(arguments=MARKS)
            name = "snapshotter.v1.overlayfs" if request.param.endswith("layers") else "content.v1.content"
            place = made.root / "d" / "containerd" / f"io.containerd.{name}"
            small(ends, place)
        yield ends.enter_context(made), place


def small(ends: contextlib.ExitStack, place: Path) -> None:
    """A file system of 64 MB there, by way of a link: a mount below it would count as left behind."""
    disk = ends.enter_context(tempfile.TemporaryDirectory(prefix="hk-disk-", dir="/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tight", disk], check=True)
    ends.callback(subprocess.run, ["umount", "-l", disk], check=False)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(disk)


def test_the_disk_of_the_managers_stores(elsewhere: tuple[PrivateEngine, Path]) -> None:
    engine, place = elsewhere
    load(engine, "first")
    assert names(engine) == ["first"]
    (place / "filler").write_bytes(bytes(50 << 20))
    until(lambda: names(engine) == [])
    until(lambda: "removed, the longest unused" in engine.tail())
    (place / "filler").unlink()


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
