"""One engine for each chaos test, the docker CLI against it, and what it must not leave."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hakobune.testing.engine import PrivateEngine

Docker = Callable[..., "subprocess.CompletedProcess[str]"]
STARTER = "hako/starter"


@pytest.fixture
def fresh() -> Iterator[PrivateEngine]:
    """An engine of this test's own; leaves nothing, and checks that."""
    with PrivateEngine() as running:
        yield running


@pytest.fixture
def docker(fresh: PrivateEngine, peer: Callable[[str], Path]) -> Docker:
    """`docker("run", …)` against `fresh`."""
    program = str(peer("docker"))
    environment = {**os.environ, "DOCKER_HOST": fresh.host, "DOCKER_CONFIG": str(fresh.root / "docker")}

    def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
        settings: dict[str, object] = {
            "capture_output": True,
            "text": True,
            "timeout": 60,
            "env": environment,
            "stdin": subprocess.DEVNULL,
        }
        return subprocess.run([program, *words], check=False, **(settings | options))  # type: ignore[call-overload,no-any-return]

    return run
