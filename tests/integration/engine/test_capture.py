"""export, commit and diff, by docker's own command and by ours, on our manager and on the real containerd."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import STARTER, on_manager

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.processes import command_lines

pytestmark = [pytest.mark.root, pytest.mark.slow]

WORK = (
    "mkdir /new; echo hi >/new/f; ln /new/f /new/twin; rm /etc/os-release; rm -r /home; mkdir /home; touch /home/x;"
    "echo in >/vol/x; chown 5:6 /srv; ln -s /etc/passwd /new/link; touch /ready; sleep 600"
)


@pytest.fixture(scope="module", params=["hako-containerd", "containerd"])
def engine(request: pytest.FixtureRequest) -> Iterator[PrivateEngine]:
    for running in on_manager(request.param):
        begin(running)
        yield running


def begin(engine: PrivateEngine) -> None:
    ok(engine, "run", "-d", "--name", "busy", "-v", "vol:/vol", "-e", "A=b", STARTER, "sh", "-c", WORK)
    until(lambda: engine.hako("exec", "busy", "test", "-e", "/ready").returncode == 0)


def ok(engine: PrivateEngine, *words: str, **options: object) -> str:
    done = engine.hako(*words, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout).strip()


def docker(engine: PrivateEngine, *words: str) -> str:
    done = subprocess.run(["docker", "-H", engine.host, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def until(condition: Any) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not happen in 20 s"
        time.sleep(0.02)


def programs(engine: PrivateEngine) -> list[str]:
    """Programs for files that are at work for this engine."""
    return [line for _, line in command_lines() if "hakobune.cmd.files" in line and str(engine.root) in line]


@pytest.fixture(autouse=True)
def _peer(peer: Any) -> None:
    peer("docker")


def test_diff(engine: PrivateEngine) -> None:
    """What the runtime lends (/etc/hosts, /dev) is no change; what a directory lost that was made again is."""
    found = ok(engine, "diff", "busy").splitlines()
    assert {line for line in found if "/usr" not in line} == {
        "C /etc", "D /etc/os-release", "C /home", "A /home/x", "A /new", "A /new/f", "A /new/link", "A /new/twin",
        "A /ready", "C /srv", "A /vol",
    }  # fmt: skip
    assert docker(engine, "diff", "busy").splitlines() == found
    assert docker(engine, "diff", docker(engine, "create", STARTER)) == ""


def exported(engine: PrivateEngine, name: str, tmp_path: Path) -> dict[str, tarfile.TarInfo]:
    docker(engine, "export", "-o", str(tmp_path / "e.tar"), name)
    with tarfile.open(tmp_path / "e.tar") as archive:
        members = {member.name: member for member in archive}
        assert (archive.extractfile("new/f") or io.BytesIO()).read() == b"hi\n"
    return members


def test_export_of_one_that_runs_and_one_that_does_not(engine: PrivateEngine, tmp_path: Path) -> None:
    """Neither volumes nor /proc come along."""
    running = exported(engine, "busy", tmp_path)
    assert {"usr/bin/sh", "home/x", "new/twin", "vol", "proc"} <= set(running)
    assert not {"vol/x", "etc/os-release", "proc/self", "proc/1"} & set(running)
    assert (running["new/twin"].type, running["new/twin"].linkname) == (tarfile.LNKTYPE, "new/f")
    assert (running["srv"].uid, running["srv"].gid) == (5, 6)
    ok(engine, "stop", "-t", "0", "busy")
    stopped = exported(engine, "busy", tmp_path)
    ok(engine, "start", "busy")
    assert set(stopped) == set(running)
    assert ok(engine, "export", "-o", str(tmp_path / "o.tar"), "busy") == ""
    with tarfile.open(tmp_path / "o.tar") as archive:
        assert set(archive.getnames()) == set(running)


def test_export_imported_again(engine: PrivateEngine, tmp_path: Path) -> None:
    ok(engine, "export", "-o", str(tmp_path / "o.tar"), "busy")
    ok(engine, "import", "-c", 'CMD ["cat", "/new/f"]', str(tmp_path / "o.tar"), "again:1")
    assert ok(engine, "run", "--rm", "again:1") == "hi"
    ok(engine, "rmi", "again:1")


def test_a_client_that_goes_in_the_middle_of_an_export(engine: PrivateEngine) -> None:
    with subprocess.Popen(["docker", "-H", engine.host, "export", "busy"], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        client.stdout.read(1000)
        assert programs(engine)
        client.kill()
    until(lambda: not programs(engine))
    assert ok(engine, "exec", "busy", "echo", "here") == "here"


def test_one_that_is_removed_meanwhile_is_cut(engine: PrivateEngine) -> None:
    ok(engine, "create", "--name", "goes", STARTER)
    with subprocess.Popen(["docker", "-H", engine.host, "export", "goes"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as client:  # fmt: skip
        assert client.stdout is not None
        client.stdout.read(1000)
        ok(engine, "rm", "goes")
        client.stdout.read()
        assert client.wait(20) != 0


def test_commit(engine: PrivateEngine) -> None:
    words = [
        "-a",
        "A <a@b>",
        "-m",
        "a note",
        "-c",
        'CMD ["cat", "/new/f"]',
        "-c",
        "ENV X=y",
        "-c",
        "EXPOSE 80",
    ]
    identity = docker(engine, "commit", *words, "busy", "made:1")
    shown = json.loads(docker(engine, "image", "inspect", "made:1"))[0]
    assert (shown["Id"], shown["Author"], shown["Comment"]) == (identity, "A <a@b>", "a note")
    config = shown["Config"]
    assert (config["Cmd"], config["ExposedPorts"]) == (["cat", "/new/f"], {"80/tcp": {}})
    assert {"X=y", "A=b"} < set(config["Env"])
    assert len(shown["RootFS"]["Layers"]) == 2
    steps = docker(
        engine, "history", "--no-trunc", "--format", "{{.Comment}}|{{.CreatedBy}}|{{.Size}}", "made:1"
    )
    first, second = steps.splitlines()
    assert first.startswith("a note|sh -c mkdir /new")
    assert second.startswith("made by hakod on demand|")
    assert ok(engine, "run", "--rm", "made:1") == "hi"
    look = "test ! -e /etc/os-release && ls /home && test ! -e /vol/x && stat -c %u:%g /srv && test /new/f -ef /new/twin"
    assert ok(engine, "run", "--rm", "made:1", "sh", "-c", look).split() == ["x", "5:6"]
    assert ok(engine, "inspect", "-f", "{{.State.Status}}", "busy") == "running"


def test_commit_on_a_commit_without_a_change_is_an_empty_step(engine: PrivateEngine, tmp_path: Path) -> None:
    ok(engine, "commit", "busy", "made:1")
    ok(engine, "create", "--name", "still", "made:1")
    identity = ok(engine, "commit", "-p=false", "still")
    ok(engine, "tag", identity, "made:2")
    layers = [json.loads(ok(engine, "inspect", f"made:{n}"))[0]["RootFS"]["Layers"] for n in (1, 2)]
    assert layers[0] == layers[1]
    ok(engine, "rm", "still")
    ok(engine, "save", "-o", str(tmp_path / "s.tar"), "made:2")
    ok(engine, "rmi", "made:1", "made:2")
    ok(engine, "load", "-i", str(tmp_path / "s.tar"))
    assert ok(engine, "run", "--rm", "made:2", "cat", "/new/f") == "hi"
    ok(engine, "rmi", "made:2")


def test_a_layer_of_two_images_takes_its_space_once(engine: PrivateEngine) -> None:
    ok(engine, "run", "--name", "wrote", STARTER, "sh", "-c", "head -c 3000000 /dev/urandom >/big")
    before = engine.client.get("/system/df")["LayersSize"]
    ok(engine, "commit", "wrote", "made:4")
    usage = engine.client.get("/system/df")
    images = {(image["RepoTags"] or [""])[0]: image for image in usage["Images"]}
    base, made = images[f"{STARTER}:latest"], images["made:4"]
    assert 3_000_000 <= usage["LayersSize"] - before < 3_200_000
    assert base["SharedSize"] == made["SharedSize"] == base["Size"]
    assert made["Size"] - made["SharedSize"] == usage["LayersSize"] - before
    assert (base["Containers"] > 0, made["Containers"]) == (True, 0)
    (container,) = (one for one in usage["Containers"] if one["Names"] == ["/wrote"])
    assert 3_000_000 <= container["SizeRw"] < 3_200_000
    assert container["SizeRootFs"] == container["SizeRw"] + base["Size"]
    (volume,) = usage["Volumes"]
    assert volume["UsageData"] == {"Size": 3, "RefCount": 1}
    listed = engine.client.get("/images/json?shared-size=1")
    assert {image["Id"]: image["SharedSize"] for image in listed}[made["Id"]] == made["SharedSize"]
    ok(engine, "rmi", "made:4")
    ok(engine, "rm", "wrote")
    assert engine.client.get("/system/df")["LayersSize"] == before


def test_frozen_or_not(engine: PrivateEngine) -> None:
    since = str(time.time())
    ok(engine, "commit", "busy", "made:3")
    ok(engine, "commit", "--pause=false", "busy", "made:3")
    ok(engine, "pause", "busy")
    ok(engine, "commit", "busy", "made:3")
    assert ok(engine, "inspect", "-f", "{{.State.Status}}", "busy") == "paused"
    ok(engine, "unpause", "busy")
    told = ok(engine, "events", "--since", since, "--until", str(time.time()), "--filter", "container=busy",
              "--format", "{{.Action}}").split()  # fmt: skip
    assert [word for word in told if "exec" not in word] == [
        "pause", "unpause", "commit", "commit", "pause", "commit", "unpause",
    ]  # fmt: skip
    ok(engine, "rmi", "made:3")


def test_what_is_refused(engine: PrivateEngine) -> None:
    for words, said in (
        (("commit", "nope"), "No such container: nope"),
        (("commit", "busy", "Upper"), "lowercase"),
        (("commit", "-c", "RUN x", "busy"), "run is not a valid change command"),
        (("export", "-o", "/nope/x", "busy"), "/nope/x"),
        (("diff", "nope"), "No such container: nope"),
    ):
        done = engine.hako(*words)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize("runtime", ["runc", "io.containerd.runc.v2"])
def test_whatever_runs_it(engine: PrivateEngine, peer: Any, runtime: str, tmp_path: Path) -> None:
    """Other runtimes and other people's shims have the container's root in other places."""
    peer("containerd-shim-runc-v2" if "." in runtime else runtime)
    make = "mkdir /d; echo x >/d/f; touch /ready; sleep 600"
    ok(
        engine,
        "run",
        "-d",
        "--name",
        "other",
        "--runtime",
        runtime,
        "-v",
        "vol:/vol",
        STARTER,
        "sh",
        "-c",
        make,
    )
    until(lambda: engine.hako("exec", "other", "test", "-e", "/ready").returncode == 0)
    (tmp_path / "file").write_text("put")
    ok(engine, "cp", str(tmp_path / "file"), "other:/d/")
    ok(engine, "cp", str(tmp_path / "file"), f"other:/vol/{runtime}")
    assert ok(engine, "exec", "other", "cat", "/d/file", f"/vol/{runtime}") == "putput"
    assert ok(engine, "diff", "other").split() == [
        "A",
        "/d",
        "A",
        "/d/f",
        "A",
        "/d/file",
        "A",
        "/ready",
        "A",
        "/vol",
    ]
    ok(engine, "export", "-o", str(tmp_path / "e.tar"), "other")
    with tarfile.open(tmp_path / "e.tar") as archive:
        assert {"d/f", "d/file", "usr/bin/sh"} < set(archive.getnames())
    ok(engine, "exec", "other", "rm", f"/vol/{runtime}")
    ok(engine, "commit", "other", "other:1")
    ok(engine, "rm", "-f", "other")
    assert ok(engine, "run", "--rm", "other:1", "cat", "/d/f", "/d/file").split() == ["x", "put"]
    ok(engine, "rmi", "other:1")


def test_killed_at_each_step_of_a_commit(tmp_path: Path) -> None:
    """Nothing half visible, the container goes on, nothing of it is left in the store, and the next one works."""
    with PrivateEngine(environment={"HAKOBUNE_FAILPOINT": str(tmp_path)}) as engine:
        ok(engine, "run", "-d", "--name", "busy", STARTER, "sh", "-c", "echo x >/x; sleep 600")
        before = ok(engine, "images", "-aq")
        store = engine.root / "d" / "containerd"
        blobs = sorted(path.name for path in store.glob("*content*/blobs/sha256/*"))
        assert blobs
        for point in ("frozen", "layer", "manifest", "named"):
            (tmp_path / f"engine.commit.{point}").touch()
            assert engine.hako("commit", "busy", "made:1").returncode
            assert engine.process is not None
            engine.process.wait(10)
            engine.start()
            until(lambda: ok(engine, "inspect", "-f", "{{.State.Status}}", "busy") == "running")
            made = point == "named"
            assert (ok(engine, "images", "-aq") == before) != made
            if not made:
                until(lambda: sorted(path.name for path in store.glob("*content*/blobs/sha256/*")) == blobs)
        assert ok(engine, "run", "--rm", "made:1", "cat", "/x") == "x"
        with contextlib.suppress(FileNotFoundError):
            (tmp_path / "engine.commit.named").unlink()
        ok(engine, "commit", "busy", "made:2")


@pytest.mark.parametrize(
    "point", ["containerd.snapshot.directories", "containerd.snapshot.made", "containerd.snapshot.forgotten"]
)
def test_the_manager_is_killed_in_the_middle_of_a_commit(tmp_path: Path, point: str) -> None:
    """The client is told, or it went well after all; the container goes on, and the next commit works."""
    with PrivateEngine(environment={"HAKOBUNE_FAILPOINT": str(tmp_path)}) as engine:
        ok(engine, "run", "-d", "--name", "busy", STARTER, "sh", "-c", "echo x >/x; sleep 600")
        manager = engine.daemons()["hako-containerd"]
        (tmp_path / point).touch()
        done = engine.hako("commit", "busy", "made:1")
        assert not (tmp_path / point).exists(), "it was never reached"
        until(lambda: engine.daemons().get("hako-containerd", manager) != manager)
        until(lambda: engine.hako("exec", "busy", "cat", "/x").stdout == "x\n")
        assert ok(engine, "inspect", "-f", "{{.State.Status}}", "busy") == "running"
        assert (engine.hako("inspect", "made:1").returncode == 0) == (done.returncode == 0), done.stderr
        ok(engine, "commit", "busy", "made:2")
        assert ok(engine, "run", "--rm", "made:2", "cat", "/x") == "x"


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A clear word, nothing is left of the image, and the container goes on."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=88m", "tight", tmp_path], check=True)
    try:
        engine = PrivateEngine()
        (engine.root / "d").symlink_to(tmp_path)
        with engine:
            work = "head -c 16000000 /dev/urandom >/big; touch /ready; sleep 600"
            ok(engine, "run", "-d", "--name", "busy", STARTER, "sh", "-c", work)
            until(lambda: engine.hako("exec", "busy", "test", "-e", "/ready").returncode == 0)
            before, images = shutil.disk_usage(tmp_path).used, ok(engine, "images", "-aq")
            done = engine.hako("commit", "busy", "made:1")
            assert (done.returncode, "no space left" in done.stderr.lower()) == (1, True), done.stderr
            assert ok(engine, "inspect", "-f", "{{.State.Status}}", "busy") == "running"
            assert ok(engine, "images", "-aq") == images
            until(lambda: shutil.disk_usage(tmp_path).used < before + 1_000_000)
            ok(engine, "exec", "busy", "rm", "/big")
            ok(engine, "commit", "busy", "made:1")
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=False)
