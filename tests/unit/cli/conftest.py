"""A fake engine per test, and `hako` against it, in this process or as one of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hakobune.cli import app

sys.path.insert(0, str(Path(__file__).parent))

from fake_engine import FakeEngine, Hako


@pytest.fixture
def fake() -> Iterator[FakeEngine]:
    with tempfile.TemporaryDirectory(prefix="hk", dir="/tmp") as directory:
        engine = FakeEngine(Path(directory))
        yield engine
        engine.close()


@pytest.fixture
def hako(fake: FakeEngine, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """(exit code, stdout, stderr) of `hako …` run in this process."""

    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = app.main(["-H", fake.host, *words])
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def command(fake: FakeEngine) -> Hako:
    """`hako …` as a process of its own."""

    def run(*words: str, data: str = "") -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-I", "-m", "hakobune.cmd.hako", "-H", fake.host, *words]
        return subprocess.run(line, input=data, capture_output=True, text=True, timeout=20, check=False)

    return run
