"""checkpoint and restore through CRIU: a program goes on where it was, and what fails leaves everything as it is."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hakobune.testing import bundle, peers
from hakobune.testing.shims import gone

pytestmark = [pytest.mark.root, pytest.mark.slow]
OURS = str(Path(sys.executable).with_name("hako-runtime"))
# Its number is only in its memory: if it goes on counting, the memory is the same.
COUNTER = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"


@pytest.fixture(scope="module")
def criu() -> str:
    program, why = peers.criu()
    return program or pytest.skip(why)


@pytest.fixture(scope="module")
def lower() -> Iterator[Path]:
    top = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
    yield bundle.unpack_starter(top / "root")
    shutil.rmtree(top)


class Counting:
    """A container that counts into `out`, by hako-runtime."""

    def __init__(self, place: Path, lower: Path, criu: str) -> None:
        self.place, self.criu = place, criu
        self.bundle = bundle.make(place / f"k{os.getpid()}", lower, ["sh", "-c", COUNTER])
        self.bundle.edit(root={"path": str(lower), "readonly": True})
        self.pipe = -1
        self.id, self.out, self.images = self.bundle.id, place / "out", place / "images"

    def run(self, *words: str, check: bool = True) -> str:
        """What it says in its log; both its streams are the container's."""
        log = self.place / "log"
        log.write_text("")
        line = [OURS, "--root", str(self.place / "state"), "--log", str(log), "--criu", self.criu, *words]
        with open(self.out if self.pipe < 0 else os.dup(self.pipe), "a") as out:
            code = subprocess.call(line, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=out if words[0] in ("run", "restore") else subprocess.DEVNULL, timeout=60)  # fmt: skip
        assert code == int(not check), log.read_text()
        return log.read_text()

    def begin(self) -> int:
        """Its pid, when it has counted to 3."""
        self.run(
            "run", "--detach", "--bundle", str(self.bundle.path), "--pid-file", f"{self.place}/pid", self.id
        )
        until(lambda: len(self.counted()) > 2)
        return int((self.place / "pid").read_text())

    def again(self, *flags: str) -> int:
        """Restore it; its new pid."""
        self.run("restore", "--detach", "--bundle", str(self.bundle.path), "--image-path", str(self.images),
                 "--pid-file", f"{self.place}/pid", *flags, self.id)  # fmt: skip
        return int((self.place / "pid").read_text())

    def counted(self) -> list[int]:
        return [int(line) for line in self.out.read_text().split() if line.isdecimal()]

    def goes_on(self, after: int) -> None:
        """It counts on from there, and leaves no number out."""
        until(lambda: len(self.counted()) > after + 3)
        assert self.counted() == list(range(1, len(self.counted()) + 1))

    def status(self) -> str:
        done = subprocess.run([OURS, "--root", str(self.place / "state"), "state", self.id], capture_output=True,
                              text=True, check=True)  # fmt: skip
        return str(json.loads(done.stdout)["status"])


def until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def make(tmp_path: Path, lower: Path) -> Iterator[Callable[[str], Counting]]:
    made: list[Counting] = []

    def one(criu: str) -> Counting:
        made.append(Counting(tmp_path, lower, criu))
        return made[-1]

    before = Path("/proc/self/mountinfo").read_text()
    yield one
    for counting in made:
        counting.run("delete", "--force", counting.id)
        assert os.listdir(tmp_path / "state") == []
    assert Path("/proc/self/mountinfo").read_text() == before
    assert not list(Path("/sys/fs/cgroup").glob(f"*/hakotest-{os.getpid()}"))


def test_it_goes_on_where_it_was(make: Callable[[str], Counting], criu: str) -> None:
    """Its output is a pipe, whose other end is not its own: the one who restores it gives it another."""
    counting = make(criu)
    with _piped(counting):
        pid = counting.begin()
        counting.run("checkpoint", "--image-path", str(counting.images), "--work-path", f"{counting.place}/work",
                     "--shell-job", "--tcp-established", "--file-locks", counting.id)  # fmt: skip
        assert gone(pid)
        assert "does not exist" in counting.run("state", counting.id, check=False)
        assert (counting.place / "work/dump.log").exists()
        before = len(counting.counted())
        counting.again(
            "--work-path", f"{counting.place}/work", "--shell-job", "--tcp-established", "--file-locks"
        )
        assert counting.status() == "running"
        counting.goes_on(before)
        counting.run("pause", counting.id)
        assert counting.status() == "paused"
        counting.run("resume", counting.id)
        counting.run("exec", counting.id, "true")
        counting.run("kill", counting.id, "KILL")


def test_it_may_run_on(make: Callable[[str], Counting], criu: str) -> None:
    """Left running after a dump; when it has gone the dump is restored, and counts on from there."""
    counting = make(criu)
    with _piped(counting):
        counting.begin()
        counting.run("checkpoint", "--leave-running", "--image-path", str(counting.images), counting.id)
        counting.goes_on(len(counting.counted()))
        assert counting.status() == "running"
        _restored_from_the_middle(counting)


def test_a_dump_on_top_of_a_pre_dump(make: Callable[[str], Counting], criu: str) -> None:
    counting = make(criu)
    early = ("checkpoint", "--pre-dump", "--image-path", f"{counting.place}/early", counting.id)
    with _piped(counting):
        counting.begin()
        if subprocess.run(
            [criu, "check", "--feature", "mem_dirty_track"], capture_output=True, check=False
        ).returncode:
            assert "CONFIG_MEM_SOFT_DIRTY" in counting.run(*early, check=False)
            counting.goes_on(len(counting.counted()))
            return
        counting.run(*early)
        counting.goes_on(len(counting.counted()))
        counting.run("checkpoint", "--leave-running", "--image-path", str(counting.images), "--parent-path", "../early",
                     counting.id)  # fmt: skip
        _restored_from_the_middle(counting)


def _restored_from_the_middle(counting: Counting) -> None:
    counting.run("delete", "--force", counting.id)
    counting.out.write_text("")
    counting.again()
    until(lambda: len(counting.counted()) > 3)
    found = counting.counted()
    assert found[0] > 3
    assert found == list(range(found[0], found[0] + len(found)))


@contextlib.contextmanager
def _piped(counting: Counting) -> Iterator[None]:
    """The container's output goes through a pipe into `out`, by a `cat`."""
    with (
        open(counting.out, "ab") as target,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=target) as cat,
    ):
        assert cat.stdin is not None
        counting.pipe = cat.stdin.fileno()
        try:
            yield
        finally:
            counting.pipe = -1
            cat.kill()


def test_a_criu_that_fails_changes_nothing(make: Callable[[str], Counting]) -> None:
    counting = make("/bin/false")
    counting.begin()
    said = counting.run("checkpoint", "--image-path", str(counting.images), counting.id, check=False)
    assert "criu dump failed: it wrote no log" in said
    assert counting.status() == "running"
    counting.goes_on(len(counting.counted()))
    counting.criu = "/no/such/criu"
    said = counting.run("checkpoint", "--image-path", str(counting.images), counting.id, check=False)
    assert "criu is needed for dump, and '/no/such/criu' cannot be executed" in said


def test_what_cannot_be_restored_leaves_nothing(make: Callable[[str], Counting], tmp_path: Path) -> None:
    counting = make("/bin/false")
    flags = (
        "restore",
        "--detach",
        "--bundle",
        str(counting.bundle.path),
        "--image-path",
        str(counting.images),
    )
    assert "no such directory of images" in counting.run(*flags, counting.id, check=False)
    counting.images.mkdir()
    assert "these are no images of a checkpoint" in counting.run(*flags, counting.id, check=False)
    for name in ("masked-files", "streams"):
        (counting.images / name).write_text("")
    assert "criu restore failed" in counting.run(*flags, counting.id, check=False)
    assert os.listdir(tmp_path / "state") == []
    assert "does not exist" in counting.run("checkpoint", counting.id, check=False)
