"""Labels and sysctls are written to the kernel, not to what a container has put in /proc's place.

CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-52881: a volume over /proc, or a link in it, took
AppArmor's label to a file of the image's, or a sysctl to another one. Guards: both go through a proc of our own (`write` of
oci/init/lsm.py, `Sysctl` of oci/rootfs/steps.py); a write to /proc/self/attr/… of a naive build lands in the decoys. And nothing
comes in /proc's place (`_check` and `_THE_KERNELS` of oci/rootfs/places.py).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.security.hostile import Hostile

from hakobune.linux import syscalls as sys
from hakobune.oci.init import lsm
from hakobune.oci.rootfs.steps import Root, Sysctl
from hakobune.testing.engine import PrivateEngine
from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root


def with_a_false_proc(place: Path, act: str) -> str:
    """What a child says whose /proc is a tmpfs full of decoys, of `act`; "" for nothing."""
    reading, writing = os.pipe()
    pid = sys.clone3(sys.CLONE_NEWNS | sys.CLONE_NEWUTS | sys.CLONE_NEWIPC)
    if pid == 0:
        said = b""
        try:
            sys.mount(None, "/", None, sys.MS_PRIVATE | sys.MS_REC)
            sys.mount(str(place), "/proc", None, sys.MS_BIND)
            for name in ("self", str(os.getpid())):
                os.makedirs(f"/proc/{name}/attr/apparmor", exist_ok=True)
                for file in ("exec", "apparmor/exec"):
                    Path(f"/proc/{name}/attr/{file}").touch()
            if act == "label":
                lsm.write("exec", b"banana")
            else:
                Sysctl((("kernel.domainname", "inside"),)).apply(Root("/"))
                said = os.uname().nodename.encode()[:0] + Path("/proc/sys/kernel/domainname").read_bytes()
        except OSError as err:
            said = f"{type(err).__name__} {err.errno} {err.strerror}".encode()
        os.write(writing, said)
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading, "rb") as file:
        return file.read().decode()


def test_a_label_goes_to_the_kernel(tmp_path: Path) -> None:
    """No module of this kernel knows the label, and that is told: the decoys would have taken it."""
    said = with_a_false_proc(tmp_path, "label")
    assert "label 'banana': " in said
    decoys = list(tmp_path.glob("*/attr/exec")) + list(tmp_path.glob("*/attr/apparmor/exec"))
    assert len(decoys) == 4
    assert [decoy for decoy in decoys if decoy.read_bytes()] == []


def test_a_sysctl_goes_to_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel").mkdir(parents=True)
    decoy = tmp_path / "sys/kernel/domainname"
    decoy.write_text("decoy")
    assert with_a_false_proc(tmp_path, "sysctl") == "decoy"
    assert decoy.read_text() == "decoy"


@pytest.mark.parametrize("place", ["/proc", "/sys", "/dev"])
@pytest.mark.parametrize("target", ["/vol", "vol/below", "/nowhere", "../../vol"])
def test_a_link_in_the_place_of_the_kernels_files(
    hako: Runtime, tmp_path: Path, place: str, target: str
) -> None:
    """Where it leads is a volume, in which another container changes everything meanwhile."""
    volume = tmp_path / "volume"
    (volume / "below").mkdir(parents=True)
    image = Hostile(hako, "true")
    image.link(place, target)
    image.edit(lambda document: document["mounts"].insert(
        0, {"destination": "/vol", "source": str(volume), "type": "bind", "options": ["rbind"]}))  # fmt: skip
    done = image.run()
    assert done.returncode == 1
    assert "must be mounted on an ordinary directory" in done.stderr
    assert sorted(os.listdir(volume)) == ["below"]
    assert os.listdir(volume / "below") == []


@pytest.mark.parametrize(
    "place", ["/proc", "/proc/", "/proc/self/attr", "/proc/sys", "/x/../proc", "/way/sys", "/direct"]
)
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_something_in_the_place_of_the_kernels_files(
    hako: Runtime, tmp_path: Path, place: str, kind: str
) -> None:
    image = Hostile(hako, "true")
    image.link("/way", "/proc")
    image.link("/direct", "../proc/self")
    (image.root / "x").mkdir()
    image.mount(
        place, str(tmp_path) if kind == "bind" else "tmpfs", *(["rbind"] if kind == "bind" else []), kind=kind
    )
    done = image.run()
    assert done.returncode == 1
    assert "cannot be mounted because it is " in done.stderr
    assert done.stderr.rstrip().endswith(f"({place})")


def test_before_proc_is_there(hako: Runtime, tmp_path: Path) -> None:
    """The order of the mounts does not matter."""
    image = Hostile(hako, "true")
    (tmp_path / "self").mkdir()
    for place in ("/proc", "/proc/self"):
        image.edit(lambda document: document["mounts"].insert(
            0, {"destination": place, "source": str(tmp_path), "type": "bind", "options": ["rbind"]}))  # noqa: B023  # fmt: skip
        assert "cannot be mounted because it is " in image.run().stderr
        image.edit(lambda document: document["mounts"].pop(0))


def test_what_is_lent_may_lie_there(hako: Runtime, tmp_path: Path) -> None:
    """lxcfs shows a container its own share of the machine; the host's /proc itself may be shown, by who can name it."""
    (tmp_path / "uptime").write_text("1.00 1.00")
    image = Hostile(hako, "cat", "/proc/uptime")
    image.mount("/proc/uptime", str(tmp_path / "uptime"), "bind", "ro")
    assert image.run().stdout == "1.00 1.00"
    image.edit(lambda document: document["mounts"].pop())
    image.without("/proc")
    image.mount("/proc", "/proc", "rbind", "ro")
    image.process(args=["cat", "/proc/version"])
    assert image.run().stdout == Path("/proc/version").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ["-v", "evil:/proc"],
        ["-v", "evil:/proc/self/attr"],
        ["--tmpfs", "/proc/sys"],
        ["-v", "/tmp:/proc/sys"],
    ],
)
def test_by_the_shim(engine: PrivateEngine, words: list[str]) -> None:
    done = engine.hako("run", "--rm", *words, "hako/starter", "true")
    assert done.returncode in (125, 126, 127)
    assert "cannot be mounted because it is " in done.stderr


def test_a_volume_of_the_images(engine: PrivateEngine) -> None:
    """CVE-2019-16884 itself: the image declares a volume at /proc, and has there what it likes."""
    assert engine.hako("run", "--name", "base", "hako/starter", "true").returncode == 0
    assert engine.hako("commit", "-c", "VOLUME /proc", "base", "evil").returncode == 0
    done = engine.hako("run", "--rm", "evil", "true")
    assert done.returncode in (125, 126, 127)
    assert "cannot be mounted because it is not of type proc" in done.stderr
