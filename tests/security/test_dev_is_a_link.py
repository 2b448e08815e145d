"""The image's /dev, or a directory in it, is a link to the host when device nodes and links are made (CVE-2026-41579, CVE-2026-47766).

Guard: `Nodes` of oci/rootfs/steps.py opens every parent by `safepath.ensure_directory`, in the root, and makes what it makes on
that descriptor. With a joined path instead, the nodes appear on the host.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.security.hostile import Hostile, tree

from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root
WAYS = (
    "{}",
    "../../../../../../../../../../../../..{}",
    "/proc/self/root{}",
    "/proc/1/root{}",
    "/proc/self/cwd{}",
)


def bare(hako: Runtime) -> Hostile:
    """Everything that is made in /dev is made in the image's."""
    image = Hostile(hako, "ls", "-l", "/dev/")
    image.without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    return image


@pytest.fixture
def host(tmp_path: Path) -> Path:
    made = tmp_path / "host"
    made.mkdir()
    return made


@pytest.mark.parametrize("way", WAYS)
def test_dev_itself(hako: Runtime, host: Path, way: str) -> None:
    image = bare(hako)
    image.link("/dev", way.format(host))
    image.run()
    assert tree(host) == []


@pytest.mark.parametrize("way", WAYS)
def test_a_directory_in_it(hako: Runtime, host: Path, way: str) -> None:
    image = bare(hako)
    (image.root / "dev").mkdir(exist_ok=True)
    image.link("/dev/deep", way.format(host))
    image.linux(
        devices=[{"path": f"/dev/deep/{name}", "type": "c", "major": 1, "minor": 3} for name in ("a", "b/c")]
    )
    image.run()
    assert tree(host) == []


@pytest.mark.parametrize("way", WAYS)
def test_a_node_in_it(hako: Runtime, host: Path, way: str) -> None:
    """The node's own name is a link: it is replaced, and what it named has neither another owner nor another mode."""
    (host / "secret").write_text("host")
    (host / "secret").chmod(0o600)
    image = bare(hako)
    for name in ("null", "zero", "tty", "full", "fd", "stdin", "ptmx", "core"):
        image.link(f"/dev/{name}", way.format(host / "secret"))
    image.linux(
        devices=[
            {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o777, "uid": 7, "gid": 7}
        ]
    )
    before = (host / "secret").stat()
    done = image.run()
    assert done.returncode == 0, done.stderr
    after = (host / "secret").stat()
    assert (before.st_mode, before.st_uid, before.st_ctime_ns) == (
        after.st_mode,
        after.st_uid,
        after.st_ctime_ns,
    )
    assert os.stat(image.root / "dev/zero", follow_symlinks=False).st_rdev == os.makedev(1, 5)


def test_where_it_leads_is_inside(hako: Runtime, host: Path) -> None:
    image = bare(hako)
    image.link("/dev", "/devices/here")
    image.process(args=["sh", "-c", "stat -c '%F %t:%T' /devices/here/null; echo >/devices/here/null"])
    done = image.run()
    assert (done.returncode, done.stdout) == (0, "character special file 1:3\n"), done.stderr


def test_a_volume_in_it_is_the_hosts_and_gets_no_nodes(hako: Runtime, host: Path) -> None:
    """Where the configuration shows a directory of the host as /dev, it is left alone."""
    image = bare(hako)
    image.mount("/dev", str(host), "rbind")
    image.run()
    assert tree(host) == []
