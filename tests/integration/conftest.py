"""The docker CLI against a private engine, and images made on this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hakobune.testing.containerd import RealContainerd
from hakobune.testing.engine import PrivateEngine
from hakobune.testing.peers import built

Docker = Callable[..., "subprocess.CompletedProcess[str]"]

STARTER = "hako/starter"


@pytest.fixture(scope="session", autouse=True)
def groups() -> Iterator[None]:
    """Control groups that are named after this process belong to its tests: none stays, nor an empty one."""
    yield
    assert list(Path("/sys/fs/cgroup").glob(f"*/*{os.getpid()}")) == []


@pytest.fixture(scope="module")
def docker(engine: PrivateEngine, peer: Callable[[str], Path]) -> Docker:
    """`docker("run", "--rm", …)` against this module's engine; output captured as text."""
    program = str(peer("docker"))
    environment = {**os.environ, "DOCKER_HOST": engine.host, "DOCKER_CONFIG": str(engine.root / "docker")}

    def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
        settings: dict[str, object] = {
            "capture_output": True,
            "text": True,
            "timeout": 60,
            "env": environment,
        }
        if "input" not in options:
            settings["stdin"] = subprocess.DEVNULL
        return subprocess.run([program, *words], check=False, **(settings | options))  # type: ignore[call-overload,no-any-return]

    return run


@pytest.fixture(scope="module", params=["Debian's", "current"])
def real(request: pytest.FixtureRequest) -> Iterator[RealContainerd]:
    """The real containerd, of both kinds."""
    program = "/usr/bin/containerd" if request.param == "Debian's" else built("containerd")
    if not program or not os.path.exists(program):
        pytest.skip(f"peer not installed: {request.param} containerd")
    with RealContainerd(program) as running:
        yield running


def on_manager(kind: str) -> Iterator[PrivateEngine]:
    """An engine on our manager ("hako-containerd") or on a current real one ("containerd"); for fixtures."""
    if kind == "hako-containerd":
        with PrivateEngine() as running:
            yield running
        return
    program = built("containerd") or pytest.skip("peer not built: current containerd")
    with RealContainerd(program) as manager:
        environment = {"HAKO_SHIM_STATE": str(manager.base / "s")}
        with PrivateEngine(arguments=("--containerd", manager.address), environment=environment) as running:
            yield running
