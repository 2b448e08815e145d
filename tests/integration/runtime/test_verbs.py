"""`hako-runtime` by hand: a bundle on disk, and every verb that runc has."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from hakobune.testing.hand import Runtime
from hakobune.testing.shims import gone

pytestmark = pytest.mark.root
Done = subprocess.CompletedProcess[str]


def pid_of(hako: Runtime, name: str) -> int:
    return int((hako.place / name / "pid").read_text())


def test_the_whole_life(hako: Runtime) -> None:
    name = hako.created("sh", "-c", "echo from inside; sleep 60")
    state = json.loads(hako("state", name).stdout)
    assert (state["status"], state["pid"], state["id"]) == ("created", pid_of(hako, name), name)
    assert hako.output(name) == ""
    hako("start", name)
    assert hako.status(name) == "running"
    assert (
        hako("start", name, check=False).stderr == "hako-runtime: cannot start an already running container\n"
    )
    refused = hako("delete", name, check=False)
    assert refused.returncode == 1
    assert "that is not stopped: running" in refused.stderr
    hako("kill", name, "KILL")
    assert gone(pid_of(hako, name))
    hako.until(name, "stopped")
    assert hako("kill", name, "9", check=False).stderr == "hako-runtime: container not running\n"
    hako("delete", name)
    assert "container does not exist" in hako("state", name, check=False).stderr
    assert hako.output(name) == "from inside\n"
    last = json.loads((hako.place / "log").read_text().splitlines()[-1])
    assert (last["level"], last["msg"]) == ("error", "container does not exist")


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_run_in_the_foreground(hako: Runtime, script: str, code: int) -> None:
    path = hako.bundle("sh", "-c", f"echo out; {script}")
    if code == 137:  # init of a pid namespace cannot kill itself: let its child end it from outside
        path = hako.bundle("sh", "-c", "echo out; (exit 137)")
    done = hako("run", "--bundle", path, os.path.basename(path), check=False)
    assert (done.returncode, done.stdout) == (code, "out\n")
    assert hako("list", "-q").stdout.strip() == ""


def test_run_detached_and_exec(hako: Runtime) -> None:
    path = hako.bundle("sleep", "60")
    name = os.path.basename(path)
    hako("run", "-d", "--bundle", path, "--pid-file", f"{path}/pid", name, stdout=subprocess.DEVNULL)
    done = hako(
        "exec", "--env", "A=b", "--cwd", "/tmp", name, "sh", "-c", "echo $A $(pwd) $$; exit 3", check=False
    )
    assert done.returncode == 3
    assert done.stdout.startswith("b /tmp ")
    done = hako("exec", name, "nope", check=False)
    assert done.returncode == 255
    assert 'exec: "nope": executable file not found in $PATH' in done.stderr
    process = json.loads(Path(path, "config.json").read_text())["process"] | {"args": ["sleep", "61"]}
    Path(path, "p.json").write_text(json.dumps(process))
    hako(
        "exec",
        "--process",
        f"{path}/p.json",
        "--detach",
        "--pid-file",
        f"{path}/e",
        name,
        stdout=subprocess.DEVNULL,
    )
    assert sorted(json.loads(hako("ps", "--format", "json", name).stdout)) == sorted(
        [pid_of(hako, name), int(Path(path, "e").read_text())]
    )
    assert "sleep 61" in hako("ps", name).stdout
    assert json.loads(hako("list", "-f", "json").stdout)[0]["status"] == "running"
    assert name in hako("list").stdout
    hako("delete", "-f", name)
    assert gone(pid_of(hako, name))


def test_pause_update_events(hako: Runtime) -> None:
    name = hako.created("sleep", "60", resources={"memory": {"limit": 64 << 20}})
    hako("start", name)
    hako("pause", name)
    assert hako.status(name) == "paused"
    assert "paused" in hako("exec", name, "true", check=False).stderr
    hako("resume", name)
    assert hako.status(name) == "running"
    hako("update", "--memory", str(32 << 20), "--pids-limit", "33", name)
    hako("update", "--resources", "-", name, input='{"cpu": {"shares": 512}}', stdin=None)
    data = json.loads(hako("events", "--stats", name).stdout)["data"]
    assert data["memory"]["usage"]["limit"] == 32 << 20
    assert data["pids"] == {"current": 1, "limit": 33}


def test_a_terminal_over_the_console_socket(hako: Runtime) -> None:
    path = hako.bundle("sh", "-c", "tty; read x; echo got $x", process={"terminal": True})
    name = os.path.basename(path)
    assert "console socket" in hako("create", "--bundle", path, name, check=False).stderr
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{path}/c.sock")
        listener.listen()
        hako("create", "--bundle", path, "--console-socket", f"{path}/c.sock", name)
        channel, _ = listener.accept()
        with channel:
            _, fds, _, _ = socket.recv_fds(channel, 100, 1)
    hako("start", name)
    os.write(fds[0], b"typed\n")
    text = b""
    while b"got typed" not in text:
        text += os.read(fds[0], 1000)
    assert b"/dev/pts/0" in text  # before or after the echo of what was typed
    os.close(fds[0])


@pytest.mark.parametrize(
    ("args", "text"),
    [(("nope",), "executable file not found in $PATH"), (("/etc",), "is a directory")],
)
def test_create_fails_and_leaves_nothing(hako: Runtime, args: tuple[str, ...], text: str) -> None:
    path = hako.bundle(*args)
    done = hako("create", "--bundle", path, os.path.basename(path), check=False)
    assert done.returncode == 1
    assert text in done.stderr
    assert os.listdir(hako.place / "state") == []


def test_start_tells_what_exec_said(hako: Runtime, lower: Path) -> None:
    path = hako.bundle("/tmp/bad")
    bad = Path(path, "bad")
    bad.write_text("#!/no/interpreter\n")
    bad.chmod(0o755)
    config = json.loads(Path(path, "config.json").read_text())
    config["mounts"].append({"destination": "/tmp", "type": "bind", "source": path, "options": ["bind"]})
    Path(path, "config.json").write_text(json.dumps(config))
    name = os.path.basename(path)
    hako("create", "--bundle", path, name, stdout=subprocess.DEVNULL)
    done = hako("start", name, check=False)
    assert done.returncode == 1
    assert "exec /tmp/bad: no such file or directory" in done.stderr
    hako.until(name, "stopped")


def test_ids(hako: Runtime) -> None:
    name = hako.created("sleep", "60")
    path = str(hako.place / name)
    assert "already exists" in hako("create", "--bundle", path, name, check=False).stderr
    assert hako.status(name) == "created"
    for bad in ("a/b", "..", "a b"):
        assert "invalid container ID" in hako("create", "--bundle", path, bad, check=False).stderr
    assert hako("state", "none", check=False).returncode == 1
    assert hako("delete", "none", check=False).returncode == 1
    hako("delete", "--force", "none")
    hako("delete", name)  # created only: may go


def test_preserved_descriptors(hako: Runtime) -> None:
    path = hako.bundle("sh", "-c", "cat <&3; ls /proc/self/fd | tr '\\n' ' '")
    reading, writing = os.pipe()
    os.write(writing, b"through three\n")
    os.close(writing)
    os.dup2(reading, 3) if reading != 3 else None
    done = hako("run", "--preserve-fds", "1", "--bundle", path, os.path.basename(path), pass_fds=(3,))
    os.close(reading)
    assert done.stdout == "through three\n0 1 2 3 4 "


def test_spec_features_version_and_nonsense(hako: Runtime) -> None:
    place = hako.place / "new"
    place.mkdir()
    hako("spec", "--bundle", str(place))
    assert json.loads((place / "config.json").read_text())["process"]["args"] == ["sh"]
    assert "exists" in hako("spec", "--bundle", str(place), check=False).stderr
    assert "pid" in json.loads(hako("features").stdout)["linux"]["namespaces"]
    assert hako("--version").stdout.startswith("hako-runtime version ")
    assert "no such verb" in hako("dance", check=False).stderr
    assert "flag provided but not defined" in hako("state", "--nope", "x", check=False).stderr
    assert "usage" in hako("--help").stdout


def test_the_whole_container_is_killed_in_a_pid_namespace_of_others(hako: Runtime) -> None:
    """The kernel kills the rest only with process 1 of a namespace: here the runtime has to, also after init."""
    kinds = [{"type": kind} for kind in ("ipc", "uts", "mount")]
    for ending in ("wait", "kill -9 $$"):
        path = hako.bundle("sh", "-c", f"sleep 600 & echo $! > /tmp/orphan; {ending}")
        document = json.loads(Path(path, "config.json").read_text())
        document["linux"]["namespaces"] = kinds
        document["mounts"].append(
            {"destination": "/tmp", "type": "bind", "source": path, "options": ["rbind"]}
        )
        Path(path, "config.json").write_text(json.dumps(document))
        name = os.path.basename(path)
        hako("create", "--bundle", path, name, stdout=open(f"{path}/out", "w"))
        hako("start", name)
        orphan = Path(path, "orphan")
        until(partial(_written, orphan))
        hako.until(name, "running" if ending == "wait" else "stopped")
        pid = int(orphan.read_text())
        assert not gone(pid, 0)
        hako("kill", name, "KILL")
        assert gone(pid)
        hako.until(name, "stopped")
        assert "container not running" in hako("kill", name, "KILL", check=False).stderr
        hako("delete", name)


def _written(path: Path) -> bool:
    return path.exists() and bool(path.read_text().strip())


def until(ready: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_callers_of_runc_match_on(hako: Runtime) -> None:
    """The same words and exit codes as runc, side by side where that is installed."""
    runc = shutil.which("runc")
    lines = [["state", "nope"], ["start", "nope"], ["kill", "nope", "KILL"], ["delete", "nope"], ["pause", "nope"],
             ["resume", "nope"], ["ps", "nope"], ["exec", "nope", "true"], ["update", "nope"], ["events", "nope"]]  # fmt: skip
    for words in lines:
        done = hako(*words, check=False)
        assert "container does not exist" in done.stderr, words
        if runc:
            theirs = subprocess.run([runc, "--root", str(hako.place / "runc"), *words], capture_output=True, text=True,
                                    check=False)  # fmt: skip
            assert (theirs.returncode, "container does not exist" in theirs.stderr) == (
                done.returncode,
                True,
            ), words
    assert hako("delete", "--force", "nope").stderr == ""
    assert hako("bogus", check=False).returncode == 3
    name = hako.created("sleep", "60")
    assert "container not paused" in hako("resume", name, check=False).stderr
    hako("start", name)
    assert "cannot start an already running container" in hako("start", name, check=False).stderr
    assert "that is not stopped" in hako("delete", name, check=False).stderr
    hako("kill", name, "KILL")
    hako.until(name, "stopped")
    assert "container not running" in hako("kill", name, check=False).stderr
    assert "container not running" in hako("pause", name, check=False).stderr
    assert "cannot start a container that has stopped" in hako("start", name, check=False).stderr
    assert "cannot exec in a stopped container" in hako("exec", name, "true", check=False).stderr
    said = [json.loads(line)["msg"] for line in (hako.place / "log").read_text().splitlines()]
    assert said[-1] == "cannot exec in a stopped container"


def test_what_a_killed_create_leaves_is_found(hako: Runtime) -> None:
    """Its init waits, on no record: delete --force ends it by the control group that was noted before."""
    path = hako.bundle("sleep", "600")
    name = Path(path).name
    done = hako("create", "--bundle", path, name, check=False, stdout=subprocess.DEVNULL,
                env=os.environ | {"HAKOBUNE_FAILPOINT": "runtime.create.launched"})  # fmt: skip
    assert done.returncode == -9
    group = Path(f"/sys/fs/cgroup/pids/hakotest-{os.getpid()}/{name}")
    if not group.exists():  # v2 alone
        group = Path(f"/sys/fs/cgroup/hakotest-{os.getpid()}/{name}")
    (pid,) = (group / "cgroup.procs").read_text().split()
    assert "does not exist" in hako("state", name, check=False).stderr
    assert "already exists" in hako("create", "--bundle", path, name, check=False).stderr
    hako("delete", "--force", name)
    assert not group.exists()
    assert not Path(f"/proc/{pid}").exists() or "zombie" in Path(f"/proc/{pid}/status").read_text()
