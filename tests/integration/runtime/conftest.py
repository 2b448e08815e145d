"""What the tests of hako-runtime by hand share: a root, and the program with a place that is empty at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hakobune.testing import bundle
from hakobune.testing.hand import Runtime


@pytest.fixture(scope="module")
def lower() -> Iterator[Path]:
    top = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
    yield bundle.unpack_starter(top / "root")
    shutil.rmtree(top)


@pytest.fixture
def hako(tmp_path: Path, lower: Path, recwarn: pytest.WarningsRecorder) -> Iterator[Runtime]:
    runtime = Runtime(tmp_path, lower)
    yield runtime
    for name in runtime.ids:
        runtime("delete", "--force", name)
    assert not list(Path("/sys/fs/cgroup").glob(f"*/hakotest-{os.getpid()}"))
    assert not (tmp_path / "state").exists() or os.listdir(tmp_path / "state") == []
