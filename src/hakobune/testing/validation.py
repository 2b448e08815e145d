"""The validation programs of OCI's runtime-tools, run on a runtime program; and what each of them found.

Each runs in namespaces of its own (mounts, processes), with a /run of its own: whatever it or the runtime leaves
there goes with it. Their answers are TAP (testanything.org). `make peers` builds them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SECONDS = 60.0
_ISOLATED = (
    "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
    "sh", "-c", 'mount -t tmpfs run /run && exec "$0"',
)  # fmt: skip
_CGROUPS = Path("/sys/fs/cgroup")
_THEIRS = re.compile(r"cgrouptest|testdir|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LOG = re.compile(r'^time="[^"]*" level=\w+ msg=')
_MOST = 160  # characters of a complaint
_NO_PROGRAM = ("runtimetest", "util")


def home() -> Path | None:
    """Where the programs are; None when they were not built."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    found = Path(cache, "hakobune-peers", "runtime-tools")
    return found if (found / "runtimetest").exists() else None


def programs(where: Path) -> list[str]:
    """Their names."""
    return sorted(entry.name for entry in where.iterdir()
                  if entry.name not in _NO_PROGRAM and "." not in entry.name)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """`complaint` is empty when the program passes; `passed` counts its single checks, without skipped ones."""

    passed: int
    complaint: str

    @property
    def passes(self) -> bool:
        """Whether it had nothing to say against the runtime."""
        return not self.complaint


def run(program: Path, runtime: str) -> Outcome:
    """Run one program on `runtime` (a path or a name in PATH). Raises OSError."""
    with tempfile.TemporaryDirectory(prefix="hv-", dir="/tmp") as scratch:
        os.chmod(scratch, 0o755)  # for those who are root only inside their user namespace
        words = [*_ISOLATED, str(program)]
        environment = {**os.environ, "RUNTIME": shutil.which(runtime) or runtime, "TMPDIR": scratch}
        try:
            done = subprocess.run(words, cwd=program.parent, env=environment, stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=SECONDS, check=False)  # fmt: skip
        except subprocess.TimeoutExpired:
            return Outcome(0, f"no end within {SECONDS:.0f} s")
        finally:
            _remove_groups()
    return judge(done.stdout, done.stderr, done.returncode)


def judge(output: str, errors: str, status: int) -> Outcome:
    """What a program's TAP says. Programs with a plan of no checks tell a failure only in their diagnostics."""
    lines = output.splitlines()
    passed = sum(line.startswith("ok ") and "# SKIP" not in line for line in lines)
    failed = [line.partition(" - ")[2] or line for line in lines if line.startswith("not ok ")]
    if not status and not failed and (passed or '"error"' not in output):
        return Outcome(passed, "")
    reasons = [_LOG.sub("", line).strip('"') for line in errors.splitlines() if not _is_vague(line)]
    what = next((line for line in failed if not _is_vague(line)), "")
    texts = [what, *reasons[:1]] if what or reasons else _diagnostics(lines) or [f"exit status {status}"]
    return Outcome(passed, ": ".join(filter(None, texts))[:_MOST])


def _is_vague(line: str) -> bool:
    return not line.strip() or line.startswith(("exit status", "failed to "))


def _diagnostics(lines: list[str]) -> list[str]:
    found = (line.partition('"error": ')[2].strip('",') for line in lines if '"error": ' in line)
    return [text.split("\\n")[0] for text in found][:1]


def _remove_groups() -> None:
    """Control groups that were left, now that nothing runs in them: only by the names that these programs give."""
    for hierarchy in _CGROUPS.iterdir():
        for base in (hierarchy, hierarchy / "hakobune"):
            with contextlib.suppress(OSError):  # links, and what goes meanwhile
                for name in os.listdir(base):
                    if _THEIRS.fullmatch(name):
                        _remove_below(base / name)


def _remove_below(directory: Path) -> None:
    for place, _directories, _files in os.walk(directory, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(place)
