"""hako-runtime as a user without privileges: with a map of that user alone, and with one of /etc/subuid."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import hakobune
from hakobune.testing import bundle

pytestmark = [pytest.mark.root, pytest.mark.slow]
USER = 65534
PROGRAM = "import sys; sys.path.insert(0, sys.argv.pop(1)); from hakobune.cmd.runtime import main; main()"
# /etc/subuid of this host stays as it is: in a mount namespace another file lies over it.
AS_USER = f"""for name in subuid subgid; do mount --bind "$0" /etc/$name; done
exec setpriv --reuid {USER} --regid {USER} --clear-groups "$@\""""


class User:
    """Somebody's own copy of the program, and a bundle of theirs."""

    def __init__(self, place: Path, python: str) -> None:
        self.place, self.python = place, python
        shutil.copytree(
            Path(hakobune.__file__).parent,
            place / "src/hakobune",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        bundle.unpack_starter(place / "b/rootfs")
        (place / "run").mkdir()
        (place / "ids").write_text(f"{USER}:200000:1000\n")
        subprocess.run(["chown", "-R", f"{USER}:{USER}", place], check=True)

    def __call__(self, *words: str, detached: bool = False) -> subprocess.CompletedProcess[str]:
        """Run it; one that is detached gets no pipe, which its container would keep open: it complains to a file."""
        line = ["unshare", "--mount", "sh", "-c", AS_USER, str(self.place / "ids"), self.python, "-I", "-c", PROGRAM,
                str(self.place / "src"), *words]  # fmt: skip
        with tempfile.TemporaryFile("w+") as said:
            pipe = said if detached else subprocess.PIPE
            done = subprocess.run(line, cwd=self.place / "b", check=False, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe,
                                  text=True, timeout=60, env={"PATH": f"{os.defpath}:/usr/sbin:/sbin",
                                                              "XDG_RUNTIME_DIR": str(self.place / "run")})  # fmt: skip
            if detached:
                said.seek(0)
                done.stderr = said.read()
        return done

    def config(self, *args: str, sizes: int = 1) -> None:
        """A fresh config.json by `spec --rootless`; with `sizes` more ids, of /etc/subuid."""
        path = self.place / "b/config.json"
        path.unlink(missing_ok=True)
        done = self("spec", "--rootless")
        assert done.returncode == 0, done.stderr
        document = json.loads(path.read_text())
        document["process"] |= {"args": list(args), "terminal": False}
        if sizes > 1:
            for field in ("uidMappings", "gidMappings"):
                document["linux"][field].append({"containerID": 1, "hostID": 200000, "size": sizes - 1})
        path.write_text(json.dumps(document))


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or ""
    reach = subprocess.run(["setpriv", "--reuid", str(USER), "--clear-groups", python or "false", "-c",
                            "import sys; sys.exit(sys.version_info < (3, 11))"], check=False)  # fmt: skip
    if reach.returncode:
        pytest.skip("no python3 of at least 3.11 that a user without privileges can execute")
    place = Path(tempfile.mkdtemp(prefix="hl-", dir="/tmp"))
    place.chmod(0o755)
    yield User(place, python)
    shutil.rmtree(place)


def test_a_map_of_the_user_alone(user: User) -> None:
    user.config("sh", "-c", "echo $(cat /proc/self/uid_map) $(cat /proc/self/setgroups); exit 7")
    done = user("run", "one")
    assert (done.returncode, done.stdout) == (7, f"0 {USER} 1 deny\n"), done.stderr
    assert os.listdir(user.place / "run/hako-runtime") == []


def test_a_map_of_subuid(user: User) -> None:
    if not shutil.which("newuidmap"):
        pytest.skip("peer not installed: newuidmap (uidmap)")
    user.config("sh", "-c", "echo $(cat /proc/self/uid_map)", sizes=1000)
    done = user("run", "two")
    assert (done.returncode, done.stdout) == (0, f"0 {USER} 1 1 200000 999\n"), done.stderr
    user.config("true", sizes=5000)
    done = user("run", "three")
    assert done.returncode == 1
    assert "/etc/subuid and /etc/subgid have to have it" in done.stderr
    assert os.listdir(user.place / "run/hako-runtime") == []


def test_it_is_killed_without_a_control_group(user: User) -> None:
    user.config("sleep", "600")
    done = user("run", "--detach", "--pid-file", f"{user.place}/run/pid", "four", detached=True)
    assert done.returncode == 0, done.stderr
    pid = int((user.place / "run/pid").read_text())
    assert json.loads(user("state", "four").stdout)["status"] == "running"
    assert user("delete", "--force", "four").returncode == 0
    assert not os.path.exists(f"/proc/{pid}") or "zombie" in Path(f"/proc/{pid}/status").read_text()
    assert "does not exist" in user("state", "four").stderr


def test_limits_are_not_dropped_in_silence(user: User) -> None:
    user.config("true")
    path = user.place / "b/config.json"
    document = json.loads(path.read_text())
    document["linux"]["resources"] = {"pids": {"limit": 10}}
    path.write_text(json.dumps(document))
    done = user("run", "five")
    assert done.returncode == 1
    assert "ermission denied" in done.stderr
