"""Volumes: names, users, removal, what a crash leaves, filters."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from hakobune.engine.schema.filters import Filters
from hakobune.engine.volumes.listing import listing, prune
from hakobune.engine.volumes.volumes import MIGRATION, Volumes, size
from hakobune.errors import Conflict, InvalidArgument, NotFound, Unimplemented
from hakobune.persist.database import Database


class Bus:
    """Remembers."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def publish(self, kind: str, action: str, actor: str, attributes: Mapping[str, str]) -> None:
        assert attributes == {"driver": "local"}
        self.told.append((kind, action, actor))


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def opened(tmp_path: Path, bus: Bus) -> Callable[[], Volumes]:
    """Opens the same volumes again and again, as an engine does that starts."""

    def open_again() -> Volumes:
        database = Database.open(str(tmp_path / "engine.db"), [MIGRATION])
        return Volumes(database, str(tmp_path / "volumes"), bus)

    return open_again


@pytest.fixture
def volumes(opened: Callable[[], Volumes]) -> Volumes:
    return opened()


def test_made_found_removed(volumes: Volumes, bus: Bus, tmp_path: Path) -> None:
    volume, fresh = volumes.create("data", labels={"a": "b"})
    assert fresh
    assert volume.path == str(tmp_path / "volumes/data/_data")
    assert os.stat(volume.path).st_mode & 0o7777 == 0o755
    assert volumes.create("data") == (volume, False)
    assert volumes.get("data").document()["Labels"] == {"a": "b"}
    volumes.remove("data")
    asyncio.run(volumes.emptied())
    assert os.listdir(tmp_path / "volumes") == []
    with pytest.raises(NotFound, match=r"^get data: no such volume$"):
        volumes.remove("data")
    volumes.remove("data", force=True)
    assert bus.told == [("volume", "create", "data"), ("volume", "destroy", "data")]


@pytest.mark.parametrize("name", ["a b", "-a", "a/b", ".a", "ä1", "a\nb", "a\0b", "..", "a" * 300])
def test_names_that_are_none(volumes: Volumes, name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"^create "):
        volumes.create(name)
    assert volumes.every() == []
    assert os.listdir(tmp_path / "volumes") == []


def test_the_words_for_a_bad_name(volumes: Volumes) -> None:
    with pytest.raises(InvalidArgument) as failure:
        volumes.create("x y")
    assert str(failure.value) == (
        'create x y: "x y" includes invalid characters for a local volume name, only '
        '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
    )
    with pytest.raises(InvalidArgument, match=r"^create x: volume name is too short"):
        volumes.create("x")


def test_without_a_name(volumes: Volumes) -> None:
    volume, _ = volumes.create()
    assert len(volume.name) == 64
    assert volume.anonymous
    assert not volumes.create("named")[0].anonymous
    assert volumes.ensure("f" * 64, anonymous=True)[0].anonymous


def test_a_used_volume_stays(volumes: Volumes, opened: Callable[[], Volumes]) -> None:
    volumes.create("data")
    volumes.use("data", "two")
    volumes.use("data", "one")
    volumes.use("data", "one")
    for force in (False, True):
        with pytest.raises(Conflict, match=r"^remove data: volume is in use - \[one, two\]$"):
            volumes.remove("data", force=force)
    later = opened()
    assert later.users("data") == ["one", "two"]
    later.keep_users(["two", "three"])
    assert later.users("data") == ["two"]
    later.release("data", "two")
    later.release("data", "two")
    later.remove("data")
    with pytest.raises(NotFound):
        later.use("data", "one")
    assert opened().every() == []


def test_a_removal_that_was_cut_is_finished(
    volumes: Volumes, opened: Callable[[], Volumes], tmp_path: Path
) -> None:
    root = tmp_path / "volumes"
    volumes.create("data")
    volumes.create("other")
    (root / "data/_data/file").write_text("x")
    os.rename(root / "data", root / ".gone-01234567-data")  # and then the engine was killed
    later = opened()
    asyncio.run(later.emptied())
    assert [one.name for one in later] == ["other"]
    assert os.listdir(root) == ["other"]


def test_a_making_that_was_cut_is_made_good(
    volumes: Volumes, opened: Callable[[], Volumes], tmp_path: Path
) -> None:
    volumes.create("data")
    os.rmdir(tmp_path / "volumes/data/_data")
    volume, fresh = opened().ensure("data")
    assert not fresh
    assert os.path.isdir(volume.path)


def test_options(volumes: Volumes, tmp_path: Path) -> None:
    target = tmp_path / "host"
    bind = {"type": "none", "o": "bind", "device": str(target)}
    volume, _ = volumes.create("bound", options=bind)
    assert volume.document()["Options"] == bind
    with pytest.raises(InvalidArgument, match="failed to mount local volume bound: "):
        volumes.ensure("bound")
    target.mkdir()
    (target / "kept").touch()
    assert volumes.ensure("bound")[0].path == str(target)
    volumes.remove("bound")
    asyncio.run(volumes.emptied())
    assert (target / "kept").exists()
    refusals: list[tuple[dict[str, str], type[Exception], str]] = [
        ({"foo": "1"}, InvalidArgument, 'invalid option: "foo"'),
        ({"type": "tmpfs"}, InvalidArgument, 'missing required option: "device"'),
        ({"type": "tmpfs", "device": "tmpfs"}, Unimplemented, '"tmpfs"'),
        ({"type": "none", "o": "bind", "device": "rel"}, InvalidArgument, "not an absolute path"),
        ({"size": "1g"}, Unimplemented, "size"),
    ]
    for options, kind, words in refusals:
        with pytest.raises(kind, match=words):
            volumes.create("bad", options=options)
    with pytest.raises(NotFound, match='error looking up volume plugin nfs: plugin "nfs" not found'):
        volumes.create("bad", driver="nfs")
    assert volumes.every() == []


def test_filters(volumes: Volumes) -> None:
    for name in ("alpha", "beta", "gamma"):
        volumes.create(name, labels={"n": name})
    volumes.use("beta", "c1")

    def names(**wanted: tuple[str, ...]) -> list[str]:
        return [one.name for one in listing(volumes, Filters(wanted))]

    assert names() == ["alpha", "beta", "gamma"]
    assert names(dangling=("true",)) == ["alpha", "gamma"]
    assert names(dangling=("0",)) == ["beta"]
    assert names(name=("et", "^g")) == ["beta", "gamma"]
    assert names(label=("n=alpha",)) == ["alpha"]
    assert names(driver=("nfs",)) == []
    assert names(name=("[",)) == []
    with pytest.raises(InvalidArgument, match="invalid filter 'foo'"):
        names(foo=("1",))


def test_prune(volumes: Volumes) -> None:
    named, _ = volumes.create("named", labels={"keep": ""})
    nameless, _ = volumes.create()
    used, _ = volumes.create()
    volumes.use(used.name, "c1")
    Path(nameless.path, "file").write_bytes(b"x" * 1000)

    async def story() -> None:
        assert await prune(volumes, Filters()) == {"VolumesDeleted": [nameless.name], "SpaceReclaimed": 1000}
        everything = {"all": ("true",), "label!": ("keep",)}
        assert (await prune(volumes, Filters(everything)))["VolumesDeleted"] is None
        assert (await prune(volumes, Filters({"all": ("true",)})))["VolumesDeleted"] == [named.name]

    asyncio.run(story())
    assert [one.name for one in volumes] == [used.name]


def test_the_size_counts_hard_links_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "c").symlink_to("/etc/passwd")
    assert size(str(tmp_path)) == 100 + len("/etc/passwd")
