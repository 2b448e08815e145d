"""The image's passwd and group files are endless, block their reader, or are the host's (CVE-2024-9676, CVE-2026-47262).

Guards: they are opened in the root, without blocking, without waiting for a terminal, only when they are regular files, and a
megabyte is read at most (`read` of engine/containers/rootfs.py, `read_small` of oci/rootfs/safepath.py). With `open(...).read()`
of a joined path a FIFO holds the engine, and the host's users are found.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.security.hostile import Hostile

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root
SECONDS = 5.0  # until a build that waits for somebody to write into a FIFO is known to wait
MOST_MORE = 48 << 20  # bytes
KINDS = {
    "a FIFO": "mkfifo $f", "endless": "ln -s /dev/zero $f", "a terminal": "ln -s /dev/tty $f", "a directory": "mkdir $f",
    "a gibibyte": "truncate -s 1G $f", "a gibibyte of one line": "head -c 3000000 /dev/zero | tr '\\0' x >$f; truncate -s 1G $f",
    "a loop": "ln -s $f $f", "the host's": "ln -s HOST $f", "the host's, by magic": "ln -s /proc/1/root/HOST $f",
    "the host's, from above": "ln -s ../../../../../../../../../HOST $f", "random bytes": "head -c 100000 /dev/urandom >$f",
    "many lines": "yes ':::::::' | head -c 900000 >$f", "nothing": "true",
}  # fmt: skip


def resident(pid: int) -> int:
    """Its most, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    return 0


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A file of users of the host's, one of whom is root of another name."""
    tmp_path.chmod(0o755)
    file = tmp_path / "passwd"
    file.write_text("evil:x:0:0::/evil:\nevil:x:0:\n")
    return file


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    with PrivateEngine() as running:
        assert running.hako("run", "-d", "--name", "base", "hako/starter", "sleep", "600").returncode == 0
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_by_the_engine(engine: PrivateEngine, kind: str, users: Path) -> None:
    """Of an image, by run; of a container that is running, by exec, and inside an exec for its home."""
    script = (
        "for f in /etc/passwd /etc/group; do rm -rf $f; " + KINDS[kind].replace("HOST", str(users)) + "; done"
    )
    assert engine.hako("exec", "base", "sh", "-c", script).returncode == 0
    daemon = engine.daemons()["hakod"]
    before = resident(daemon)
    start = time.monotonic()
    done = engine.hako("exec", "-u", "evil", "base", "id", timeout=30)
    assert (done.returncode != 0, "uid=" in done.stdout) == (True, False), kind
    done = engine.hako("exec", "-u", "1:2", "base", "sh", "-c", "id -u; id -g; echo $HOME", timeout=30)
    assert done.stdout.split() == ["1", "2", "/"], done.stderr
    if "gibibyte" not in kind:  # a commit would read that
        assert engine.hako("commit", "base", "evil").returncode == 0
        done = engine.hako("run", "--rm", "-u", "evil", "evil", "id", timeout=30)
        assert done.returncode != 0
        assert "unable to find user evil" in done.stderr
        done = engine.hako("run", "--rm", "evil", "sh", "-c", "echo $HOME", timeout=30)
        assert done.stdout == "/root\n", done.stderr
    assert time.monotonic() - start < SECONDS * 4
    assert resident(daemon) - before < MOST_MORE


@pytest.mark.parametrize("kind", KINDS)
def test_by_the_program(hako: Runtime, kind: str, users: Path) -> None:
    image = Hostile(hako, "sh", "-c", "echo $HOME")
    script = f"f={image.root}/etc/passwd; rm -rf $f; mkdir -p {image.root}/etc; " + KINDS[kind].replace(
        "HOST", str(users)
    )
    if kind == "a loop":
        script = script.replace("ln -s $f $f", "ln -s /etc/passwd $f")
    assert os.system(script) == 0
    image.process(env=["PATH=/bin"])
    done = image.run(timeout=SECONDS)
    assert (done.returncode, done.stdout) == (0, "/root\n"), done.stderr


def test_a_home_that_is_no_path(hako: Runtime) -> None:
    """What stands there goes into the environment, and into nothing else: one line, absolute."""
    for line, home in (
        ("root:x:0:0::/x=y:", "/x=y"), ("root:x:0:0::relative:", "/"), ("root:x:0:0:::", "/"), ("root:x:00:0::/no:", "/root"),
        ("root:x:0:0::/" + "a" * 5000 + ":", "/" + "a" * 5000), ("root:x:0:0::/a\0PATH=/evil:", None),
    ):  # fmt: skip
        image = Hostile(hako, "sh", "-c", 'echo "$HOME"')
        image.file("/etc/passwd", line + "\n")
        done = image.run()
        if home is None:
            assert "/evil" not in done.stdout
        else:
            assert done.stdout == home + "\n", done.stderr
        hako("delete", "--force", image.name)
