"""Users of the host without privileges read containers' files, or find their setuid programs (CVE-2021-41091, CVE-2021-41103, CVE-2024-25621).

Guards: the modes with which engine/app.py, engine/volumes/volumes.py, containerd/app.py, the snapshotter, the content store and
oci/status.py make their directories. With 0755 for the data root a layer's setuid program is found.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.security.hostile import Hostile

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    """With setuid programs in a layer, a container, a volume; its own root is one that everybody may enter, as /var/lib is."""
    with PrivateEngine() as running:
        running.root.chmod(0o755)
        make = "cp /bin/cat /evil; chmod 6755 /evil; cp -p /evil /vol/evil; echo secret >/vol/secret; echo logged; touch /ready; sleep 60"
        assert (
            running.hako(
                "run",
                "-d",
                "--name",
                "one",
                "-e",
                "SECRET=geheim",
                "-v",
                "vol:/vol",
                "hako/starter",
                "sh",
                "-c",
                make,
            ).returncode
            == 0
        )
        while running.hako("exec", "one", "test", "-e", "/ready").returncode:
            pass
        assert running.hako("commit", "one", "evil").returncode == 0
        assert running.hako("run", "--name", "two", "evil", "true").returncode == 0
        yield running


def as_nobody(work: Callable[[], list[str]]) -> list[str]:
    """What a process of nobody's says of it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(())
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os.write(writing, "\n".join(work()).encode()[:60000])
        except BaseException as err:
            os.write(writing, repr(err).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    os.waitpid(pid, 0)
    return said.splitlines()


def reached(top: Path) -> list[str]:
    """What can be read, connected to, or executed with somebody's rights, by walking and by guessing names."""
    found = []
    for directory, _names, files in os.walk(top):
        for name in files:
            path = os.path.join(directory, name)
            mode = os.lstat(path).st_mode
            if mode & (stat.S_ISUID | stat.S_ISGID):
                found.append(f"setuid {path}")
            elif (
                stat.S_ISREG(mode)
                and os.access(path, os.R_OK)
                and not name.endswith(("hakod.log", "hakod.pid"))
            ):
                found.append(f"readable {path}")
            elif stat.S_ISSOCK(mode):
                with socket.socket(socket.AF_UNIX) as client:
                    if client.connect_ex(path) == 0:
                        found.append(f"socket {path}")
    return found


def test_nobody_finds_anything(engine: PrivateEngine) -> None:
    assert as_nobody(lambda: reached(engine.root)) == []


def test_nor_by_the_paths_themselves(engine: PrivateEngine) -> None:
    """Directories that cannot be listed, but entered, hide nothing from those who know a name; root knows all of them."""
    paths = [
        str(path) for path in engine.root.rglob("*")
        if "rootfs" not in path.parts and path.name not in ("hakod.log", "hakod.pid") and not path.is_symlink() and not path.is_dir()
    ]  # fmt: skip
    assert [path for path in paths if os.lstat(path).st_mode & stat.S_ISUID], "the trap is not set"

    def guess() -> list[str]:
        return [path for path in paths if os.access(path, os.R_OK) or os.access(path, os.X_OK)]

    assert [path for path in as_nobody(guess) if "/vol" not in path] == []
    assert as_nobody(guess) == []


def test_the_modes(engine: PrivateEngine) -> None:
    """Nothing at the top of the two roots may be listed by others, and nothing is to be written by them."""
    for root in (engine.root / "d", engine.root / "e"):
        assert root.stat().st_mode & 0o766 & 0o066 == 0, root
    for path in (engine.root / "d").rglob("*"):
        if path.is_dir() and not path.is_symlink() and len(path.relative_to(engine.root).parts) <= 3:
            assert path.stat().st_mode & 0o022 == 0, path


def test_the_programs_own(hako: Runtime, tmp_path: Path) -> None:
    image = Hostile(hako, "sleep", "60")
    image.start()
    state = hako.place / "state"
    assert state.stat().st_mode & 0o066 == 0
    assert (state / image.name).stat().st_mode & 0o077 == 0
    for path in (hako.place, *hako.place.parents):
        if str(path).startswith("/tmp/"):
            path.chmod(path.stat().st_mode | 0o055)
    assert (
        as_nobody(
            lambda: [path for path in map(str, (state / image.name).rglob("*")) if os.access(path, os.R_OK)]
        )
        == []
    )
    names = [str(path) for path in (state / image.name).iterdir()]
    assert names
    assert as_nobody(lambda: [path for path in names if os.access(path, os.R_OK)]) == []
