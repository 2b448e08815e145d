"""The suite of task.runtime's Protocol on the runtime built in, on it as a program, on runc and on crun."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hakobune.cgroups.layout import detect
from hakobune.errors import InvalidArgument
from hakobune.linux import bare
from hakobune.task.runtime import Program
from hakobune.testing import bundle
from hakobune.testing.runtimes import CHECKS, Held, Make, adopting

pytestmark = [pytest.mark.root, pytest.mark.slow]
NAMES = ("built in", "hako-runtime", "runc", "crun")


def _program(name: str) -> str:
    if name == "built in":
        return ""
    if name == "hako-runtime":
        return str(Path(sys.executable).with_name(name))
    found = shutil.which(name) or pytest.skip(f"peer not installed: {name}")
    if name == "crun" and detect().mode == "hybrid":
        pytest.skip("crun: cgroups in hybrid mode not supported, drop all controllers from cgroupv2")
    return found


@pytest.fixture(scope="module")
def lower() -> Iterator[Path]:
    top = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
    yield bundle.unpack_starter(top / "root")
    shutil.rmtree(top)


@pytest.fixture(params=NAMES)
def make(request: pytest.FixtureRequest, tmp_path: Path, lower: Path) -> Iterator[Make]:
    program = Program(_program(request.param))
    made: list[Held] = []

    def one(*args: str, **sections: object) -> Held:
        found = bundle.make(tmp_path / f"s{len(made)}-{os.getpid()}", lower, args, **sections)  # type: ignore[arg-type]
        made.append(Held(found, program))
        return made[-1]

    bare.make_ready()  # as in a zygote
    with adopting():
        yield one
        for held in made:
            if not (held.bundle.path / "config.json").read_text().startswith('{"'):
                continue
            held.remove()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/hakotest-{os.getpid()}"))


@pytest.mark.parametrize("check", list(CHECKS))
def test_suite(make: Make, check: str) -> None:
    CHECKS[check](make)


@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize("make", ["built in"], indirect=True)
def test_a_created_container_holds_little(make: Make, lower: Path, no_new_privileges: bool) -> None:
    """It waits without an interpreter; how it goes on is told as ever."""
    if not bare.is_ready():
        pytest.skip(f"no code for {os.uname().machine}")
    held = make("cat", "/proc/1/status")
    held.bundle.edit(process={"noNewPrivileges": no_new_privileges})
    held.create()
    end = time.monotonic() + 5
    while (kib := _pss(held.pid)) > 512 and time.monotonic() < end:
        time.sleep(0.01)
    assert kib <= 512
    held.start()
    assert held.wait() == 0
    assert f"NoNewPrivs:\t{int(no_new_privileges)}\n" in held.output
    for kind in ("Blk", "Ign", "Cgt"):
        assert f"Sig{kind}:\t{0:016x}\n" in held.output
    (lower / "script").write_text("#!/nowhere\n")
    (lower / "script").chmod(0o755)
    other = make("/script")
    other.create()
    with pytest.raises(InvalidArgument, match="exec /script: no such file or directory"):
        other.start()


def _pss(pid: int) -> int:
    """KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
