"""A descriptor of the host's or a working directory outside the root leads out of the container.

CVE-2024-21626 (the working directory is /proc/self/fd/N), CVE-2016-9962 (a descriptor of who enters is seen by who is in).
Guards: `close_range` with CLOEXEC before exec(2) and `_enter_directory`, which asks where it is (oci/init/child.py);
PR_SET_DUMPABLE before namespaces are entered (oci/init/namespaces.py, oci/init/child.py).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.security.hostile import Hostile

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root
NUMBERS = range(3, 65)
LIST = "cd /proc/self/fd; for fd in *; do echo $fd $(readlink $fd); done"


@pytest.fixture
def leaked() -> Iterator[list[int]]:
    """Directories of the host that are open in whoever calls the runtime, and inherited."""
    opened = [os.open("/", os.O_RDONLY | os.O_DIRECTORY) for _ in range(8)]
    for fd in opened:
        os.set_inheritable(fd, True)
    yield opened
    for fd in opened:
        os.close(fd)


def test_a_working_directory_among_the_runtimes_descriptors(hako: Runtime, leaked: list[int]) -> None:
    image = Hostile(hako, "cat", "etc/hostname")
    refused = 0
    for number in [*leaked[:3], *range(3, 10)]:
        image.process(cwd=f"/proc/self/fd/{number}")
        done = image.run(pass_fds=leaked)
        assert done.returncode != 0, number
        assert "chdir to cwd" in done.stderr or "outside the container" in done.stderr
        refused += "outside the container" in done.stderr
        hako("delete", "--force", image.name)
    assert refused >= 3


def test_an_exec_as_well(hako: Runtime, leaked: list[int]) -> None:
    image = Hostile(hako, "sleep", "60")
    image.start()
    for number in [*leaked[:3], *range(3, 9)]:
        done = hako(
            "exec", "--cwd", f"/proc/self/fd/{number}", image.name, "pwd", check=False, pass_fds=leaked
        )
        assert (done.returncode, done.stdout) == (255, ""), done.stderr


def test_a_link_of_the_image_to_a_descriptor(hako: Runtime, leaked: list[int]) -> None:
    image = Hostile(hako, "pwd")
    for number in leaked[:3]:
        image.link("/work", f"/proc/self/fd/{number}")
        image.process(cwd="/work")
        done = image.run(pass_fds=leaked)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        hako("delete", "--force", image.name)


def test_only_three_descriptors_come_along(hako: Runtime, leaked: list[int]) -> None:
    image = Hostile(hako, "sh", "-c", LIST + "; echo; sleep 60")
    with (image.path / "out").open("w") as out:
        hako("run", "-d", "--bundle", str(image.path), image.name, stdout=out, pass_fds=leaked)
    while not image.output.endswith("\n\n"):
        time.sleep(0.01)
    inside = hako("exec", image.name, "sh", "-c", LIST, pass_fds=leaked).stdout
    for said in (image.output, inside):
        # ls-like, the shell itself has one open while it reads the directory
        assert {line.split()[0] for line in said.splitlines() if line} <= {"0", "1", "2", "3", "10", "255"}, (
            said
        )
        assert not [line for line in said.splitlines() if line.endswith((" /", " /old_root"))], said


def test_those_who_come_in_are_not_to_be_looked_into(hako: Runtime, leaked: list[int]) -> None:
    """CVE-2016-9962: a process of the container waits for others, and for their descriptors. It has Docker's capabilities."""
    image = Hostile(hako, "sh")
    image.capable()
    image.python(
        """\
import os, time
seen = set(os.listdir("/proc"))
mine = os.readlink("/proc/self/exe")
print("ready", flush=True)
end = time.monotonic() + 10
while time.monotonic() < end and not os.path.exists("/stop"):
    for pid in set(os.listdir("/proc")) - seen:
        try:
            program = os.readlink(f"/proc/{pid}/exe")
            if "python" not in program and "memfd" not in program:
                continue
            print("caught", program, [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")], flush=True)
        except PermissionError:
            print("refused", flush=True)
        except OSError:
            pass
"""
    )
    image.start()
    while "ready" not in image.output:
        time.sleep(0.01)
    for _ in range(8):
        hako("exec", image.name, "sh", "-c", ":", pass_fds=leaked)
    hako("exec", image.name, "touch", "/stop")
    hako.until(image.name, "stopped")
    assert set(image.output.split("\n")) == {"ready", "refused", ""}


@pytest.mark.parametrize("number", [3, 7, 8, 9, 12, 20])
def test_a_working_directory_by_the_shim(engine: PrivateEngine, number: int) -> None:
    place = f"/proc/self/fd/{number}"
    done = engine.hako("run", "--rm", "-w", place, "hako/starter", "cat", "../../etc/shadow")
    assert done.returncode != 0
    assert done.stdout == ""


def test_an_exec_by_the_shim(engine: PrivateEngine) -> None:
    engine.hako("run", "-d", "--name", "one", "hako/starter", "sleep", "60")
    for number in range(3, 24):
        done = engine.hako("exec", "-w", f"/proc/self/fd/{number}", "one", "pwd")
        assert done.returncode != 0, number
        assert done.stdout.startswith("OCI runtime exec failed: "), number
    said = (
        engine.hako("exec", "one", "sh", "-c", LIST).stdout
        + engine.hako("run", "--rm", "hako/starter", "sh", "-c", LIST).stdout
    )
    assert {line.split()[0] for line in said.splitlines()} <= {"0", "1", "2", "3", "10", "255"}, said


def test_the_state_tells_of_no_descriptor(hako: Runtime) -> None:
    """A created container, which waits at its gate, is in the container already: nobody of it may look into it."""
    image = Hostile(hako, "sleep", "60")
    image.capable()
    with (image.path / "out").open("w") as out:
        hako("create", "--bundle", str(image.path), image.name, stdout=out)
    done = hako(
        "exec",
        image.name,
        "sh",
        "-c",
        "readlink /proc/1/exe /proc/1/cwd /proc/1/root /proc/1/fd/*",
        check=False,
    )
    assert done.stdout == ""
    pid = json.loads(hako("state", image.name).stdout)["pid"]
    assert Path(f"/proc/{pid}/fd").stat().st_uid == 0
