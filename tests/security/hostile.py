"""A bundle whose root file system is the attacker's, for the tests of this directory. Imports: testing.hand."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hakobune.oci import capabilities, seccomp_default
from hakobune.testing.hand import Done, Runtime

Document = dict[str, Any]
PYTHON = os.path.realpath(sys.executable)
# Where this machine's programs and modules are, to be shown in a container for attackers that need Python.
_INSTALLED = [
    "/usr",
    *([] if sys.base_prefix.startswith("/usr/") or sys.base_prefix == "/usr" else [sys.base_prefix]),
]


class Hostile:
    """`root` may be changed as one likes (its files are hard links: replace them, do not write into them)."""

    def __init__(self, hako: Runtime, *args: str, **sections: Any) -> None:
        self.hako = hako
        self.path = Path(hako.bundle(*args, **sections))
        self.name = self.path.name
        self.root = self.path / "rootfs"
        subprocess.run(["cp", "-al", f"{hako.lower}/.", str(self.root)], check=True)
        self.edit(lambda document: document.update(root={"path": "rootfs", "readonly": False}))

    def edit(self, change: Callable[[Document], object]) -> None:
        """Let `change` do what it wants with the configuration."""
        file = self.path / "config.json"
        document = json.loads(file.read_text())
        change(document)
        file.write_text(json.dumps(document))

    def process(self, **values: Any) -> None:
        self.edit(lambda document: document["process"].update(values))

    def linux(self, **values: Any) -> None:
        self.edit(lambda document: document["linux"].update(values))

    def capable(self, *more: str) -> None:
        """What Docker gives, its filter of system calls, and `more`."""
        caps = [*capabilities.DEFAULT, *more]
        sets = dict.fromkeys(("bounding", "effective", "permitted"), caps)
        self.process(capabilities=sets, noNewPrivileges=False)
        self.linux(seccomp=seccomp_default.profile(caps))

    def mount(self, destination: str, source: str, *options: str, kind: str = "bind") -> None:
        item = {"destination": destination, "source": source, "type": kind, "options": list(options)}
        self.edit(lambda document: document["mounts"].append(item))

    def without(self, *destinations: str) -> None:
        """Take mounts away."""
        self.edit(lambda document: document.update(
            mounts=[item for item in document["mounts"] if item["destination"] not in destinations]))  # fmt: skip

    def with_python(self) -> None:
        """This machine's programs, so that the attacker may write his in Python."""
        for place in _INSTALLED:
            self.mount(place, place, "rbind", "ro")

    def python(self, program: str) -> None:
        """Run `program` (its text), with Python."""
        self.with_python()
        self.process(args=[PYTHON, "-I", "-S", "-c", program])

    def file(self, path: str, text: str, mode: int = 0o755) -> None:
        """A file of the image, in place of what is there."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def link(self, path: str, target: str) -> None:
        """A link of the image, in place of what is there."""
        place = self.root / path.lstrip("/")
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        place.unlink(missing_ok=True)
        place.symlink_to(target)

    def run(self, *, check: bool = False, **options: Any) -> Done:
        return self.hako("run", "--bundle", str(self.path), self.name, check=check, **options)

    def start(self) -> None:
        """In the background; its output is `output`."""
        with (self.path / "out").open("w") as out:
            self.hako("run", "--detach", "--bundle", str(self.path), self.name, stdout=out)

    @property
    def output(self) -> str:
        return (self.path / "out").read_text()

    def exec(self, *words: str, check: bool = False) -> Done:
        return self.hako("exec", *words[:-1], self.name, words[-1], check=check)


def status(text: str, *fields: str) -> list[str]:
    """Of /proc/PID/status: the values of fields, as words."""
    told = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return [told[field].strip() for field in fields]


def tree(place: Path) -> Iterable[str]:
    """All names below a place of the host."""
    return sorted(str(path) for path in place.rglob("*"))


SWAP = """\
import ctypes, os, sys
libc = ctypes.CDLL(None)
one, other = (os.fsencode(word) for word in sys.argv[1:3])
if not os.path.lexists(other):
    os.symlink(sys.argv[3], other)
os.makedirs(one, exist_ok=True)
print("ready", flush=True)
while True:  # RENAME_EXCHANGE, <linux/fs.h>: neither of the two names is ever missing
    libc.syscall(316 if os.uname().machine == "x86_64" else 276, -100, one, -100, other, 2)
"""


@contextlib.contextmanager
def swapping(one: Path, other: Path, target: str) -> Iterator[None]:
    """A process that swaps the directory `one` for the link `other`, which leads to `target`, all the time."""
    line = [sys.executable, "-I", "-S", "-c", SWAP, str(one), str(other), target]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as racer:
        assert racer.stdout is not None
        racer.stdout.readline()
        try:
            yield
        finally:
            racer.kill()
