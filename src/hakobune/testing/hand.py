"""`hako-runtime` by hand, for tests: a state directory of its own, and bundles whose root is a plain directory.

Imports: json, os, subprocess; testing.bundle.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from hakobune.testing import bundle

Done = subprocess.CompletedProcess[str]


class Runtime:
    """The program with a state directory of its own."""

    def __init__(self, place: Path, lower: Path) -> None:
        self.place = place
        self.lower = lower
        self.ids: list[str] = []

    def __call__(self, *words: str, check: bool = True, **options: Any) -> Done:
        line = [sys.executable, "-I", "-m", "hakobune.cmd.runtime", "--root", str(self.place / "state"),
                "--log", str(self.place / "log"), "--log-format", "json", *words]  # fmt: skip
        options = {"stdout": subprocess.PIPE, "stdin": subprocess.DEVNULL, "timeout": 30} | options
        with open(self.place / "stderr", "w+") as errors:
            done = subprocess.run(line, check=False, text=True, stderr=errors, **options)
            errors.seek(0)
            done.stderr = errors.read()
        assert not check or done.returncode == 0, done.stderr
        return done

    def bundle(self, *args: str, **sections: Any) -> str:
        """A bundle whose root is a plain directory: (its path); its id is the directory's name."""
        name = f"c{len(self.ids)}"
        made = bundle.make(self.place / name, self.lower, args, **sections)
        made.edit(root={"path": str(self.lower), "readonly": True})
        self.ids.append(name)
        return str(made.path)

    def created(self, *args: str, **sections: Any) -> str:
        path = self.bundle(*args, **sections)
        name = os.path.basename(path)
        # No pipe of ours: the container would keep it open.
        self("create", "--bundle", path, "--pid-file", f"{path}/pid", name, stdout=open(f"{path}/out", "w"))
        return name

    def output(self, name: str) -> str:
        return (self.place / name / "out").read_text()

    def status(self, name: str) -> str:
        return str(json.loads(self("state", name).stdout)["status"])

    def until(self, name: str, status: str) -> None:
        end = time.monotonic() + 10
        while self.status(name) != status:
            assert time.monotonic() < end
