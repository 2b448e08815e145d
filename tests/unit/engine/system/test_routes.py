"""The engine about itself, in the fields that Docker's clients read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hakobune.engine.config import Config
from hakobune.engine.http.message import Query, Request, Response, Taken
from hakobune.engine.http.router import Router
from hakobune.engine.runtimes import Runtimes
from hakobune.engine.system.routes import SystemDeps, routes
from hakobune.errors import InvalidArgument, NotFound, Unavailable, Unimplemented

COUNTS = {"Containers": 3, "ContainersRunning": 1, "ContainersPaused": 1, "ContainersStopped": 1, "Images": 2}
USAGE = {"LayersSize": 7, "Images": [1], "Containers": [2], "Volumes": [3], "BuildCache": []}


async def _counts() -> Mapping[str, int]:
    return COUNTS


async def _usage() -> dict[str, Any]:
    return dict(USAGE)


async def _version() -> str:
    return "9.9"


async def _gone() -> str:
    raise Unavailable("gone")


def _no_successor(_python: str, _taken: Taken) -> None:
    raise AssertionError("nobody asked for an upgrade")


def ask(method: str, path: str, query: str = "", *, manager: Any = _version) -> Response:
    config = Config(hosts=(), data_root="/d", labels=("a=b",))
    deps = SystemDeps(config, "me", Runtimes({}, "hako", "/none"), _counts, manager, _usage, _no_successor)
    request = Request(method, path, Query(query), {}, (1, 51), cast("Any", SimpleNamespace()))
    route, request.params = Router(routes(deps)).find(method, path)
    answer = asyncio.run(cast("Any", route.handler(request)))
    assert isinstance(answer, Response)
    return answer


def document(*words: str, **more: Any) -> Any:
    return json.loads(cast("bytes", ask(*words, **more).body))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ping(method: str) -> None:
    answer = ask(method, "/_ping")
    headers = dict(answer.headers)
    assert (answer.status, answer.body) == (200, b"OK")
    assert headers["Builder-Version"] == "1"
    assert headers["Swarm"] == "inactive"
    assert headers["Cache-Control"].startswith("no-cache")


def test_version() -> None:
    found = document("GET", "/version")
    assert (found["ApiVersion"], found["MinAPIVersion"], found["Os"]) == ("1.51", "1.24", "linux")
    assert [one["Name"] for one in found["Components"]] == ["Engine", "containerd", "hako-runtime"]
    assert found["Components"][1]["Version"] == "9.9"
    assert all(isinstance(value, str) for one in found["Components"] for value in one["Details"].values())


def test_version_and_info_without_a_manager() -> None:
    assert document("GET", "/version", manager=_gone)["Components"][1]["Version"] == "not reachable"
    assert document("GET", "/info", manager=_gone)["ContainerdCommit"]["ID"] == "not reachable"


def test_info() -> None:
    found = document("GET", "/info")
    assert {name: found[name] for name in COUNTS} == COUNTS
    assert (found["ID"], found["Driver"], found["CgroupDriver"], found["DockerRootDir"]) == (
        "me", "overlayfs", "cgroupfs", "/d",
    )  # fmt: skip
    assert found["CgroupVersion"] in ("1", "2")
    assert found["NCPU"] > 0
    assert found["MemTotal"] > 1 << 20
    assert found["DefaultRuntime"] in found["Runtimes"]
    assert "name=seccomp,profile=builtin" in found["SecurityOptions"]
    assert found["LiveRestoreEnabled"] is True
    assert found["Swarm"]["LocalNodeState"] == "inactive"
    assert found["Plugins"]["Network"] == ["bridge", "host", "null"]
    assert found["Labels"] == ["a=b"]
    assert found["DefaultAddressPools"][0] == {"Base": "172.17.0.0/16", "Size": 16}


def test_usage_of_all_and_of_some() -> None:
    assert document("GET", "/system/df") == USAGE
    some = document("GET", "/system/df", "type=volume&type=build-cache")
    assert some == {"LayersSize": 0, "Images": None, "Containers": None, "Volumes": [3], "BuildCache": []}
    with pytest.raises(InvalidArgument, match="unknown object type: x"):
        ask("GET", "/system/df", "type=x")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/swarm"), ("GET", "/nodes"), ("GET", "/services"), ("GET", "/secrets"), ("GET", "/configs"),
     ("GET", "/tasks"), ("POST", "/services/create"), ("GET", "/nodes/self"), ("DELETE", "/secrets/x")],
)  # fmt: skip
def test_no_swarm(method: str, path: str) -> None:
    with pytest.raises(Unavailable, match=r"^This node is not a swarm manager. Use \"docker swarm init\""):
        ask(method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/build"), ("POST", "/swarm/init")],
)
def test_what_is_not_served_says_so(method: str, path: str) -> None:
    with pytest.raises(Unimplemented, match="not served yet"):
        ask(method, path)


def test_plugins_and_the_builders_cache() -> None:
    assert document("GET", "/plugins") == []
    assert document("POST", "/build/prune") == {"CachesDeleted": None, "SpaceReclaimed": 0}
    with pytest.raises(NotFound, match='plugin "x/y" not found'):
        ask("GET", "/plugins/x/y/json")
