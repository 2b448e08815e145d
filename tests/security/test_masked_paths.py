"""What is masked is uncovered, or something else is covered, through a /dev/null of the image's (CVE-2025-31133).

Guards: the mask is bound from the host's own device, made sure of by its number (`_host_null` of oci/rootfs/steps.py), not from
what the container has: bound from the root's /dev/null, the second test finds the decoy in the mask's place. A /dev/null of the image's is replaced before
(`_mknod`). Nothing may stand in /proc's place (oci/rootfs/places.py), so that what is covered is the kernel's.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.security.hostile import Hostile

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root
TELL = "stat -c '%F %t:%T' /proc/keys /proc/kcore /proc/timer_list /secret 2>&-; true"
NULL = "character special file 1:3"
FILES = ("/proc/keys", "/proc/kcore", "/proc/timer_list")


def masked(image: Hostile) -> list[str]:
    """What the masks are, as a container sees them; a file of the image last."""
    image.file("/secret", "secret")
    image.linux(maskedPaths=[*FILES, "/secret", "/proc/acpi", "/sys/firmware"])
    image.process(args=["sh", "-c", TELL])
    done = image.run()
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "target",
    ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/decoy", "/nowhere", "../../../../etc/passwd"],
)
def test_the_images_null_device_is_a_link(hako: Runtime, target: str) -> None:
    image = Hostile(hako, "sh")
    image.without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    image.file("/decoy", "decoy")
    image.link("/dev/null", target)
    there = [path for path in FILES if os.path.exists(path)]
    assert masked(image) == [NULL] * (len(there) + 1)


@pytest.mark.parametrize("target", ["/proc/self/status", "/decoy", "/nowhere"])
def test_a_volume_over_dev_has_the_link(hako: Runtime, tmp_path: Path, target: str) -> None:
    """There no device is made, so that nothing replaces it; and another container may put it there at any time."""
    image = Hostile(hako, "sh")
    image.without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    image.file("/decoy", "decoy")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "null").symlink_to(target)
    image.mount("/dev", str(tmp_path / "dev"), "bind")
    there = [path for path in FILES if os.path.exists(path)]
    assert masked(image) == [NULL] * (len(there) + 1)


def test_the_images_null_device_is_another(hako: Runtime) -> None:
    """/dev/mem's number, /dev/full's, a file, a directory: whatever a layer may have."""
    there = [path for path in FILES if os.path.exists(path)]
    for make in (
        lambda place: os.mknod(place, 0o20666, os.makedev(1, 1)), lambda place: os.mknod(place, 0o20666, os.makedev(1, 7)),
        lambda place: place.write_text("decoy"), lambda place: os.mkfifo(place),
    ):  # fmt: skip
        image = Hostile(hako, "sh")
        image.without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
        (image.root / "dev/null").unlink(missing_ok=True)
        make(image.root / "dev/null")
        assert masked(image) == [NULL] * (len(there) + 1)
        hako("delete", "--force", image.name)


def test_directories_are_empty_and_read_only(hako: Runtime) -> None:
    image = Hostile(hako, "sh", "-c", "ls -A /sys/firmware /hidden; touch /hidden/x")
    image.file("/hidden/secret", "secret")
    image.linux(maskedPaths=["/sys/firmware", "/hidden"])
    done = image.run()
    assert "secret" not in done.stdout
    assert "Read-only file system" in done.stderr


@pytest.mark.parametrize("way", ["/hidden", "/links/a/../../hidden", "/abs/hidden"])
def test_masks_behind_links_of_the_image_cover_what_is_there(hako: Runtime, way: str) -> None:
    image = Hostile(hako, "cat", "/hidden")
    image.file("/hidden", "secret")
    image.link("/abs", "/")
    (image.root / "links" / "a").mkdir(parents=True)
    image.linux(maskedPaths=[way])
    assert image.run().stdout == ""


def test_nothing_of_the_host_is_covered(hako: Runtime, tmp_path: Path) -> None:
    """A mask that a link of the image leads out: the host's file is as it was, for the host and for others."""
    (tmp_path / "host").write_text("host")
    image = Hostile(hako, "true")
    image.link("/mask", "../" * 20 + str(tmp_path / "host"))
    image.linux(maskedPaths=["/mask"])
    before = Path("/proc/self/mountinfo").read_text()
    assert image.run().returncode == 0
    assert (tmp_path / "host").read_text() == "host"
    assert Path("/proc/self/mountinfo").read_text() == before


def test_by_the_shim(engine: PrivateEngine, tmp_path: Path) -> None:
    """An image made by `commit`, whose /dev/null is a link, and Docker's masks."""
    assert engine.hako("run", "--name", "base", "hako/starter", "true").returncode == 0
    (tmp_path / "null").symlink_to("/proc/sys/kernel/core_pattern")
    assert engine.hako("cp", str(tmp_path / "null"), "base:/dev/null").returncode == 0
    assert engine.hako("commit", "base", "evil").returncode == 0
    there = [path for path in FILES if os.path.exists(path)]
    done = engine.hako("run", "--rm", "evil", "sh", "-c", TELL)
    assert done.stdout.splitlines() == [NULL] * len(there), done.stderr
