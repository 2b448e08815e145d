"""The terminal is taken from, or bound to, what the image says is /dev/console, /dev/ptmx or /dev/pts/N (CVE-2025-52565, CVE-2016-9962's kin).

Guards (oci/init/terminal.py): the multiplexer is made sure of by its number, the slave comes from it by TIOCGPTPEER and never by a
path, /dev/console is no link (`_console`: with `safepath.ensure_file` instead, the slave lies over what the link names).
"""

from __future__ import annotations

import json
import os
import pty
import select
from pathlib import Path

import pytest
from tests.security.hostile import Hostile

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root


def on_a_terminal(image: Hostile) -> tuple[int, str]:
    """(exit status, output) with a terminal of ours in front of it."""
    image.process(terminal=True)
    master, slave = pty.openpty()
    done = image.run(stdin=slave, stdout=slave)
    os.close(slave)
    said = b""
    while select.select([master], [], [], 0)[0]:
        try:
            said += os.read(master, 4096)
        except OSError:
            break
    os.close(master)
    return done.returncode, said.decode() + done.stderr


def test_a_console_that_is_a_link(hako: Runtime) -> None:
    for target in ("/proc/stat", "/etc/passwd", "/nowhere", "../../../../../../../etc/passwd"):
        image = Hostile(hako, "sh", "-c", "stat -c '%n %F' /etc/passwd /proc/stat")
        image.without("/dev", "/dev/shm", "/dev/mqueue")
        (image.root / "dev/pts").mkdir(exist_ok=True)
        image.link("/dev/console", target)
        code, said = on_a_terminal(image)
        assert code == 1, said
        assert "is a link in the image" in said
        assert not (image.root / "nowhere").exists()
        hako("delete", "--force", image.name)


@pytest.mark.parametrize("name", ["ptmx", "0", "1"])
def test_a_multiplexer_of_the_image(hako: Runtime, name: str) -> None:
    """Without a devpts of its own, in whose place the image has files, links or a device of another number."""
    for make in (
        lambda place: place.symlink_to("/proc/stat"), lambda place: place.write_text("file"),
        lambda place: os.mknod(place, 0o20666, os.makedev(1, 7)), lambda place: os.mknod(place, 0o20666, os.makedev(5, 2)),
        lambda place: place.symlink_to("/dev/console"),
    ):  # fmt: skip
        image = Hostile(hako, "true")
        image.without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
        (image.root / "dev/pts").mkdir(exist_ok=True)
        make(image.root / "dev/pts" / name)
        code, said = on_a_terminal(image)
        assert code == 1, said
        hako("delete", "--force", image.name)


def test_links_in_the_multiplexers_place_are_replaced(hako: Runtime) -> None:
    """/dev/ptmx of an image would be the host's multiplexer: programs inside get the container's."""
    image = Hostile(hako, "sh", "-c", "readlink /dev/ptmx; tty; stat -c %F /dev/console")
    image.without("/dev", "/dev/shm", "/dev/mqueue")
    (image.root / "dev/pts").mkdir(exist_ok=True)
    os.mknod(image.root / "dev/ptmx", 0o20666, os.makedev(5, 2))
    code, said = on_a_terminal(image)
    assert (code, said.split()) == (0, ["pts/ptmx", "/dev/pts/0", "character", "special", "file"])


def test_a_container_gets_its_terminal_from_its_own_devpts(hako: Runtime) -> None:
    """Its number is the first of an instance of its own, whatever the host has."""
    image = Hostile(hako, "sh", "-c", "tty; ls /dev/pts")
    code, said = on_a_terminal(image)
    assert (code, said.split()) == (0, ["/dev/pts/0", "0", "ptmx"])


def test_an_exec_finds_the_devpts_covered(hako: Runtime) -> None:
    """Root of a container with CAP_SYS_ADMIN has bound things over its devpts: an exec with a terminal is refused, or its own."""
    image = Hostile(hako, "sh", "-c", "mount --bind /etc/passwd /dev/pts/ptmx && sleep 60")
    image.capable("CAP_SYS_ADMIN")
    image.start()
    master, slave = pty.openpty()
    while not Path(f"/proc/{(pid := _pid(hako, image))}/mounts").read_text().count("/dev/pts/ptmx"):
        assert pid
    done = hako("exec", "--tty", image.name, "true", check=False, stdin=slave, stdout=slave)
    for fd in (master, slave):
        os.close(fd)
    assert done.returncode == 255
    assert "multiplexer" in done.stderr or "/dev/pts/ptmx" in done.stderr


def _pid(hako: Runtime, image: Hostile) -> int:
    return int(json.loads(hako("state", image.name).stdout)["pid"])


def test_nobody_types_into_the_callers_terminal(hako: Runtime) -> None:
    """TIOCSTI: the caller's terminal is a container's standard input, and is not its controlling terminal."""
    image = Hostile(hako, "sh")
    image.capable()
    image.python(
        "import fcntl, sys\ntry: fcntl.ioctl(0, 0x5412, b'x'); print('typed')\nexcept OSError as err: print(err.errno)"
    )
    master, slave = pty.openpty()
    done = image.run(stdin=slave)
    for fd in (master, slave):
        os.close(fd)
    assert done.stdout in ("1\n", "5\n"), done.stderr


def test_by_the_shim(engine: PrivateEngine, tmp_path: Path) -> None:
    assert engine.hako("run", "--name", "base", "hako/starter", "true").returncode == 0
    for name in ("console", "ptmx"):
        (tmp_path / name).symlink_to("/proc/stat")
        assert engine.hako("cp", str(tmp_path / name), f"base:/dev/{name}").returncode == 0
    assert engine.hako("commit", "base", "evil").returncode == 0
    done = engine.hako(
        "run", "--rm", "-t", "evil", "sh", "-c", "tty; readlink /dev/ptmx; stat -c %F /dev/console /proc/stat"
    )
    assert done.stdout.splitlines() == [
        "/dev/pts/0",
        "pts/ptmx",
        "character special file",
        "regular empty file",
    ]
