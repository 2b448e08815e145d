"""Binds, Mounts, Volumes and --volumes-from in one list of mount points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hakobune.engine.containers.model import MountPoint
from hakobune.engine.containers.mounts import parse_all, parse_bind, parse_mount
from hakobune.errors import InvalidArgument


def test_binds() -> None:
    assert parse_bind("/a/../b:/c/../d") == MountPoint("bind", "/b", "/d")
    assert parse_bind("/a:/b:ro,rshared") == MountPoint(
        "bind", "/a", "/b", read_only=True, mode="ro,rshared", propagation="rshared"
    )
    assert parse_bind("data:/b:nocopy") == MountPoint("volume", "", "/b", "data", mode="nocopy", copy=False)
    assert parse_bind("/b").anonymous


@pytest.mark.parametrize(
    "text",
    ["", ":", ":/b", "/a:", "a:b:c:d", "/a:b", "/a:/", "/a:/b:", "/a:/b:x", "/a:/b:ro,,z", "/a:/b:ro,rw", "/a:/b:ro,ro",
     "/a:/b:shared,slave", "/a:/b:z,Z", "/a:/b:nocopy", "data:/b:rshared", "rel"],
)  # fmt: skip
def test_binds_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_bind(text)


def test_mounts(tmp_path: Path) -> None:
    source = str(tmp_path)
    assert parse_mount({"Type": "bind", "Source": source, "Target": "/x", "ReadOnly": True}) == MountPoint(
        "bind", source, "/x", read_only=True
    )
    assert parse_mount({"Source": "data", "Target": "/x/"}) == MountPoint("volume", "", "/x", "data")
    assert parse_mount({"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"SizeBytes": 9, "Mode": 0o1777}}).options == (
        "size=9", "mode=1777",
    )  # fmt: skip
    made = tmp_path / "new" / "one"
    parse_mount(
        {"Type": "bind", "Source": str(made), "Target": "/x", "BindOptions": {"CreateMountpoint": True}}
    )
    assert made.is_dir()


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ({"Type": "bind"}, "field Target must not be empty"), ({"Type": "bind", "Target": "x"}, "must be absolute"),
        ({"Type": "bind", "Target": "/x"}, "field Source must not be empty"),
        ({"Type": "bind", "Target": "/x", "Source": "rel"}, "must be absolute"),
        ({"Type": "bind", "Target": "/x", "Source": "/no/such"}, "bind source path does not exist: /no/such"),
        ({"Type": "bind", "Target": "/x", "Source": "/", "BindOptions": {"Propagation": "up"}}, "invalid propagation"),
        ({"Type": "bind", "Target": "/", "Source": "/"}, "destination can't be '/'"),
        ({"Type": "npipe", "Target": "/x"}, 'mount type unknown: "npipe"'),
        ({"Type": "tmpfs", "Target": "/x", "Source": "a"}, "field Source must not be specified"),
    ],
)  # fmt: skip
def test_mounts_that_are_refused(mount: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        parse_mount(mount)


def everything(others: tuple[MountPoint, ...] = (), **given: Any) -> dict[str, MountPoint]:
    host = {"Binds": None, "Mounts": [], "VolumesFrom": None, "Tmpfs": None} | given
    points = parse_all({"Volumes": given.get("Volumes")}, host, lambda _container: others)
    return {point.target: point for point in points}


def test_what_is_named_wins_over_what_is_borrowed_and_both_over_the_image() -> None:
    other = (
        MountPoint("volume", "/s", "/a", "theirs", anonymous=True),
        MountPoint("volume", "/t", "/b", "too"),
    )
    found = everything(
        other, Binds=["/mine:/a"], VolumesFrom=["c:ro"], Volumes={"/a": {}, "/b/": {}, "/c": {}}
    )
    assert found["/a"].source == "/mine"
    assert found["/b"] == replace(other[1], read_only=True)
    assert found["/c"].anonymous
    assert len(found) == 3


def test_a_target_named_twice() -> None:
    for given in ({"Binds": ["/a:/x", "/b:/x/"]}, {"Binds": ["/a:/x"], "Tmpfs": {"/x/": ""}}):
        with pytest.raises(InvalidArgument, match="Duplicate mount point: /x"):
            everything(**given)


def test_a_tmpfs_takes_the_place_of_the_images_volume() -> None:
    assert everything(Tmpfs={"/x": ""}, Volumes={"/x": {}}) == {}


def test_borrowing_in_another_mode() -> None:
    with pytest.raises(InvalidArgument, match="invalid mode: z"):
        everything(VolumesFrom=["c:z"])
