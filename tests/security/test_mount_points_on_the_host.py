"""Directories and files that are made for mounts, devices and the working directory are made on the host (CVE-2024-45310).

Guard: whatever is missing is made by `ensure_directory` and `ensure_file` of oci/rootfs/safepath.py, one name at a time below the
descriptor of its parent, which was resolved in the root. With os.makedirs of a joined path they are made where a volume's link leads.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.security.hostile import Hostile, swapping, tree

from hakobune.oci.rootfs import safepath
from hakobune.testing.engine import PrivateEngine
from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "host"
    made.mkdir()
    yield made
    assert tree(made) == []


def test_what_is_made_while_a_directory_is_swapped(tmp_path: Path, host: Path) -> None:
    root = tmp_path / "root"
    (root / "vol" / "x").mkdir(parents=True)
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    made = 0
    with swapping(root / "vol/x", root / "vol/y", str(host)):
        for number in range(3000):
            with contextlib.suppress(OSError):
                os.close(safepath.ensure_directory(fd, f"/vol/x/d{number}/e"))
                os.close(safepath.ensure_file(fd, f"/vol/x/f{number}/g"))
                made += 1
    os.close(fd)
    assert made > 100


LINKS = ("{}", "/proc/self/root{}", "../../../../../../../../../../../..{}")


@pytest.mark.parametrize("link", LINKS)
def test_a_link_of_the_image(hako: Runtime, tmp_path: Path, host: Path, link: str) -> None:
    """Mount points of every kind, a device, a link of the control groups', the working directory."""
    (tmp_path / "file").write_text("x")
    image = Hostile(hako, "true")
    image.link("/way", link.format(host))
    image.mount("/way/directory/deep", str(tmp_path), "rbind")
    image.mount("/way/file/deep", str(tmp_path / "file"), "bind")
    image.mount("/way/tmpfs", "tmpfs", kind="tmpfs")
    image.mount("/way/copied", "tmpfs", "tmpcopyup", kind="tmpfs")
    image.linux(devices=[{"path": "/way/dev/null", "type": "c", "major": 1, "minor": 3}])
    image.process(cwd="/way/cwd/deep")
    image.run()


def test_names_that_are_none(hako: Runtime, tmp_path: Path, host: Path) -> None:
    for place in (
        "/../../../../../../../../.." + str(host) + "/a",
        "/x/../../.." + str(host) + "/a",
        "../.." + str(host) + "/a",
    ):
        image = Hostile(hako, "true")
        image.mount(place, str(tmp_path), "rbind")
        image.process(cwd=place)
        image.run()
        hako("delete", "--force", image.name)


def test_a_link_that_names_nothing_yet(hako: Runtime, tmp_path: Path) -> None:
    """Where it leads is made, inside: /etc/resolv.conf of many an image is one."""
    (tmp_path / "file").write_text("mounted")
    image = Hostile(hako, "cat", "/run/systemd/resolve/stub-resolv.conf", "/a/b/file")
    image.link("/etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
    image.link("/mnt", "a")
    image.mount("/etc/resolv.conf", str(tmp_path / "file"), "bind", "ro")
    image.mount("/mnt/b", str(tmp_path), "rbind", "ro")
    assert image.run().stdout == "mounted" * 2
    assert (image.root / "run/systemd/resolve/stub-resolv.conf").is_file()
    for first, second in (("/one", "/two"), ("/two", "/one")):
        image.link(first, second)
    image.mount("/one/x", str(tmp_path), "rbind")
    assert "too many levels of symbolic links" in image.run().stderr


def test_by_the_shim(engine: PrivateEngine, tmp_path: Path, host: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "way").symlink_to(host)
    for words in (["-v", f"{tmp_path}:/vol/way/a"], ["--tmpfs", "/vol/way/b"], ["-w", "/vol/way/c"]):
        engine.hako("run", "--rm", "-v", f"{volume}:/vol", *words, "hako/starter", "true")
    with swapping(volume / "x", volume / "y", str(host)):
        for number in range(5):
            engine.hako(
                "run",
                "--rm",
                "-v",
                f"{volume}:/vol",
                "-v",
                f"{tmp_path}:/vol/x/{number}",
                "hako/starter",
                "true",
            )
