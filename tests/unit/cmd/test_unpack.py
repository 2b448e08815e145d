"""The program: one line on stdout, or one on stderr with its kind."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.root


def run(data: bytes, target: Path, *options: str) -> tuple[int, Any]:
    command = [sys.executable, "-I", "-m", "hakobune.cmd.unpack", "--target", str(target), *options]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    return done.returncode, json.loads(done.stderr if done.returncode else done.stdout)


def archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        info = tarfile.TarInfo("f")
        info.size = 3
        file.addfile(info, io.BytesIO(b"abc"))
    return out.getvalue()


def test_success(tmp_path: Path) -> None:
    code, said = run(gzip.compress(archive()), tmp_path)
    assert code == 0
    assert said["size"] == len(archive())
    assert said["digest"].startswith("sha256:")
    assert (tmp_path / "f").read_text() == "abc"


@pytest.mark.parametrize("data", [b"", b"<html></html>", b"\x1f\x8bjunk", archive()[:600]])
def test_what_is_no_archive_is_invalid(tmp_path: Path, data: bytes) -> None:
    code, said = run(data, tmp_path)
    assert (code, said["kind"]) == (1, "invalid")


def test_limit_and_missing_target(tmp_path: Path) -> None:
    assert run(archive(), tmp_path, "--max-size", "100")[1]["kind"] == "nospace"
    assert run(archive(), tmp_path / "none")[1]["kind"] == "other"
