"""`containerd-shim-hako-v1`: the program that a containerd starts, in each of its three dialects."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hakobune.testing import bundle, installation, shims
from hakobune.version import VERSION
from hakobune.wire import pb

pytestmark = pytest.mark.root


class Program:
    """The program in a bundle's directory, as containerd runs it; `python` is the installation that it is of."""

    def __init__(self, place: Path, made: bundle.Bundle, events: str) -> None:
        self.python = sys.executable
        self.place = place
        self.events = events
        self.bundle = made

    def __call__(
        self, *words: str, stdin: bytes = b"", check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [self.python, "-I", "-m", "hakobune.cmd.shim", "-namespace", "test", "-id", self.bundle.id,
             "-address", str(self.place / "containerd.sock"), "-publish-binary", "/bin/true", *words],
            input=stdin, capture_output=True, timeout=30, cwd=self.bundle.path, check=False,
            env=os.environ | {"HAKO_SHIM_STATE": str(self.place / "s"), "TTRPC_ADDRESS": self.events} | environment,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done


@pytest.fixture
def program(place: Path, lower: Path, events: shims.Events) -> Iterator[Program]:
    home = place / f"p{len(list(place.iterdir()))}"
    home.mkdir()
    yield Program(home, bundle.make(home / "c", lower, ["sh", "-c", "exit 5"]), events.path)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"hakobune.cmd.zygote" in line and str(home).encode() in line:
                os.kill(int(entry.name), signal.SIGTERM)
                shims.gone(int(entry.name))


def params(program: Program) -> bytes:
    names = pb.field(1, program.bundle.id) + pb.field(2, "test")
    return names + pb.field(4, "2.3.0") + pb.field(5, program.events) + pb.field(6, "/g.sock")


OPTIONS = pb.field(1, "containerd.runc.v1.Options") + pb.field(2, b"\x08\x01")


@pytest.mark.parametrize("dialect", ["plain", "json", "bootstrap"])
def test_start_and_a_whole_life(program: Program, dialect: str) -> None:
    if dialect == "plain":
        address = program("start").stdout.decode()
    else:
        stdin, environment = (
            (OPTIONS, {"MAX_SHIM_VERSION": "3"}) if dialect == "json" else (params(program), {})
        )
        answer = json.loads(program("start", stdin=stdin, **environment).stdout)
        assert (answer["version"], answer["protocol"]) == (3, "ttrpc")
        address = answer["address"]
    assert address.startswith("unix:///")
    rpc = shims.Ttrpc(address.removeprefix("unix://"))
    pid = pb.number(pb.decode(rpc.call("Connect", pb.field(1, program.bundle.id))), 1)
    rpc.close()
    task = shims.Task(program.bundle, address.removeprefix("unix://"), pid)
    task.create()
    task.start()
    assert task.wait().status == 5
    task.delete()
    task.shutdown()
    assert shims.gone(pid)
    task.rpc.close()


def test_delete_after_a_kill(program: Program) -> None:
    address = program("start").stdout.decode().removeprefix("unix://")
    program.bundle.edit(process={"args": ["sleep", "60"]})
    task = shims.Task(program.bundle, address, 0)
    pid = task.create()
    task.start()
    shim = pb.number(pb.decode(task.verb("Connect")), 1)
    os.kill(shim, signal.SIGKILL)
    answer = pb.decode(program("-bundle", str(program.bundle.path), "delete").stdout)
    assert pb.number(answer, 2) == 137
    assert pb.number(pb.decode(pb.blob(answer, 3)), 1) > 0
    assert shims.gone(pid)
    assert not list(Path("/sys/fs/cgroup").glob(f"*{program.bundle.cgroup}"))
    task.rpc.close()


def test_upgrade_of_what_no_manager_of_ours_looks_after(program: Program, tmp_path: Path) -> None:
    assert program("upgrade").stdout == b""
    program.bundle.edit(process={"args": ["sh", "-c", "read x; exit 5"]})
    address = program("start").stdout.decode().removeprefix("unix://")
    task = shims.Task(program.bundle, address, 0)
    init = task.create(stdin="attach:")
    task.start()
    program.python = str(installation.copy(tmp_path / "next", "9.9.9"))
    records = [json.loads(line) for line in program("upgrade").stdout.splitlines()]
    assert [(one["process"], one["release"]) for one in records] == [("zygote", "9.9.9"), ("shim", "9.9.9")]
    assert records[0]["previous"] == VERSION
    # It may have gone to rest in the new zygote's fork by itself.
    assert records[1]["previous"] in (VERSION, "9.9.9")
    assert task.pids() == [init]
    task.close_io()
    assert task.wait().status == 5
    task.shim = pb.number(pb.decode(task.verb("Connect")), 1)
    task.delete()
    task.shutdown()
    assert shims.gone(task.shim)
    task.rpc.close()


def test_version_info_and_nonsense(program: Program) -> None:
    assert b"Version:" in program("-v").stdout
    assert pb.text(pb.decode(program("-info").stdout), 1) == "io.containerd.hako.v1"
    assert b"not one of start, delete" in program("dance", check=False).stderr
    assert b"not defined: -x" in program("-x", "start", check=False).stderr
