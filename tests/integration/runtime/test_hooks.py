"""Hooks: their order, their places, what they are told, and what becomes of one that fails."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root
Done = subprocess.CompletedProcess[str]


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
