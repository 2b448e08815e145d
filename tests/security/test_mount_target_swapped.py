"""A container swaps a directory of a shared volume for a link to the host while another one's mounts are made there.

CVE-2021-30465, GHSA-rg2x-37c3-w2rh. Guard: a target is opened once, in the root, and the mount is moved onto that descriptor
(`Bind` and `Filesystem` of oci/rootfs/steps.py, oci/rootfs/safepath.py). A build that gives mount(2) the joined path
mounts over the host's directory at the first tries.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.security.hostile import SWAP, Hostile, swapping

from hakobune.linux import syscalls
from hakobune.oci.rootfs.options import parse
from hakobune.oci.rootfs.steps import Bind, Cut, Filesystem, Mask, MountRoot, ReadOnly, Root
from hakobune.testing.engine import PrivateEngine
from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root
TRIES = 2000


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """root, volume with the directory that is swapped, host, and payload, which is to be seen nowhere on the host."""
    for name in ("root/vol", "volume/x", "host/x", "payload"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "host" / "secret").write_text("host")
    (tmp_path / "payload" / "marker").write_text("payload")
    return tmp_path


def apart(work: Callable[[], None]) -> str:
    """What `work` complains of in a mount namespace of its own; "" for nothing."""
    reading, writing = os.pipe()
    pid = syscalls.clone3(syscalls.CLONE_NEWNS)
    if pid == 0:
        try:
            work()
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-3000:])
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as file:
        return file.read()


STEPS = {
    "bind": lambda place: Bind(str(place / "payload"), "/vol/x", parse(("rbind",))),
    "bind of a file": lambda place: Bind(str(place / "payload/marker"), "/vol/x/secret", parse(("bind",))),
    "tmpfs": lambda place: Filesystem("tmpfs", "", "/vol/x", parse(())),
    "mask": lambda place: Mask(("/vol/x", "/vol/x/secret")),
    "read-only": lambda place: ReadOnly(("/vol/x",)),
}


@pytest.mark.parametrize("kind", STEPS)
def test_each_kind_of_mount(place: Path, kind: str) -> None:
    step = STEPS[kind](place)
    mounts = Path("/proc/self/mountinfo").read_text()

    def work() -> None:
        root = Root(str(place / "root"))
        Cut(syscalls.MS_PRIVATE).apply(root)
        MountRoot(()).apply(root)
        Bind(str(place / "volume"), "/vol", parse(("rbind",))).apply(root)
        for _ in range(TRIES // 20):
            for _ in range(20):
                with contextlib.suppress(
                    FileExistsError, NotADirectoryError, FileNotFoundError, IsADirectoryError
                ):
                    step.apply(root)
            assert (place / "host/secret").read_text() == "host"
            assert sorted(os.listdir(place / "host")) == ["secret", "x"]
            (place / "host/secret").touch()

    with swapping(place / "volume/x", place / "volume/y", str(place / "host")):
        assert apart(work) == ""
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert sorted(os.listdir(place / "host")) == ["secret", "x"]


def test_two_containers(hako: Runtime, place: Path) -> None:
    """The attacker swaps in a container of its own; what the other one says of its mounts is inside."""
    attacker = Hostile(hako, "sh")
    attacker.with_python()
    attacker.mount("/vol", str(place / "volume"), "rbind")
    attacker.process(
        args=[
            os.path.realpath(sys.executable),
            "-I",
            "-S",
            "-c",
            SWAP,
            "/vol/x",
            "/vol/y",
            str(place / "host"),
        ]
    )
    attacker.start()
    while "ready" not in attacker.output:
        pass
    victim = Hostile(hako, "sh", "-c", "cat /proc/self/mountinfo")
    victim.mount("/vol", str(place / "volume"), "rbind")
    victim.mount("/vol/x", str(place / "payload"), "rbind")
    victim.mount("/vol/x/z", "tmpfs", kind="tmpfs")
    victim.linux(maskedPaths=["/vol/x/secret"])
    ran = 0
    for _ in range(8):
        done = victim.run()
        ran += done.returncode == 0
        assert (done.returncode == 0) == ("/vol" in done.stdout), done.stderr
        hako("delete", "--force", victim.name)
    assert ran
    assert (place / "host/secret").read_text() == "host"
    assert sorted(os.listdir(place / "host")) == ["secret", "x"]


def test_by_the_shim(engine: PrivateEngine, place: Path) -> None:
    volume = ["-v", f"{place}/volume:/vol"]
    with swapping(place / "volume/x", place / "volume/y", str(place / "host")):
        for _ in range(6):
            engine.hako(
                "run",
                "--rm",
                *volume,
                "-v",
                f"{place}/payload:/vol/x",
                "--tmpfs",
                "/vol/x/z",
                "hako/starter",
                "true",
            )
    assert (place / "host/secret").read_text() == "host"
    assert sorted(os.listdir(place / "host")) == ["secret", "x"]
