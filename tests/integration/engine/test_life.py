"""One container's life through the docker CLI: run, exec, stop, remove, and what each leaves (nothing)."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from tests.integration.conftest import STARTER, Docker

from hakobune.testing.engine import PrivateEngine

pytestmark = [pytest.mark.root, pytest.mark.slow]


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_run_prints_and_returns_the_exit_code(docker: Docker) -> None:
    done = docker("run", "--rm", STARTER, "/bin/sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_stdin_goes_in_and_its_end_too(docker: Docker) -> None:
    text = "".join(f"line {number}\n" for number in range(20000))
    done = docker("run", "-i", "--rm", "--network", "none", STARTER, "/bin/cat", input=text)
    assert (done.returncode, done.stdout) == (0, text)


def test_environment_directory_user_hostname_and_labels(docker: Docker) -> None:
    done = docker(
        *("run", "--rm", "--network", "none", "-e", "A=1", "-e", "B", "-w", "/tmp", "-u", "1000:1000"),
        *(
            "--hostname",
            "ship",
            STARTER,
            "/bin/sh",
            "-c",
            "echo $A $(pwd) $(id -u):$(id -g) $(cat /etc/hostname)",
        ),
    )
    assert ok(done) == "1 /tmp 1000:1000 ship"


def test_entrypoint_and_read_only(docker: Docker) -> None:
    done = docker(
        "run",
        "--rm",
        "--network",
        "none",
        "--read-only",
        "--entrypoint",
        "/bin/sh",
        STARTER,
        "-c",
        "echo x > /x",
    )
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["/no/such"], 127, "no such file or directory"),
        (["nosuch"], 127, "executable file not found"),
        (["/etc/passwd"], 126, "permission denied"),
        (["/etc"], 126, ""),
    ],
)
def test_commands_that_cannot_run(docker: Docker, command: list[str], code: int, words: str) -> None:
    done = docker("run", "--rm", "--network", "none", STARTER, *command)
    assert done.returncode == code, done.stderr
    assert words in done.stderr


def test_killed_by_a_signal(docker: Docker) -> None:
    assert (
        docker(
            "run", "--rm", "--network", "none", STARTER, "/bin/sh", "-c", "sh -c 'kill -9 $$'; exit $?"
        ).returncode
        == 137
    )


def test_exec_in_a_running_container(docker: Docker) -> None:
    name = "exec-test"
    ok(docker("run", "-d", "--name", name, "--network", "none", STARTER, "/bin/sleep", "600"))
    assert ok(docker("exec", name, "/bin/sh", "-c", "echo $$ > /dev/null; echo hi")) == "hi"
    assert docker("exec", name, "/bin/sh", "-c", "exit 9").returncode == 9
    assert ok(docker("exec", "-i", name, "/bin/cat", input="abc\n")) == "abc"
    assert (
        ok(
            docker(
                "exec",
                "-e",
                "X=y",
                "-w",
                "/tmp",
                "-u",
                "65534",
                name,
                "/bin/sh",
                "-c",
                "echo $X $(pwd) $(id -u)",
            )
        )
        == "y /tmp 65534"
    )
    missing = docker("exec", name, "nosuch")
    assert missing.returncode == 127
    assert "executable file not found" in missing.stdout + missing.stderr
    ok(docker("rm", "-f", name))


def test_the_end_of_init_ends_everything(docker: Docker, engine: PrivateEngine) -> None:
    script = "(sleep 1000 &) ; (setsid sleep 1001 &) ; read x < /fifo; exit 5"
    name = "end-test"
    ok(
        docker(
            "create",
            "-i",
            "--name",
            name,
            "--network",
            "none",
            STARTER,
            "/bin/sh",
            "-c",
            f"mkfifo /fifo; {script}",
        )
    )
    ok(docker("start", name))
    exec_session = subprocess.Popen(
        ["docker", "exec", name, "/bin/sleep", "1002"], env={**os.environ, "DOCKER_HOST": engine.host}
    )
    deadline = time.monotonic() + 10
    while "1002" not in docker("top", name).stdout and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [line.split()[1] for line in ok(docker("top", name)).splitlines()[1:]]
    assert len(pids) >= 4
    docker("exec", name, "/bin/sh", "-c", "echo > /fifo")  # the end that it brings about may be its own
    assert ok(docker("wait", name)) == "5"
    assert exec_session.wait(10) == 137
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    ok(docker("rm", name))


def test_stop_is_gentle_first(docker: Docker) -> None:
    script = "trap 'echo bye; exit 3' TERM; while :; do sleep 0.1; done"
    identity = ok(docker("run", "-d", "--network", "none", STARTER, "/bin/sh", "-c", script))
    time.sleep(0.3)
    began = time.monotonic()
    ok(docker("stop", identity))
    assert time.monotonic() - began < 5
    assert ok(docker("logs", identity)) == "bye"
    state = json.loads(ok(docker("inspect", "-f", "{{json .State}}", identity)))
    assert (state["Status"], state["ExitCode"]) == ("exited", 3)
    ok(docker("rm", identity))


def test_a_deaf_container_is_killed_after_its_time(docker: Docker) -> None:
    identity = ok(
        docker(
            "run", "-d", "--network", "none", STARTER, "/bin/sh", "-c", "trap '' TERM; sleep 600 & wait; wait"
        )
    )
    ok(docker("stop", "-t", "1", identity))
    assert ok(docker("inspect", "-f", "{{.State.ExitCode}}", identity)) == "137"
    ok(docker("rm", identity))


def test_restart_policy_and_restart(docker: Docker) -> None:
    identity = ok(
        docker(
            "run", "-d", "--restart", "on-failure:2", "--network", "none", STARTER, "/bin/sh", "-c", "exit 4"
        )
    )
    deadline = time.monotonic() + 10
    while ok(docker("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", identity)) != "2 exited":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ok(docker("rm", identity))
    other = ok(docker("run", "-d", "--network", "none", STARTER, "/bin/sleep", "600"))
    before = ok(docker("inspect", "-f", "{{.State.Pid}}", other))
    ok(docker("restart", "-t", "0", other))
    assert ok(docker("inspect", "-f", "{{.State.Pid}}", other)) != before
    ok(docker("rm", "-f", other))


def test_logs_follow_to_the_end(docker: Docker) -> None:
    script = "for i in $(seq 1 20); do echo $i; sleep 0.02; done"
    identity = ok(docker("run", "-d", "--network", "none", STARTER, "/bin/sh", "-c", script))
    assert ok(docker("logs", "-f", identity)).split() == [str(number) for number in range(1, 21)]
    assert ok(docker("logs", "--tail", "3", identity)).split() == ["18", "19", "20"]
    assert "Z " in ok(docker("logs", "-t", "--tail", "1", identity))
    ok(docker("rm", "-f", identity))


def test_names_ps_rename_events(docker: Docker) -> None:
    ok(docker("create", "--name", "one", "--label", "k=v", "--network", "none", STARTER, "/bin/true"))
    assert (
        ok(docker("ps", "-a", "--filter", "label=k=v", "--format", "{{.Names}} {{.Status}}")) == "one Created"
    )
    clash = docker("create", "--name", "one", STARTER, "/bin/true")
    assert clash.returncode == 1
    assert 'The container name "/one" is already in use' in clash.stderr
    ok(docker("rename", "one", "two"))
    ok(docker("start", "two"))
    ok(docker("wait", "two"))
    ok(docker("rm", "two"))
    events = ok(
        docker(
            "events",
            "--since",
            "10m",
            "--until",
            f"{time.time():.6f}",
            "--filter",
            "container=two",
            "--format",
            "{{.Action}}",
        )
    )
    assert "destroy" in events.split()


def test_limits_are_the_kernels(docker: Docker) -> None:
    name = "limits"
    ok(docker("run", "-d", "--name", name, "--network", "none", "--memory", "64m", "--cpus", "0.5", "--pids-limit", "30",
              STARTER, "/bin/sleep", "600"))  # fmt: skip
    shown = ok(
        docker(
            "exec",
            name,
            "/bin/sh",
            "-c",
            "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true",
        )
    )
    assert str(64 << 20) in shown
    ok(docker("update", "--memory", "80m", "--memory-swap", "160m", name))
    forks = docker("exec", name, "/bin/sh", "-c", "for i in $(seq 1 60); do sleep 5 & done; wait")
    assert forks.returncode != 0
    ok(docker("rm", "-f", name))


def test_capabilities_and_seccomp(docker: Docker) -> None:
    def status(*flags: str) -> dict[str, str]:
        text = ok(
            docker("run", "--rm", "--network", "none", *flags, STARTER, "/bin/cat", "/proc/self/status")
        )
        return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)

    plain = status()
    assert plain["CapEff"] == "00000000a80425fb"
    assert plain["Seccomp"] == "2"
    assert status("--cap-drop", "ALL")["CapEff"] == "0000000000000000"
    assert status("--cap-drop", "ALL", "--cap-add", "NET_ADMIN")["CapEff"] == "0000000000001000"
    privileged = status("--privileged")
    assert privileged["Seccomp"] == "0"
    assert int(privileged["CapEff"], 16) & ~int(plain["CapEff"], 16)


def test_pause_and_unpause(docker: Docker) -> None:
    name = "pausing"
    ok(docker("run", "-d", "--name", name, "--network", "none", STARTER, "/bin/sleep", "600"))
    ok(docker("pause", name))
    assert ok(docker("inspect", "-f", "{{.State.Status}}", name)) == "paused"
    assert docker("exec", name, "/bin/true").returncode == 1
    ok(docker("unpause", name))
    assert docker("exec", name, "/bin/true").returncode == 0
    ok(docker("pause", name))
    ok(docker("rm", "-f", name))


def test_a_detached_exec_has_no_input(docker: Docker) -> None:
    ok(docker("run", "-d", "--name", "detached", "--network", "none", STARTER, "/bin/sleep", "600"))
    ok(docker("exec", "-d", "-i", "detached", "/bin/sh", "-c", "cat > /seen; echo end >> /seen"))
    deadline = time.monotonic() + 5
    while docker("exec", "detached", "cat", "/seen").stdout != "end\n" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ok(docker("exec", "detached", "cat", "/seen")) == "end"
    ok(docker("rm", "-f", "detached"))
