"""Other people's shims under our manager: Debian's containerd-shim-runc-v2 and a current one, with runc and with hako-runtime."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any

from hakobune.cgroups.cgroup import Cgroup
from hakobune.containerd.client import Client, TaskOOM
from hakobune.containerd.tasks import programs
from hakobune.containerd.tasks.bundle import Bundle
from hakobune.errors import InvalidArgument, NotFound
from hakobune.testing.clients import IMAGE, Cli, found, image_archive
from hakobune.testing.conformance import checks_for, outcome, prepared
from hakobune.testing.manager import PrivateManager
from hakobune.testing.manager import run as loop
from hakobune.testing.peers import built
from hakobune.version import VERSION

pytestmark = [pytest.mark.root, pytest.mark.slow]

SECONDS = 30.0
NAME = "containerd-shim-runc-v2"
CHECKS = [
    one
    for one in checks_for("ctr")
    if one.command.startswith(("run", "tasks")) and "checkpoint" not in one.command
]
POINTS = ("containerd.create.bundle", "containerd.program.noted", "containerd.program.said",
          "containerd.create.shim", "containerd.create.made")  # fmt: skip
OWN_RUNTIME = str(Path(sys.executable).with_name("hako-runtime"))


@pytest.fixture(params=["Debian's", "current"])
def runtime(request: pytest.FixtureRequest, peer: Callable[[str], Path]) -> str:
    """What --runtime takes."""
    peer("runc")
    if request.param == "current":
        return built(NAME) or pytest.skip(f"peer not built: current {NAME}")
    peer(NAME)
    return "io.containerd.runc.v2"


@pytest.fixture
def ctr(peer: Callable[[str], Path]) -> Cli:
    peer("ctr")
    return [cli for cli in found() if cli.name == "ctr"][-1]


NAMESPACE = f"foreign-{os.getpid()}"


@pytest.fixture
def own() -> Iterator[PrivateManager]:
    """A manager for one test."""
    made = PrivateManager()
    made.start()
    loop(_answers(made))
    yield made
    made.end()
    Cgroup.find(
        f"/{NAMESPACE}/any"
    ).remove_parents()  # runc leaves the group in which it made the containers'
    assert not _left(str(made.base)), "the test left something behind"


async def _answers(manager: PrivateManager) -> None:
    await (await manager.client()).close()


def _left(base: str) -> list[str]:
    """Mounts below the manager's directories, and processes whose command line names them: shims first of all."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounts = [line.split()[4] for line in lines if line.split()[4].startswith(base)]
    shims = subprocess.run(["pgrep", "-af", f"{base}/"], capture_output=True, text=True, check=False)
    return mounts + shims.stdout.splitlines()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.command)
def test_commands_of_ctr(check, runtime: str, ctr: Cli, manager: PrivateManager, tmp_path_factory) -> None:
    scratch: Path = tmp_path_factory.getbasetemp()
    marked = prepared(ctr, check, manager.address, scratch, runtime)
    marked = Cli(
        **{**vars(marked), "namespace": f"{os.path.basename(runtime)[-12:]}-{marked.namespace}"[:76]}
    )
    assert outcome(marked, check) == "works"


NERDCTL = [cli for cli in found() if cli.name == "nerdctl"]
NERD_CHECKS = [one for one in checks_for("nerdctl") if one.command.startswith(("run", "logs", "pause"))]


@pytest.mark.parametrize("runtime", ["io.containerd.runc.v2", OWN_RUNTIME], ids=["runc", "hako-runtime"])
@pytest.mark.parametrize("check", NERD_CHECKS, ids=lambda check: check.command)
def test_commands_of_nerdctl(
    check, runtime: str, manager: PrivateManager, peer: Callable[[str], Path], tmp_path_factory
) -> None:
    """Its log is a program of its own that the shim starts (binary://); a path is an OCI runtime to it."""
    peer("runc")
    peer(NAME)
    if not NERDCTL:
        pytest.skip("peer not installed: nerdctl")
    scratch: Path = tmp_path_factory.getbasetemp()
    marked = prepared(NERDCTL[-1], check, manager.address, scratch, runtime)
    marked = Cli(**{**vars(marked), "namespace": f"f{len(runtime)}-{marked.namespace}"[:76]})
    assert outcome(marked, check) == "works"


def of(ctr: Cli, manager: PrivateManager, tmp_path: Path) -> Cli:
    cli = Cli(ctr.name, ctr.version, ctr.program, manager.address, NAMESPACE, scratch=tmp_path)
    cli("images", "import", str(image_archive(tmp_path / "starter.tar")))
    return cli


def pid_of(cli: Cli, name: str) -> int:
    (row,) = [line.split() for line in cli("tasks", "ls").splitlines() if line.startswith(f"{name} ")]
    return int(row[1])


def status_of(cli: Cli, name: str) -> str:
    (row,) = [line.split() for line in cli("tasks", "ls").splitlines() if line.startswith(f"{name} ")]
    return row[2]


def removed(cli: Cli, *arguments: str) -> str:
    """What `tasks rm` says about it; again while a signal is on its way."""
    end = time.monotonic() + SECONDS
    while True:
        done = subprocess.run(
            cli.argv("tasks", "rm", *arguments), capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if "must be stopped" not in done.stderr or time.monotonic() > end:
            return done.stderr
        time.sleep(0.02)


def has_ended(pid: int) -> bool:
    end = time.monotonic() + SECONDS
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
        time.sleep(0.02)
    return not os.path.exists(f"/proc/{pid}")


def shim_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_taken_over_and_ended(runtime: str, ctr: Cli, own: PrivateManager, tmp_path: Path) -> None:
    cli = of(ctr, own, tmp_path)
    cli("run", "-d", "--runtime", runtime, IMAGE, "one", "sleep", "600")
    pid = pid_of(cli, "one")
    own.kill()
    own.start()
    loop(_answers(own))
    assert (pid_of(cli, "one"), status_of(cli, "one")) == (pid, "RUNNING")
    assert cli("tasks", "exec", "--exec-id", "e", "one", "echo", "here") == "here\n"
    with cli.watching("events") as watch:
        cli("tasks", "kill", "-s", "SIGKILL", "one")
        watch.until("/tasks/exit")
    assert status_of(cli, "one") == "STOPPED"
    assert "exit code 137" in removed(cli, "one")
    cli("containers", "rm", "one")


def test_its_shim_is_killed(runtime: str, ctr: Cli, own: PrivateManager, tmp_path: Path) -> None:
    """The container ends with it, as 137; the program's `delete` takes away what is left."""
    cli = of(ctr, own, tmp_path)
    cli("run", "-d", "--runtime", runtime, IMAGE, "one", "sleep", "600")
    cli("run", "-d", "--runtime", runtime, IMAGE, "other", "sleep", "600")
    pid = pid_of(cli, "one")
    place = Bundle.of(own.state, NAMESPACE, "one").place()
    assert place is not None
    assert os.path.exists(place.path)
    with cli.watching("events") as watch:
        os.kill(shim_of(pid), signal.SIGKILL)
        watch.until("/tasks/exit")
    assert status_of(cli, "one") == "STOPPED"
    assert has_ended(pid)
    assert "exit code 137" in removed(cli, "one")
    assert not os.path.exists(place.path)
    cli("run", "--rm", "--runtime", runtime, IMAGE, "two", "true")
    assert status_of(cli, "other") == "RUNNING"
    assert "exit code 137" in removed(cli, "-f", "other")


def test_its_shim_dies_while_there_is_no_manager(
    runtime: str, ctr: Cli, own: PrivateManager, tmp_path: Path
) -> None:
    cli = of(ctr, own, tmp_path)
    cli("run", "-d", "--runtime", runtime, IMAGE, "one", "sleep", "600")
    pid = pid_of(cli, "one")
    own.kill()
    os.kill(shim_of(pid), signal.SIGKILL)
    own.start()
    loop(_answers(own))
    assert status_of(cli, "one") == "STOPPED"
    assert has_ended(pid)
    assert "exit code 137" in removed(cli, "one")


@pytest.fixture
def found_first(runtime: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The runtime by its name, which means that program: ctr takes --runc-binary with the name alone."""
    monkeypatch.setenv("PATH", f"{os.path.dirname(runtime)}:{os.environ['PATH']}")
    return "io.containerd.runc.v2"


def test_with_our_own_oci_runtime(
    found_first: str, ctr: Cli, own: PrivateManager, tmp_path: Path, runtime: str
) -> None:
    """containerd-shim-runc-v2 drives hako-runtime by runc's command line."""
    cli = of(ctr, own, tmp_path)
    binary = ("--runtime", found_first, "--runc-binary", OWN_RUNTIME)
    assert cli("run", "--rm", *binary, IMAGE, "one", "sh", "-c", "echo $((6*7))") == "42\n"
    cli("run", "-d", *binary, IMAGE, "two", "sleep", "600")
    assert cli("tasks", "exec", "--exec-id", "e", "two", "echo", "here") == "here\n"
    cli("tasks", "pause", "two")
    assert status_of(cli, "two") == "PAUSED"
    cli("tasks", "resume", "two")
    program = os.readlink(f"/proc/{shim_of(pid_of(cli, 'two'))}/exe")
    assert program == (os.path.realpath(runtime) if runtime.startswith("/") else programs.find(found_first))
    cli("tasks", "kill", "-s", "SIGKILL", "two")
    assert "exit code 137" in removed(cli, "two")


@pytest.mark.parametrize("point", POINTS)
def test_the_manager_dies_over_a_creation(
    point: str, runtime: str, ctr: Cli, own: PrivateManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every step; what was begun is undone by the next manager, the shim that nobody wrote down included."""
    cli = of(ctr, own, tmp_path)
    own.kill()
    monkeypatch.setenv("HAKOBUNE_FAILPOINT", point)
    own.start()
    loop(_answers(own))
    cli.refused("run", "-d", "--runtime", runtime, IMAGE, "cut", "sleep", "600")
    own.kill()
    monkeypatch.delenv("HAKOBUNE_FAILPOINT")
    own.start()
    loop(_answers(own))
    if point == "containerd.create.made":
        assert status_of(cli, "cut") == "CREATED"
        assert "exit code 137" in removed(cli, "-f", "cut")
    assert cli("tasks", "ls", "-q") == ""
    assert list(Path(own.state).glob(f"io.containerd.runtime.v2.task/{NAMESPACE}/*")) == []
    cli("containers", "rm", "cut")
    cli("run", "--rm", "--runtime", runtime, IMAGE, "cut", "true")


def test_a_program_that_cannot_start_leaves_nothing(ctr: Cli, own: PrivateManager, tmp_path: Path) -> None:
    broken = tmp_path / "containerd-shim-broken-v1"
    broken.write_text("#!/bin/sh\necho no such luck >&2\nexit 3\n")
    broken.chmod(0o755)
    cli = of(ctr, own, tmp_path)
    said = cli.refused("run", "--rm", "--runtime", str(broken), IMAGE, "one", "true")
    assert f"{broken} start ended with 3: no such luck" in said
    said = cli.refused("run", "--rm", "--runtime", "io.containerd.nobody.v9", IMAGE, "two", "true")
    assert "containerd-shim-nobody-v9 is not installed" in said
    assert cli("tasks", "ls", "-q") == ""
    assert list(Path(own.state).glob(f"io.containerd.runtime.v2.task/{NAMESPACE}/*")) == []


def test_what_a_runtime_says_of_itself(ctr: Cli, own: PrivateManager, tmp_path: Path) -> None:
    """Current shims answer -info, ours too; one that cannot is heard out."""
    if ctr.version.startswith("1."):
        pytest.skip("ctr 1.x does not inspect runtimes")
    cli = Cli(ctr.name, ctr.version, ctr.program, own.address, NAMESPACE, scratch=tmp_path)
    ours = json.loads(cli("plugins", "inspect-runtime", "--runtime", "io.containerd.hako.v1"))
    assert (ours["Name"], ours["Version"]["Version"]) == ("io.containerd.hako.v1", VERSION)
    if program := built(NAME):
        theirs = json.loads(cli("plugins", "inspect-runtime", "--runtime", program))
        assert theirs["Name"] == "io.containerd.runc.v2"
        assert "prestart" in theirs["Features"]["hooks"]
    said = cli.refused("plugins", "inspect-runtime", "--runtime", "/bin/false")
    assert "/bin/false -info ended with 1" in said


def test_events_by_the_publishing_program(own: PrivateManager) -> None:
    """What a shim runs that cannot speak ttrpc to us."""

    async def heard() -> tuple[str, object]:
        client = Client(own.address, "anybody")
        await client.ready(SECONDS)
        subscription = await client.events.open("topic==/tasks/oom")
        event = Any(type_url="containerd.events.TaskOOM", value=b"\n\x03one").SerializeToString()
        line = [str(Path(sys.executable).with_name("hako-containerd")), "--address", own.address, "publish",
                "--topic", "/tasks/oom", "--namespace", "anybody"]  # fmt: skip
        subprocess.run(line, input=event, check=True, timeout=SECONDS)
        async for one in subscription:
            await client.close()
            return one.topic, one.value
        raise AssertionError("no event")

    assert loop(heard()) == ("/tasks/oom", TaskOOM("one"))


@pytest.fixture(params=["ttrpc path plain", "ttrpc abstract plain", "ttrpc abstract json", "ttrpc path protobuf",
                        "grpc path json", "grpc abstract json", "grpc path protobuf"])  # fmt: skip
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A shim that is nobody's: how it speaks, where it listens, and how it says so."""
    program = tmp_path / "containerd-shim-sample-v1"
    program.write_text(
        f'#!/bin/sh\nexec {sys.executable} -I -m hakobune.testing.sample_shim {request.param} "$@"\n'
    )
    program.chmod(0o755)
    return str(program)


def test_every_protocol_and_socket(sample: str, ctr: Cli, own: PrivateManager, tmp_path: Path) -> None:
    """Run, taken over, its end told by the publishing program; then one whose shim is killed."""
    cli = of(ctr, own, tmp_path)
    cli("run", "-d", "--runtime", sample, IMAGE, "one", "sleep", "600")
    pid = pid_of(cli, "one")
    own.kill()
    own.start()
    loop(_answers(own))
    assert (pid_of(cli, "one"), status_of(cli, "one")) == (pid, "RUNNING")
    assert str(pid) in cli("tasks", "ps", "one")
    with cli.watching("events") as watch:
        cli("tasks", "kill", "-s", "SIGTERM", "one")
        watch.until("/tasks/exit")
    assert "exit code 143" in removed(cli, "one")
    assert cli("tasks", "ls", "-q") == ""
    cli("run", "-d", "--runtime", sample, IMAGE, "two", "sleep", "600")
    pid = pid_of(cli, "two")
    assert loop(_waited(own, "two", shim_of(pid))) == 137
    assert status_of(cli, "two") == "STOPPED"
    assert has_ended(pid)
    assert "exit code 137" in removed(cli, "two")


async def _waited(manager: PrivateManager, name: str, shim: int) -> int:
    """The status that a pending Wait is answered with when the shim is killed."""
    client = Client(manager.address, NAMESPACE)
    waiting = asyncio.ensure_future(client.tasks.wait(name))
    await client.tasks.get(name)  # asked later, and answered
    os.kill(shim, signal.SIGKILL)
    try:
        return (await waiting).status
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("said", "place"),
    [
        (b"unix:///run/s/a\n", (2, "unix:///run/s/a", "ttrpc")),
        (b'{"version":3,"address":"unix:///a","protocol":"ttrpc"}', (3, "unix:///a", "ttrpc")),
        (b"\x08\x03\x12\x09unix:///a\x1a\x05ttrpc", (3, "unix:///a", "ttrpc")),
        (b"\x08\x03\x12\x09unix:///a\x1a\x04grpc", (3, "unix:///a", "grpc")),
    ],
)
def test_three_ways_to_say_where(said: bytes, place: tuple[int, str, str]) -> None:
    assert programs.place_in(said) == place


def test_names_of_programs(peer: Callable[[str], Path]) -> None:
    assert programs.find("io.containerd.runc.v2") == str(peer(NAME))
    for bad in ("runc", "a..b", "x/y.z"):
        with pytest.raises(InvalidArgument, match="neither a name"):
            programs.find(bad)
    for absent in ("/nowhere/shim", "io.containerd.nobody.v9"):
        with pytest.raises(NotFound):
            programs.find(absent)
