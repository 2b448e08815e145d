"""`hako-runtime` by hand: a bundle on disk, and every verb that runc has."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

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


def hook(script: str, **more: Any) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"], **more}


def test_hooks_run_around_the_life(hako: Runtime) -> None:
    told = hako.place / "told"
    path = hako.bundle("true")
    document = json.loads(Path(path, "config.json").read_text())
    document["hooks"] = {
        "prestart": [hook(f"echo prestart >> {told}")],
        "createRuntime": [hook(f"cat >> {told}; readlink /proc/self/ns/mnt >> {told}")],
        "poststop": [hook("exit 3"), hook(f"cat >> {told}")],
    }
    Path(path, "config.json").write_text(json.dumps(document))
    name = Path(path).name
    hako("create", "--bundle", path, name, stdout=subprocess.DEVNULL)
    first, second = told.read_text().split("\n", 1)
    assert first == "prestart"
    created, end = json.JSONDecoder().raw_decode(second)
    namespace = second[end:].strip()
    assert (created["id"], created["status"], created["bundle"]) == (name, "creating", path)
    assert created["pid"] == json.loads(hako("state", name).stdout)["pid"]
    assert namespace == os.readlink("/proc/self/ns/mnt")  # in the host
    hako("kill", name, "KILL")
    hako("delete", "--force", name)
    assert '"stopped"' in told.read_text()  # although the hook before it failed


def test_a_hook_that_fails_leaves_no_container(hako: Runtime) -> None:
    told = hako.place / "told"
    path = hako.bundle("true")
    document = json.loads(Path(path, "config.json").read_text())
    document["hooks"] = {
        "createRuntime": [hook("echo why not >&2; exit 4")],
        "poststop": [hook(f"echo gone > {told}")],
    }
    Path(path, "config.json").write_text(json.dumps(document))
    refused = hako("create", "--bundle", path, Path(path).name, check=False)
    assert refused.returncode
    assert "exit status 4: why not" in refused.stderr
    assert told.read_text() == "gone\n"
    assert Path(path).name not in hako("list", "-q", check=False).stdout.split()
    document["hooks"] = {"createRuntime": [hook("sleep 600", timeout=1)]}
    Path(path, "config.json").write_text(json.dumps(document))
    assert "longer than its timeout" in hako("create", "--bundle", path, Path(path).name, check=False).stderr
    for wrong, words in (
        ({"startContainer": {}}, "hooks.startContainer: expected a list"),
        ({"poststart": [hook("true"), {"path": "sh"}]}, "hooks.poststart[1]: "),
        ({"prestart": [hook("true", timeout=0)]}, "hooks.prestart[0].timeout: "),
        ({"prestart": [hook("true", env=[1])]}, "hooks.prestart[0].env: "),
    ):
        document["hooks"] = wrong
        Path(path, "config.json").write_text(json.dumps(document))
        assert words in hako("create", "--bundle", path, Path(path).name, check=False).stderr
    assert Path(path).name not in hako("list", "-q", check=False).stdout.split()


def test_all_kinds_of_hooks_in_their_order_and_places(hako: Runtime) -> None:
    """`told` is reached by its path in the host before the root is entered, and by a bind mount after that."""
    told = hako.place / "all"
    told.touch()
    path = hako.bundle("sh", "-c", "echo program >> /told; sleep 60")
    document = json.loads(Path(path, "config.json").read_text())
    document["mounts"].append({"destination": "/told", "source": str(told), "options": ["bind"]})

    def say(kind: str, place: Path | str) -> dict[str, Any]:
        return hook(f"read state; echo {kind} $(readlink /proc/self/ns/mnt) $state >> {place}")

    inside = {kind: [say(kind, "/told")] for kind in ("startContainer",)}
    document["hooks"] = inside | {
        kind: [say(kind, told)]
        for kind in ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    }
    document["hooks"]["poststart"].insert(0, hook("echo a warning; exit 3"))
    document["hooks"]["unknown"] = "of a later version"
    Path(path, "config.json").write_text(json.dumps(document))
    name = Path(path).name
    hako("create", "--bundle", path, name, stdout=subprocess.DEVNULL)
    pid = json.loads(hako("state", name).stdout)["pid"]
    theirs = os.readlink(f"/proc/{pid}/ns/mnt")
    started = hako("start", name)
    assert "hook poststart /bin/sh: exit status 3: a warning" in started.stderr
    hako("delete", "--force", name)
    rows = [line.split(" ", 2) for line in told.read_text().splitlines()]
    kinds = [row[0] for row in rows]
    assert kinds[:4] == ["prestart", "createRuntime", "createContainer", "startContainer"]
    assert sorted(kinds[4:6]) == ["poststart", "program"]
    assert kinds[6:] == ["poststop"]
    told_of = {row[0]: (row[1], json.loads(row[2])) for row in rows if row[0] != "program"}
    ours = os.readlink("/proc/self/ns/mnt")
    assert {kind: place for kind, (place, _state) in told_of.items()} == {
        "prestart": ours, "createRuntime": ours, "createContainer": theirs, "startContainer": theirs, "poststart": ours,
        "poststop": ours,
    }  # fmt: skip
    assert {kind: (state["status"], state.get("pid")) for kind, (_place, state) in told_of.items()} == {
        "prestart": ("creating", pid), "createRuntime": ("creating", pid), "createContainer": ("creating", pid),
        "startContainer": ("created", pid), "poststart": ("running", pid), "poststop": ("stopped", None),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["createContainer", "startContainer"])
def test_a_hook_of_init_that_fails_ends_the_container(hako: Runtime, kind: str) -> None:
    gone = hako.place / f"gone-{kind}"
    path = hako.bundle("true")
    document = json.loads(Path(path, "config.json").read_text())
    document["hooks"] = {kind: [hook("echo no; exit 7")], "poststop": [hook(f"echo gone > {gone}")]}
    Path(path, "config.json").write_text(json.dumps(document))
    name = Path(path).name
    refused = hako("run", "--bundle", path, name, check=False)
    assert f"hook {kind} /bin/sh: exit status 7: no" in refused.stderr
    assert refused.returncode
    assert gone.read_text() == "gone\n"
    assert name not in hako("list", "-q", check=False).stdout.split()


def test_clocks_of_its_own(hako: Runtime) -> None:
    path = hako.bundle("sh", "-c", "cat /proc/uptime; sleep 60")
    document = json.loads(Path(path, "config.json").read_text())
    document["linux"]["namespaces"].append({"type": "time"})
    document["linux"]["timeOffsets"] = {"boottime": {"secs": 864000, "nanosecs": 5}, "monotonic": {"secs": 1}}
    Path(path, "config.json").write_text(json.dumps(document))
    name = Path(path).name
    out = Path(path, "out")
    with out.open("w") as file:
        hako("run", "-d", "--bundle", path, name, stdout=file)
    ours = float(Path("/proc/uptime").read_text().split()[0])
    end = time.monotonic() + 10
    while not out.read_text().strip() and time.monotonic() < end:
        time.sleep(0.01)
    assert 863900 < float(out.read_text().split()[0]) - ours < 864001
    inside = hako("exec", name, "cat", "/proc/uptime").stdout
    assert float(inside.split()[0]) - ours > 863000
    hako("delete", "--force", name)
    for wrong, words in (
        (
            {"boottime": {"nanosecs": 1_000_000_000}},
            "linux.timeOffsets.boottime.nanosecs: 1000000000 is outside",
        ),
        ({"realtime": {}}, "linux.timeOffsets.realtime: expected monotonic or boottime"),
        ({"boottime": {"secs": -(10**12)}}, "linux.timeOffsets: "),
    ):
        document["linux"]["timeOffsets"] = wrong
        Path(path, "config.json").write_text(json.dumps(document))
        assert words in hako("create", "--bundle", path, name, check=False).stderr


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


def test_the_program_is_apart_from_its_caller(tmp_path: Path) -> None:
    """Neither PYTHONPATH nor the working directory has a say in it, also when it is called through a link."""
    for name in ("sitecustomize", "json", "hakobune"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('planted')")
    program = tmp_path / "link"
    program.symlink_to(Path(sys.executable).with_name("hako-runtime"))
    for path in (program, program.resolve()):
        done = subprocess.run([path, "--root", str(tmp_path / "state"), "state", "nope"], cwd=tmp_path, check=False,
                              env={"PATH": os.defpath, "PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": "json.py"},
                              capture_output=True, text=True)  # fmt: skip
        assert (done.returncode, done.stderr) == (1, "hako-runtime: container does not exist\n")


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


def edited(path: str, **process: Any) -> None:
    """More of `process`; `linux` is another section."""
    document = json.loads(Path(path, "config.json").read_text())
    document["linux"] |= process.pop("linux", {})
    document["process"] |= process
    Path(path, "config.json").write_text(json.dumps(document))


def test_how_the_processor_is_shared_out(hako: Runtime) -> None:
    path = hako.bundle("sh", "-c", "sleep 60; true")
    edited(
        path, scheduler={"policy": "SCHED_BATCH", "nice": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6}, linux={"personality": {"domain": "LINUX32"}},
    )  # fmt: skip
    name = Path(path).name
    hako("run", "-d", "--bundle", path, name, stdout=subprocess.DEVNULL)
    pid = json.loads(hako("state", name).stdout)["pid"]
    assert os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_BATCH
    assert os.sched_getscheduler(pid) & os.SCHED_RESET_ON_FORK
    assert os.getpriority(os.PRIO_PROCESS, pid) == 7
    assert Path(f"/proc/{pid}/personality").read_text().strip() == "00000008"
    assert (
        subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True).stdout
        == "best-effort: prio 6\n"
    )
    assert hako("exec", name, "cat", "/proc/self/personality").stdout.strip() == "00000008"
    process = {"args": ["sh", "-c", "grep Cpus_allowed_list /proc/self/status"], "cwd": "/", "user": {},
               "execCPUAffinity": {"initial": "0-1", "final": "1"}}  # fmt: skip
    Path(path, "process.json").write_text(json.dumps(process))
    assert hako("exec", "--process", f"{path}/process.json", name).stdout.split() == [
        "Cpus_allowed_list:",
        "1",
    ]


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"scheduler": {"policy": "SCHED_FAST"}}, "process.scheduler.policy: 'SCHED_FAST' is not"),
        ({"scheduler": {"policy": "SCHED_OTHER", "nice": 20}}, "process.scheduler.nice: 20 is not"),
        ({"scheduler": {"policy": "SCHED_OTHER", "flags": ["X"]}}, "process.scheduler.flags[0]: 'X'"),
        (
            {"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 9, "deadline": 1, "period": 1}},
            "process.scheduler: ",
        ),
        ({"ioPriority": {"class": "BE"}}, "process.ioPriority.class: 'BE'"),
        ({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}, "process.ioPriority.priority: 8"),
        (
            {"execCPUAffinity": {"final": "x"}},
            "process.execCPUAffinity.final: 'x' is not a list of processors",
        ),
        ({"linux": {"personality": {"domain": "BSD"}}}, "linux.personality.domain: 'BSD'"),
        ({"linux": {"personality": {"domain": "LINUX", "flags": ["X"]}}}, "linux.personality.flags: "),
    ],
)
def test_what_is_wrong_about_it_is_named(hako: Runtime, sections: dict[str, Any], words: str) -> None:
    path = hako.bundle("true")
    edited(path, **sections)
    refused = hako("create", "--bundle", path, Path(path).name, check=False)
    assert refused.returncode
    assert words in refused.stderr


def test_owners_of_a_mount_are_mapped(hako: Runtime) -> None:
    """Files of user 1000 outside are user 7's inside, and what root 0..6 would write is nobody's."""
    shared = hako.place / "shared"
    shared.mkdir()
    (shared / "file").touch()
    for place in (shared, shared / "file"):
        os.chown(place, 1000, 2000)
    path = hako.bundle(
        "sh",
        "-c",
        "stat -c '%u %g' /in/file; stat -c '%u %g' /plain/file; echo x > /in/new; stat -c '%u %g' /in/new",
    )
    document = json.loads(Path(path, "config.json").read_text())
    maps = {"uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1000, "hostID": 7, "size": 1}],
            "gidMappings": [{"containerID": 2000, "hostID": 8, "size": 1}]}  # fmt: skip
    document["mounts"] += [
        {"destination": "/in", "source": str(shared), "options": ["bind", "idmap"], **maps},
        {"destination": "/plain", "source": str(shared), "options": ["bind"]},
    ]
    Path(path, "config.json").write_text(json.dumps(document))
    done = hako("run", "--bundle", path, Path(path).name, check=False)
    assert done.stdout.splitlines()[:2] == ["7 8", "1000 2000"]
    for index, (change, words) in enumerate((
        ({"uidMappings": []}, "mounts[0]: uidMappings and gidMappings belong together"),
        ({"uidMappings": [], "gidMappings": []}, "mounts[0]: idmap without"),
        ({"uidMappings": [{"containerID": 0, "hostID": 0}]}, "mounts[0].uidMappings[0]: (0, 0, 0) are no ids"),
        ({"uidMappings": [{"containerID": 0, "hostID": 0, "size": 9}] * 2}, "mounts[0].uidMappings, gidMappings: "),
    )):  # fmt: skip
        document["mounts"] = [
            {"destination": "/in", "source": str(shared), "options": ["bind", "idmap"], **maps, **change}
        ]
        Path(path, "config.json").write_text(json.dumps(document))
        refused = hako("create", "--bundle", path, f"{Path(path).name}-{index}", check=False)
        assert words in refused.stderr


def test_namespaces_that_others_have_made(hako: Runtime) -> None:
    """All of them by path; the host's hooks still run in the host's."""
    kinds = {"mount": "mnt", "network": "net", "uts": "uts", "ipc": "ipc"}
    told = hako.place / "ns"
    path = hako.bundle(
        "sh", "-c", "readlink /proc/self/ns/mnt /proc/self/ns/net /proc/self/ns/uts /proc/self/ns/ipc"
    )
    with subprocess.Popen(["unshare", "-m", "-n", "-u", "-i", "sleep", "600"]) as other:
        mine = os.readlink("/proc/self/ns/mnt")
        while os.readlink(f"/proc/{other.pid}/ns/ipc") == os.readlink("/proc/self/ns/ipc"):
            time.sleep(0.01)
        theirs = [os.readlink(f"/proc/{other.pid}/ns/{name}") for name in kinds.values()]
        document = json.loads(Path(path, "config.json").read_text())
        document["linux"]["namespaces"] = [{"type": "pid"}] + [
            {"type": kind, "path": f"/proc/{other.pid}/ns/{name}"} for kind, name in kinds.items()
        ]
        document["hooks"] = {"createRuntime": [hook(f"readlink /proc/self/ns/mnt > {told}")]}
        document["hostname"] = ""
        Path(path, "config.json").write_text(json.dumps(document))
        done = hako("run", "--bundle", path, Path(path).name)
        assert done.stdout.split() == theirs
        assert told.read_text().strip() == mine
        other.kill()
    document["linux"]["namespaces"] = [{"type": "pid"}]
    Path(path, "config.json").write_text(json.dumps(document))
    refused = hako("create", "--bundle", path, Path(path).name, check=False)
    assert "linux.namespaces: a mount namespace is needed" in refused.stderr


def test_users_of_its_own(hako: Runtime) -> None:
    """Root inside is 100000 outside, of all namespaces; devices, proc and the rest are there; exec is inside, too."""
    line = "id -u; cat /proc/self/uid_map; echo x > /dev/null && echo null; sleep 60"
    path = hako.bundle("sh", "-c", line)
    document = json.loads(Path(path, "config.json").read_text())
    document["linux"]["namespaces"].append({"type": "user"})
    document["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    document["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 200000, "size": 65536}]
    Path(path, "config.json").write_text(json.dumps(document))
    hako.lower.parent.chmod(0o711)  # root inside is somebody else there
    name = Path(path).name
    out = Path(path, "out")
    with out.open("w") as file:
        hako("run", "-d", "--bundle", path, name, stdout=file)
    end = time.monotonic() + 10
    while len(out.read_text().splitlines()) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    assert [" ".join(row.split()) for row in out.read_text().splitlines()] == ["0", "0 100000 65536", "null"]
    pid = json.loads(hako("state", name).stdout)["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    assert "Uid:\t100000\t100000" in status
    assert "Gid:\t200000\t200000" in status
    assert hako("exec", name, "sh", "-c", "id -u; readlink /proc/self/ns/user").stdout.split() == [
        "0", os.readlink(f"/proc/{pid}/ns/user")]  # fmt: skip
    hako("delete", "--force", name)
    document["linux"]["uidMappings"] = [{"containerID": 1, "hostID": 100000, "size": 1}]
    Path(path, "config.json").write_text(json.dumps(document))
    refused = hako("create", "--bundle", path, name, check=False)
    assert "linux.uidMappings: a new user namespace needs a map that holds id 0" in refused.stderr
    document["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 9}] * 2
    Path(path, "config.json").write_text(json.dumps(document))
    assert "uid_map" in hako("create", "--bundle", path, name, check=False).stderr
    assert name not in hako("list", "-q", check=False).stdout.split()


def test_attributes_of_mounts_and_of_what_lies_below(hako: Runtime) -> None:
    """The plain words mean one mount, those with an r all below it; a tmpfs takes a copy of what it covers."""
    shared = hako.place / "tree"
    (shared / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(shared / "below")], check=True)
    try:
        path = hako.bundle(
            "sh",
            "-c",
            "grep ' /[pr]lain' /proc/self/mountinfo; cat /etc/kept; grep ' /etc ' /proc/self/mountinfo",
        )
        root = Path(path, "root")
        for name in ("bin", "lib", "lib64", "usr", "proc", "dev", "sys", "plain", "rlain", "etc"):
            (root / name).mkdir(parents=True)
        (root / "etc/kept").write_text("of the image\n")
        document = json.loads(Path(path, "config.json").read_text())
        document["root"] = {"path": str(root)}
        document["mounts"] += [
            {"destination": f"/{name}", "source": str(hako.lower / name), "options": ["rbind"]}
            for name in ("bin", "lib", "lib64", "usr") if (hako.lower / name).is_dir()
        ] + [
            {"destination": "/plain", "source": str(shared), "options": ["rbind", "ro", "noexec"]},
            {"destination": "/rlain", "source": str(shared), "options": ["rbind", "rro", "rnosuid", "rnoatime"]},
            {"destination": "/etc", "type": "tmpfs", "source": "tmpfs",
             "options": ["tmpcopyup", "nosuid", "nostrictatime", "silent", "lazytime", "size=64k"]},
        ]  # fmt: skip
        Path(path, "config.json").write_text(json.dumps(document))
        said = hako("run", "--bundle", path, Path(path).name).stdout.splitlines()
    finally:
        subprocess.run(["umount", "-l", str(shared / "below")], check=True)
    flags = {
        line.split()[4]: set(line.split()[5].split(",")) for line in said if "/" in line and " - " in line
    }
    assert {"ro", "noexec"} <= flags["/plain"]
    assert "rw" in flags["/plain/below"]
    for place in ("/rlain", "/rlain/below"):
        assert {"ro", "nosuid", "noatime"} <= flags[place]
    assert {"rw", "nosuid", "relatime"} <= flags["/etc"]
    assert "of the image" in said
