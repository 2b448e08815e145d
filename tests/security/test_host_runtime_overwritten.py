"""The host's interpreter is overwritten from a container through /proc/PID/exe (CVE-2019-5736).

Guards: hako-runtime executes itself again from a sealed copy in memory (`_seal` of cmd/runtime.py, linux/sealed.py), the
zygote from a read-only clone of the mount (`_clone` of cmd/zygote.py). Without them the first two tests find their
interpreter overwritten, the third one finds it on a writable mount.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.security.hostile import Hostile

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root

KEEP = """\
import os
mine = os.open("/proc/self/exe", os.O_RDONLY)
os.set_inheritable(mine, True)
os.environ["FD"] = str(mine)
"""
# A shell, so that nobody runs the interpreter any more: as long as one does, the kernel lets nobody write to it.
OVERWRITE = """\
os.execv("/bin/sh", ["sh", "-c", "n=0; while [ $n -lt 60 ]; do echo overwritten 2>/dev/null >/proc/self/fd/$FD && exit 7;"
    " n=$((n+1)); sleep 0.01; done; echo kept"])
"""


@pytest.fixture
def interpreter(tmp_path: Path, hako: Runtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the interpreter, with the modules of ours, which is the host's as far as `hako` is concerned."""
    made = tmp_path / "installation"
    (made / "bin").mkdir(parents=True)
    (made / "lib").symlink_to(Path(sys.prefix) / "lib")
    (made / "pyvenv.cfg").write_text(f"home = {sys.base_prefix}/bin\n")
    program = made / "bin" / "python3"
    shutil.copy(os.path.realpath(sys.executable), program)
    before = program.read_bytes()
    monkeypatch.setattr(sys, "executable", str(program))
    yield program
    after = program.read_bytes()
    program.unlink()
    program.write_bytes(before)  # for the rest of this test
    program.chmod(0o755)
    assert after == before, "the host's interpreter has been overwritten"


def attack(hako: Runtime, *words: str) -> Hostile:
    """The entry point is a script of /proc/self/exe: what runs it is who was about to, the host's interpreter."""
    image = Hostile(hako, *words)
    image.with_python()
    image.capable("CAP_SYS_PTRACE")
    image.process(env=[f"PYTHONHOME={sys.base_prefix}", "PATH=/bin"])
    image.file("/entry", "#!/proc/self/exe\n" + KEEP + OVERWRITE)
    return image


def test_the_entry_point_is_the_runtimes_own_interpreter(hako: Runtime, interpreter: Path) -> None:
    image = attack(hako, "/entry")
    image.start()
    hako.until(image.name, "stopped")
    assert image.output == "kept\n"


def test_an_exec_is_waited_for(hako: Runtime, interpreter: Path) -> None:
    """The container opens the program of every process that comes in, for which CAP_SYS_PTRACE lets it."""
    image = attack(hako, "sh")
    image.python(
        """\
import os, time
known = set(os.listdir("/proc"))
print("ready", flush=True)
end = time.monotonic() + 10
while time.monotonic() < end:
    for pid in set(os.listdir("/proc")) - known:
        try:
            mine = os.open(f"/proc/{pid}/exe", os.O_RDONLY)
        except OSError:
            continue
        if os.path.basename(os.readlink(f"/proc/self/fd/{mine}").split(" (")[0]).startswith(("sh", "bash", "dash")):
            os.close(mine)
            continue
        print("caught", flush=True)
        os.set_inheritable(mine, True)
        os.environ["FD"] = str(mine)
"""
        + "        "
        + OVERWRITE.replace("\n    ", " ")
    )
    image.start()
    while "ready" not in image.output:
        time.sleep(0.01)
    for _ in range(20):
        hako("exec", image.name, "sh", "-c", ":", check=False)
        if "caught" in image.output:
            break
    hako.until(image.name, "stopped")
    assert image.output == "ready\ncaught\nkept\n"


def test_by_the_shim_as_well(engine: PrivateEngine, tmp_path: Path) -> None:
    """The zygote's interpreter is on a mount that is read-only and in no namespace: nobody can make it writable."""
    entry = tmp_path / "entry"
    entry.write_text(
        "#!/proc/self/exe\nimport os; print(os.path.basename(os.readlink('/proc/self/exe')),"
        " bool(os.statvfs('/proc/self/exe').f_flag & os.ST_RDONLY))\n"
    )
    entry.chmod(0o755)
    binds = ["-v", f"{entry}:/entry", "-v", "/usr:/usr:ro", "-v", f"{sys.base_prefix}:{sys.base_prefix}:ro",
             "-e", f"PYTHONHOME={sys.base_prefix}"]  # fmt: skip
    name = os.path.basename(os.path.realpath(sys.executable))
    done = engine.hako("run", "--rm", *binds, "hako/starter", "/entry")
    assert (done.stdout, done.stderr) == (f"{name} True\n", "")
    engine.hako("run", "-d", "--name", "other", *binds, "hako/starter", "sleep", "60")
    done = engine.hako("exec", "other", "/entry")
    assert (done.stdout, done.stderr) == (f"{name} True\n", "")


def test_the_program_is_apart_from_its_caller(tmp_path: Path) -> None:
    """Neither PYTHONPATH nor the working directory has a say in it, also when it is called through a link.

    Guard: -I in launchers/hako-runtime.
    """
    for name in ("sitecustomize", "json", "hakobune"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('planted')")
    program = tmp_path / "link"
    program.symlink_to(Path(sys.executable).with_name("hako-runtime"))
    for path in (program, program.resolve()):
        done = subprocess.run([path, "--root", str(tmp_path / "state"), "state", "nope"], cwd=tmp_path, check=False,
                              env={"PATH": os.defpath, "PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": "json.py"},
                              capture_output=True, text=True)  # fmt: skip
        assert (done.returncode, done.stderr) == (1, "hako-runtime: container does not exist\n")
