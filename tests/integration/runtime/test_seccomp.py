"""seccomp with an agent outside (SCMP_ACT_NOTIFY): another program decides about a system call."""

from __future__ import annotations

import array
import errno
import fcntl
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hakobune.testing.hand import Runtime

pytestmark = [pytest.mark.root, pytest.mark.slow]
# <linux/seccomp.h>: the two ioctls, struct seccomp_notif (id, pid, flags, data) and seccomp_notif_resp
RECEIVE, SEND, NOTICE, ANSWER = 0xC0502100, 0xC0182101, 80, struct.Struct("=QqiI")


class Agent:
    """Hears of containers on a socket, and answers each of their notices with EXDEV."""

    def __init__(self, place: Path) -> None:
        self.path = str(place / "agent.sock")
        self.heard: list[dict[str, Any]] = []
        self.asked = 0
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            with connection:
                packet, notes, _flags, _address = connection.recvmsg(1 << 16, socket.CMSG_SPACE(4))
                rest = connection.recv(1 << 16)
            assert rest == b""  # one state for each connection, which is closed then
            if packet:
                self.heard.append(json.loads(packet))
                threading.Thread(
                    target=self._answer, args=(array.array("i", notes[0][2])[0],), daemon=True
                ).start()

    def _answer(self, notices: int) -> None:
        with os.fdopen(notices, "rb") as file:
            while True:
                notice = bytearray(NOTICE)
                try:
                    fcntl.ioctl(file, RECEIVE, notice)
                    self.asked += 1
                    fcntl.ioctl(
                        file, SEND, ANSWER.pack(*struct.unpack_from("=Q", notice), 0, -errno.EXDEV, 0)
                    )
                except OSError:
                    return  # nobody is left under the filter


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    running = Agent(tmp_path)
    yield running
    running.close()


def profile(path: str) -> dict[str, Any]:
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": path,
        "listenerMetadata": "of the test",
        "flags": [
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_TSYNC",
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        ],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    }


def given(hako: Runtime, seccomp: dict[str, Any], *args: str, **process: Any) -> str:
    path = hako.bundle(*args, process=process)
    document = json.loads(Path(path, "config.json").read_text())
    document["linux"]["seccomp"] = seccomp
    Path(path, "config.json").write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_an_agent_decides(hako: Runtime, agent: Agent, no_new_privileges: bool) -> None:
    path = given(hako, profile(agent.path), "sh", "-c", "mkdir /tmp/x 2>&1; echo $?; sleep 60",
                 noNewPrivileges=no_new_privileges)  # fmt: skip
    name = Path(path).name
    with open(f"{path}/out", "w") as out:
        hako("create", "--bundle", path, "--pid-file", f"{path}/pid", name, stdout=out)
    hako("start", name)
    done = hako("exec", name, "sh", "-c", "mkdir /tmp/y 2>&1; exit 3", check=False)
    assert done.returncode == 3
    assert "cross-device" in done.stdout
    assert agent.asked >= 2
    init, other = agent.heard
    pid = int(Path(path, "pid").read_text())
    assert init == {
        "ociVersion": "1.0.2", "fds": ["seccompFd"], "pid": pid, "metadata": "of the test",
        "state": {"ociVersion": "1.0.2", "id": name, "status": "creating", "pid": pid, "bundle": path, "annotations": {}},
    }  # fmt: skip
    assert (other["state"]["status"], other["state"]["id"]) == ("running", name)
    assert other["pid"] not in (pid, 1)
    assert hako.output(name).strip().endswith("1")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"listenerPath": "/nowhere/agent.sock"}, "linux.seccomp.listenerPath: /nowhere/agent.sock: no such file"),
        ({"listenerPath": None}, "linux.seccomp.listenerPath: SCMP_ACT_NOTIFY needs the absolute path of a socket"),
        ({"listenerMetadata": 1}, "linux.seccomp.listenerMetadata: expected a string, got 1"),
        ({"syscalls": [{"names": ["futex"], "action": "SCMP_ACT_NOTIFY"}]}, "linux.seccomp.syscalls[0].names: 'futex'"),
        ({"syscalls": ["mkdir"]}, "linux.seccomp.syscalls[0]: expected an object, got 'mkdir'"),
    ],
)  # fmt: skip
def test_without_an_agent_there_is_no_container(hako: Runtime, change: dict[str, Any], text: str) -> None:
    """The fixture looks for what stays behind."""
    path = given(hako, profile("/x") | change, "true")
    done = hako("create", "--bundle", path, Path(path).name, check=False)
    assert (done.returncode, text in done.stderr) == (1, True), done.stderr


def test_what_is_told_of_it_is_taken(hako: Runtime) -> None:
    """Every action, operator and flag of `features`, in one profile that the kernel loads (features-linux.md, Seccomp)."""
    told = json.loads(hako("features").stdout)["linux"]["seccomp"]
    assert {"SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG"} <= set(
        told["actions"]
    )
    assert len(told["operators"]) == 7
    rules = [{"names": ["swapoff"], "action": action, "args": [{"index": 0, "value": 1, "valueTwo": 1, "op": operator}]}
             for action in told["actions"] if action != "SCMP_ACT_NOTIFY" for operator in told["operators"]]  # fmt: skip
    seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "flags": told["supportedFlags"], "architectures": told["archs"],
               "syscalls": rules}  # fmt: skip
    path = given(hako, seccomp, "grep", "Seccomp:", "/proc/self/status")
    with open(f"{path}/out", "w") as out:
        hako("run", "--bundle", path, Path(path).name, stdout=out)
    assert hako.output(Path(path).name).split() == ["Seccomp:", "2"]
