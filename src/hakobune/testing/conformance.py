"""What containerd's command lines are expected to do on a manager, command by command.

The same checks are the tests of ours (tests/integration/containerd), the table of docs/conformance.md, and, run on
the real containerd, the proof that they ask for the right thing. Each gets a namespace of its own.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import select
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hakobune.cgroups.cgroup import Cgroup
from hakobune.testing.clients import IMAGE, Cli, Failed, Watch, image_archive
from hakobune.testing.registry import RealRegistry
from hakobune.testing.registry import program as registry_program

LACKING = (
    "peer not installed",
    "No help topic for",
    "unknown command",
    "unknown subcommand",
    "flag provided but not defined",
)


@dataclass(frozen=True)
class Check:
    """`command` as people type it; `run` raises AssertionError when it does not work."""

    command: str
    run: Callable[[Cli], None]
    client: str = "ctr"


CHECKS: list[Check] = []


def check(command: str, client: str = "ctr") -> Callable[[Callable[[Cli], None]], Callable[[Cli], None]]:
    """Add one to the table."""

    def add(run: Callable[[Cli], None]) -> Callable[[Cli], None]:
        CHECKS.append(Check(command, run, client))
        return run

    return add


def prepared(cli: Cli, one: Check, address: str, scratch: Path, runtime: str) -> Cli:
    """The client for one check: where the manager is, and a namespace that nobody else has."""
    words = re.sub("[^a-z0-9]+", "-", f"{cli.name[0]}{cli.version}-{one.command}".lower()).strip("-")
    return replace(
        cli,
        address=address,
        namespace=f"{words[:50].strip('-')}-{os.getpid()}",
        scratch=scratch,
        runtime=runtime,
    )


def outcome(cli: Cli, one: Check) -> str:
    """ "works", "not in this version", or what went wrong."""
    try:
        one.run(cli)
    except Failed as err:
        return "not in this version" if any(words in str(err) for words in LACKING) else str(err)
    except Exception as err:  # whatever a check stumbles over in what it was given
        return f"another answer: {type(err).__name__}: {err}"
    finally:  # runc leaves the group of the namespace, in which it made the containers'
        Cgroup.find(f"/{cli.namespace}/any").remove_parents()
    return "works"


# --- what the checks share ---


def _expect(text: str, *parts: str) -> None:
    for part in parts:
        if part not in text:
            raise Failed(f"{part!r} is not in {text[-300:]!r}")


def _rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()[1:]]


def _archive(cli: Cli) -> str:
    return str(image_archive(cli.scratch / "starter.tar"))


def _image(cli: Cli) -> None:
    cli("images", "import", _archive(cli))


def _run(cli: Cli, *arguments: str) -> str:
    return cli("run", "--runtime", cli.runtime, *arguments)


def _running(cli: Cli, name: str = "one") -> None:
    _image(cli)
    _run(cli, "--detach", IMAGE, name, "sleep", "600")


def _stopped(cli: Cli, name: str = "one") -> None:
    cli("tasks", "rm", "--force", name)
    cli("containers", "rm", name)


def _top(cli: Cli) -> str:
    """The image's uppermost snapshot."""
    return next(row[0] for row in _rows(cli("snapshots", "ls")) if row[-1] == "Committed")


# --- the manager itself ---


@check("version")
def _version(cli: Cli) -> None:
    _expect(cli("version"), "Client:", "Server:", "UUID:")


@check("info")
def _info(cli: Cli) -> None:
    assert json.loads(cli("info"))["server"]["uuid"]


@check("plugins ls")
def _plugins(cli: Cli) -> None:
    _expect(
        cli("plugins", "ls"), "io.containerd.snapshotter.v1", "overlayfs", "io.containerd.content.v1", "tasks"
    )


@check("namespaces create, ls, label, rm")
def _namespaces(cli: Cli) -> None:
    name = f"{cli.namespace[:50]}-x"
    cli("namespaces", "create", name, "a=b")
    cli("namespaces", "label", name, "c=d")
    row = next(row for row in _rows(cli("namespaces", "ls")) if row[0] == name)
    assert sorted(row[1].split(",")) == ["a=b", "c=d"], row
    _expect(cli.refused("namespaces", "create", name), "already exists")
    cli("namespaces", "rm", name)
    assert name not in cli("namespaces", "ls").split()


@check("namespaces rm (not empty)")
def _namespace_in_use(cli: Cli) -> None:
    cli("leases", "create", "--id", "held")
    _image(cli)
    _expect(cli.refused("namespaces", "rm", cli.namespace), "must be empty")


@check("events")
def _events(cli: Cli) -> None:
    _image(cli)
    with cli.watching("events") as watch:
        for _ in range(50):  # it says nothing when it begins to listen
            cli("images", "label", IMAGE, "seen=1")
            watch.process.poll()
            if _heard(watch):
                break
        watch.until("/images/update")
        _run(cli, "--rm", IMAGE, "told", "true")
        for topic in ("/containers/create", "/tasks/create", "/tasks/start", "/tasks/exit"):
            watch.until(topic)
        watch.until("/containers/delete")


def _heard(watch: Watch) -> bool:
    stdout = watch.process.stdout
    assert stdout is not None
    return bool(select.select([stdout], [], [], 0.1)[0])


@check("leases create, ls, rm")
def _leases(cli: Cli) -> None:
    cli("leases", "create", "--id", "held", "--expires", "1h", "k=v")
    row = next(row for row in _rows(cli("leases", "ls")) if row[0] == "held")
    _expect(row[-1], "containerd.io/gc.expire=", "k=v")
    _expect(cli.refused("leases", "create", "--id", "held"), "already exists")
    cli("leases", "rm", "--sync", "held")
    assert "held" not in cli("leases", "ls").split()


# --- content and images ---


@check("content ingest, ls, get, label, rm")
def _content(cli: Cli) -> None:
    cli("content", "ingest", "ref", stdin=b"some bytes")
    digest = next(row[0] for row in _rows(cli("content", "ls")) if row[1] == "10B")
    assert cli("content", "get", digest) == "some bytes"
    cli("content", "label", digest, "a=b")
    _expect(cli("content", "ls"), "a=b")
    cli("content", "rm", digest)
    _expect(cli.refused("content", "get", digest), "not found")


@check("content ingest (wrong digest)")
def _verified(cli: Cli) -> None:
    wrong = "sha256:" + "0" * 64
    said = cli.refused("content", "ingest", "--expected-digest", wrong, "ref", stdin=b"some bytes")
    _expect(said, "unexpected commit digest")


@check("content active")
def _active(cli: Cli) -> None:
    _expect(cli("content", "active"), "REF")


@check("images import, ls, check")
def _import(cli: Cli) -> None:
    _image(cli)
    row = next(row for row in _rows(cli("images", "ls")) if row[0] == IMAGE)
    _expect(" ".join(row), "manifest.v2+json", "linux/")
    _expect(cli("images", "check"), IMAGE, "complete (2/2)", "true")


@check("images import --base-name --digests")
def _import_named(cli: Cli) -> None:
    cli("images", "import", "--base-name", "example.test/starter", "--digests", _archive(cli))
    names = cli("images", "ls", "-q").split()
    assert IMAGE in names, names
    assert any(name.startswith("example.test/starter@sha256:") for name in names), names


@check("images import (no archive)")
def _import_rubbish(cli: Cli) -> None:
    path = cli.scratch / "rubbish.tar"
    path.write_bytes(b"no archive at all" * 1000)
    cli.refused("images", "import", str(path))
    assert not cli("images", "ls", "-q").split()


@check("images export")
def _export(cli: Cli) -> None:
    _image(cli)
    path = cli.scratch / f"{cli.namespace}.tar"
    cli("images", "export", str(path), IMAGE)
    with tarfile.open(path) as archive:
        names = archive.getnames()
        index = json.load(_member(archive, "index.json"))
        docker = json.load(_member(archive, "manifest.json"))
    assert "oci-layout" in names, names
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == IMAGE
    assert docker[0]["RepoTags"] == [IMAGE]
    assert {docker[0]["Config"], *docker[0]["Layers"]} <= set(names)
    cli("images", "rm", "--sync", IMAGE)
    cli("images", "import", str(path))
    assert cli("images", "ls", "-q").split() == [IMAGE]


def _member(archive: tarfile.TarFile, name: str) -> tarfile.ExFileObject:
    file = archive.extractfile(name)
    assert isinstance(file, tarfile.ExFileObject), name
    return file


@check("images tag, label, rm")
def _tag(cli: Cli) -> None:
    _image(cli)
    cli("images", "tag", IMAGE, "example.test/other:2")
    assert sorted(cli("images", "ls", "-q").split()) == ["example.test/other:2", IMAGE]
    cli("images", "label", IMAGE, "a=b")
    _expect(cli("images", "ls"), "a=b")
    cli("images", "rm", "--sync", IMAGE, "example.test/other:2")
    assert not cli("images", "ls", "-q").split()
    assert not _rows(cli("content", "ls"))
    assert not _rows(cli("snapshots", "ls"))


@check("images inspect")
def _inspect(cli: Cli) -> None:
    _image(cli)
    _expect(cli("images", "inspect", IMAGE), IMAGE, "container.image.v1+json")


@check("images usage")
def _usage(cli: Cli) -> None:
    _image(cli)
    _expect(cli("images", "usage", IMAGE), _top(cli))


@check("images mount, unmount")
def _mount(cli: Cli) -> None:
    _image(cli)
    place = cli.scratch / f"{cli.namespace}-mnt"
    place.mkdir()
    cli("images", "mount", IMAGE, str(place))
    try:
        assert (place / "bin").exists()
    finally:
        cli("images", "unmount", "--rm", str(place))
    assert not (place / "bin").exists()


@check("images convert")
def _convert(cli: Cli) -> None:
    _image(cli)
    cli("images", "convert", "--oci", IMAGE, "example.test/oci:1")
    _expect(cli("images", "ls"), "application/vnd.oci.image.manifest.v1+json")


# --- registries ---


@contextmanager
def _pushed(cli: Cli, *options: str) -> Iterator[str]:
    """The name of the image in a registry that the client has pushed it to; here it is gone."""
    if not registry_program():
        raise Failed("peer not installed: docker-registry")
    with RealRegistry() as registry:
        name = f"{registry.name}/some/starter:1"
        (_nerd_image if cli.name == "nerdctl" else _image)(cli)
        tag, push, remove = (["tag"], ["push"], ["rmi"]) if cli.name == "nerdctl" else (
            ["images", "tag"], ["images", "push"], ["images", "rm", "--sync"])  # fmt: skip
        cli(*tag, IMAGE, name)
        cli(*push, *options, name)
        cli(*remove, IMAGE, name)
        yield name


@check("images push, pull")
def _pull(cli: Cli) -> None:
    with _pushed(cli, "--plain-http") as name:
        assert not _rows(cli("content", "ls"))
        cli("images", "pull", "--plain-http", name)
        _expect(cli("images", "check"), name, "complete (2/2)", "true")
        cli("images", "pull", "--plain-http", name)
        _run(cli, "--rm", name, "pulled", "true")


@check("images push, pull --local")
def _pull_local(cli: Cli) -> None:
    if cli.version.startswith("1."):
        raise Failed("flag provided but not defined: before 2.0 all of it is local")
    with _pushed(cli, "--local", "--plain-http") as name:
        cli("images", "pull", "--local", "--plain-http", name)
        _expect(cli("images", "check"), name, "complete (2/2)", "true")


@check("images pull (no such tag)")
def _pull_nothing(cli: Cli) -> None:
    with _pushed(cli, "--plain-http") as name:
        _expect(cli.refused("images", "pull", "--plain-http", f"{name}2"), "not found")
        assert not cli("images", "ls", "-q").split()


@check("images pull --all-platforms")
def _pull_all(cli: Cli) -> None:
    with _pushed(cli, "--plain-http") as name:
        cli("images", "pull", "--plain-http", "--all-platforms", name)
        _expect(cli("images", "ls"), name)


@check("content fetch")
def _fetch(cli: Cli) -> None:
    with _pushed(cli, "--plain-http") as name:
        cli("content", "fetch", "--plain-http", name)
        assert len(_rows(cli("content", "ls"))) == 3


# --- snapshots ---


@check("snapshots prepare, view, mounts, commit, ls, info, tree, rm")
def _snapshots(cli: Cli) -> None:
    _image(cli)
    top = _top(cli)
    cli("snapshots", "prepare", "active", top)
    _expect(cli("snapshots", "mounts", "/mnt", "active"), "mount -t overlay", "upperdir=")
    kinds = _viewed(cli, top)
    assert (kinds["active"], kinds["viewed"]) == ("Active", "View"), kinds
    cli("snapshots", "commit", "done", "active")
    assert json.loads(cli("snapshots", "info", "done"))["Parent"] == top
    _expect(cli("snapshots", "tree"), "done")
    _expect(cli.refused("snapshots", "rm", top), "cannot remove snapshot with child")
    cli("snapshots", "rm", "done")
    _expect(cli.refused("snapshots", "info", "done"), "not found")


def _viewed(cli: Cli, top: str) -> dict[str, str]:
    """Kinds of snapshots by name, once a view is among them: unlike `prepare`, ctr's `view` gives neither lease nor label,
    so a sweep that an earlier removal asked for may take the view away at once. That is containerd's own rule, and a sweep has an end."""
    kinds: dict[str, str] = {}
    for _attempt in range(5):
        cli("snapshots", "view", "viewed", top)
        kinds = {row[0]: row[-1] for row in _rows(cli("snapshots", "ls"))}
        if "viewed" in kinds:
            break
    return kinds


@check("snapshots label, usage")
def _snapshot_labels(cli: Cli) -> None:
    _image(cli)
    cli("snapshots", "prepare", "active", _top(cli))
    cli("snapshots", "label", "active", "a=b")
    assert json.loads(cli("snapshots", "info", "active"))["Labels"]["a"] == "b"
    _expect(cli("snapshots", "usage"), "active")


@check("snapshots diff")
def _diff(cli: Cli) -> None:
    _image(cli)
    _run(
        cli, IMAGE, "one", "sh", "-c", "echo new > /made; rm /etc/passwd; mkdir /tmp/d; ln /made /tmp/d/link"
    )
    layer = cli.output("snapshots", "diff", "--media-type", "application/vnd.oci.image.layer.v1.tar", "one")
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        assert _member(archive, "made").read() == b"new\n"
        names = [name.strip("/") for name in archive.getnames()]
        assert {"etc/.wh.passwd", "tmp/d", "tmp/d/link"} <= set(names), names
    compressed = cli.output("snapshots", "diff", "one")
    assert gzip.decompress(compressed)[257:262] == b"ustar"


# --- containers and tasks ---


@check("run")
def _run_one(cli: Cli) -> None:
    _image(cli)
    assert _run(cli, "--rm", IMAGE, "one", "echo", "hello") == "hello\n"
    assert not _rows(cli("containers", "ls"))
    assert cli("run", "--rm", "--runtime", cli.runtime, IMAGE, "two", "sh", "-c", "exit 7", status=7) == ""


@check("run (stdin)")
def _run_stdin(cli: Cli) -> None:
    _image(cli)
    said = cli(
        "run",
        "--rm",
        "--runtime",
        cli.runtime,
        IMAGE,
        "one",
        "sh",
        "-c",
        "read line; echo $line",
        stdin=b"from outside\n",
    )
    assert said == "from outside\n", said


@check("run --tty")
def _run_tty(cli: Cli) -> None:
    _image(cli)
    shown = cli.on_terminal(
        "run", "--rm", "--tty", "--runtime", cli.runtime, IMAGE, "one", "sh", "-c", "read line; echo got $line; tty",
        typed=b"typed\n",
    )  # fmt: skip
    _expect(shown, "got typed", "/dev/")


@check("run --rootfs")
def _run_rootfs(cli: Cli) -> None:
    root = cli.scratch / f"{cli.namespace}-root"
    if not root.exists():
        root.mkdir()
        with tarfile.open(_archive(cli)) as archive:
            layer = next(name for name in archive.getnames() if name.endswith("layer.tar"))
            with tarfile.open(fileobj=_member(archive, layer)) as files:
                files.extractall(root, filter="fully_trusted")
    said = cli("run", "--rm", "--runtime", cli.runtime, "--rootfs", str(root), "one", "/bin/echo", "rooted")
    assert said == "rooted\n", said


@check("run --env --cwd --mount --read-only --memory-limit")
def _run_options(cli: Cli) -> None:
    _image(cli)
    (cli.scratch / "shared").mkdir(exist_ok=True)
    (cli.scratch / "shared" / "file").write_text("shared\n")
    said = _run(
        cli, "--rm", "--env", "A=b", "--cwd", "/tmp", "--read-only", "--memory-limit", "50000000",
        "--mount", f"type=bind,src={cli.scratch}/shared,dst=/mnt,options=rbind:ro",
        IMAGE, "one", "sh", "-c", "echo $A; pwd; cat /mnt/file; touch /x 2>/dev/null || echo read-only",
    )  # fmt: skip
    assert said == "b\n/tmp\nshared\nread-only\n", said


@check("run --detach; tasks ls, ps, kill, rm; containers ls, info, label, rm")
def _life(cli: Cli) -> None:
    _running(cli)
    row = next(row for row in _rows(cli("tasks", "ls")) if row[0] == "one")
    assert row[2] == "RUNNING", row
    assert row[1] in [line[0] for line in _rows(cli("tasks", "ps", "one"))]
    _expect(cli("containers", "ls"), "one", IMAGE, cli.runtime)
    assert json.loads(cli("containers", "info", "one"))["Spec"]["process"]["args"] == ["sleep", "600"]
    cli("containers", "label", "one", "a=b")
    _expect(cli("containers", "info", "one"), '"a": "b"')
    _expect(cli.refused("containers", "rm", "one"), "non stopped container")
    cli("tasks", "kill", "--signal", "SIGKILL", "one")
    _wait_stopped(cli, "one")
    cli("tasks", "rm", "one")
    cli("containers", "rm", "one")
    assert not _rows(cli("tasks", "ls"))
    assert not _rows(cli("containers", "ls"))


def _wait_stopped(cli: Cli, name: str) -> None:
    for _ in range(200):
        if any(row[0] == name and row[-1] == "STOPPED" for row in _rows(cli("tasks", "ls"))):
            return
    raise Failed(f"task {name} does not stop")


@check("containers create; tasks start, attach")
def _create_start(cli: Cli) -> None:
    _image(cli)
    cli("containers", "create", "--runtime", cli.runtime, IMAGE, "one", "echo", "started")
    assert cli("tasks", "start", "one") == "started\n"
    cli("containers", "rm", "one")


@check("tasks exec")
def _exec(cli: Cli) -> None:
    _running(cli)
    assert cli("tasks", "exec", "--exec-id", "e1", "one", "echo", "inside") == "inside\n"
    cli("tasks", "exec", "--exec-id", "e2", "one", "sh", "-c", "exit 5", status=5)
    shown = cli.on_terminal("tasks", "exec", "--tty", "--exec-id", "e3", "one", "sh", "-c", "tty; echo done")
    _expect(shown, "/dev/", "done")
    _stopped(cli)


@check("tasks pause, resume")
def _pause(cli: Cli) -> None:
    _running(cli)
    cli("tasks", "pause", "one")
    _expect(cli("tasks", "ls"), "PAUSED")
    cli("tasks", "resume", "one")
    _expect(cli("tasks", "ls"), "RUNNING")
    _stopped(cli)


@check("tasks metrics")
def _metrics(cli: Cli) -> None:
    _running(cli)
    found = dict(row[:2] for row in _rows(cli("tasks", "metrics", "one")) if len(row) >= 2)
    assert int(found.get("pids.current", "0")) == 1, found
    used = found.get("memory.usage_in_bytes") or found.get("memory.usage") or "0"
    assert int(used) > 0, found
    assert json.loads(cli("tasks", "metrics", "--format", "json", "one"))["pids"]["current"] == 1
    _stopped(cli)


@check("tasks checkpoint")
def _checkpoint(cli: Cli) -> None:
    _running(cli)
    try:
        cli("tasks", "checkpoint", "one")
    finally:
        _stopped(cli)


@check("sandboxes ls")
def _sandboxes(cli: Cli) -> None:
    cli("sandboxes", "ls")


@check("run --detach --log-uri binary://")
def _log_uri(cli: Cli) -> None:
    _image(cli)
    told = cli.scratch / f"{cli.namespace}.log"
    logger = cli.scratch / "logger"
    logger.write_text(
        '#!/bin/sh\ntrap "" TERM; exec 5>&-\n{ cat <&3; echo "$CONTAINER_ID $CONTAINER_NAMESPACE $1 $2"; cat <&4; } > "$2.new"\n'
        'mv "$2.new" "$2"\n'
    )
    logger.chmod(0o755)
    uri = f"binary://{logger}?to={told}"
    _run(cli, "--detach", "--log-uri", uri, IMAGE, "one", "sh", "-c", "echo out; echo err >&2")
    _wait_stopped(cli, "one")
    _stopped(cli)  # containerd's own shim keeps the pipes until then
    _wait_for(told)
    assert told.read_text() == f"out\none {cli.namespace} to {told}\nerr\n", told.read_text()


def _wait_for(path: Path) -> None:
    for _ in range(500):
        if path.exists():
            return
        select.select([], [], [], 0.02)
    raise Failed(f"{path.name} is not written")


# --- nerdctl ---


def _nerd_image(cli: Cli) -> None:
    cli("load", "--input", _archive(cli))


def _nerd_run(cli: Cli, *arguments: str) -> str:
    return cli("run", "--net", "none", "--runtime", cli.runtime, *arguments)


@check("load, images, save, rmi", "nerdctl")
def _nerd_images(cli: Cli) -> None:
    _nerd_image(cli)
    _expect(cli("images"), "example.test/starter")
    path = cli.scratch / f"{cli.namespace}.tar"
    cli("save", "--output", str(path), IMAGE)
    cli("rmi", "--force", IMAGE)
    assert IMAGE not in cli("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    cli("load", "--input", str(path))
    assert IMAGE in cli("images", "--format", "{{.Repository}}:{{.Tag}}").split()


@check("image inspect", "nerdctl")
def _nerd_inspect_image(cli: Cli) -> None:
    _nerd_image(cli)
    assert json.loads(cli("image", "inspect", IMAGE))[0]["RepoTags"] == [IMAGE]


@check("version, info", "nerdctl")
def _nerd_info(cli: Cli) -> None:
    _expect(cli("version"), "Server:", "containerd:")
    _expect(cli("info"), "Storage Driver: overlayfs")


@check("run --rm --net none", "nerdctl")
def _nerd_run_one(cli: Cli) -> None:
    _nerd_image(cli)
    assert _nerd_run(cli, "--rm", IMAGE, "echo", "hello") == "hello\n"


@check("run --detach, ps, exec, inspect, stop, rm", "nerdctl")
def _nerd_life(cli: Cli) -> None:
    _nerd_image(cli)
    _nerd_run(cli, "--detach", "--name", "one", IMAGE, "sleep", "600")
    _expect(cli("ps"), "one", "Up")
    assert cli("exec", "one", "echo", "inside") == "inside\n"
    assert json.loads(cli("inspect", "one"))[0]["State"]["Running"] is True
    cli("stop", "--time", "1", "one")
    _expect(cli("ps", "--all"), "Exited")
    cli("rm", "one")
    assert "one" not in cli("ps", "--all").split()


@check("logs", "nerdctl")
def _nerd_logs(cli: Cli) -> None:
    _nerd_image(cli)
    _nerd_run(cli, "--detach", "--name", "one", IMAGE, "sh", "-c", "echo first; echo second >&2")
    cli("wait", "one")
    with cli.watching("logs", "--follow", "one") as watch:
        watch.until("first")
        watch.until("second")
    cli("rm", "--force", "one")


@check("run --net host", "nerdctl")
def _nerd_host(cli: Cli) -> None:
    _nerd_image(cli)
    said = cli("run", "--rm", "--net", "host", "--runtime", cli.runtime, IMAGE, "cat", "/proc/net/dev")
    assert said.count("\n") >= 3, said


@check("pause, unpause, kill", "nerdctl")
def _nerd_pause(cli: Cli) -> None:
    _nerd_image(cli)
    _nerd_run(cli, "--detach", "--name", "one", IMAGE, "sleep", "600")
    cli("pause", "one")
    _expect(cli("ps", "--all"), "Paused")
    cli("unpause", "one")
    cli("kill", "one")
    cli("wait", "one")
    cli("rm", "--force", "one")


@check("commit", "nerdctl")
def _nerd_commit(cli: Cli) -> None:
    _nerd_image(cli)
    _nerd_run(cli, "--detach", "--name", "one", IMAGE, "sh", "-c", "echo made > /made; sleep 600")
    cli("commit", "one", "example.test/made:1")
    cli("rm", "--force", "one")
    assert _nerd_run(cli, "--rm", "example.test/made:1", "cat", "/made") == "made\n"


@check("tag, history", "nerdctl")
def _nerd_tag(cli: Cli) -> None:
    _nerd_image(cli)
    cli("tag", IMAGE, "example.test/other:2")
    _expect(cli("images"), "example.test/other")


@check("push, pull", "nerdctl")
def _nerd_pull(cli: Cli) -> None:
    with _pushed(cli) as name:
        cli("pull", name)
        _expect(cli("images"), name.removesuffix(":1"))
        assert _nerd_run(cli, "--rm", name, "echo", "pulled") == "pulled\n"


def checks_for(name: str) -> Iterable[Check]:
    """Those of one client."""
    return [one for one in CHECKS if one.client == name]
