"""`image from-packages`: a Debian image made by mmdebstrap on this machine, sent to the engine as it comes out.

The packages are chosen, fetched and checked by apt, from where this machine gets its own when the suite is its own.
Nothing is kept in between: what fails in the middle is never an image.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
from collections.abc import Iterator

from . import moving
from .command import Command, Context
from .failure import Failure
from .flags import Values
from .http import query, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

_PROGRAM = "mmdebstrap"
_PACKAGE = re.compile(
    r"[a-z0-9][a-z0-9+.-]*(?::[a-z0-9-]+)?(?:=[\w.+:~-]+)?"
)  # deb-control(5), with a version
_WORD = re.compile(r"[a-z0-9][a-z0-9.+_/-]*", re.IGNORECASE)
_SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/*.sources", "/etc/apt/sources.list.d/*.list")
_BLOCK = 1 << 20


def line(values: Values, packages: list[str], codename: str) -> list[str]:
    """The command; `codename` is this machine's own suite, "" when it is no Debian. Raises Failure."""
    for package in packages:
        if not _PACKAGE.fullmatch(package):
            raise Failure(f"invalid package name: {package!r}")
    suite = values.text("suite") or codename
    if not suite:
        raise Failure("this machine is no Debian: name the release with --suite (bookworm, trixie, …)")
    words = {"suite": suite, "variant": values.text("variant") or "minbase", "arch": values.text("arch")}
    for what, word in words.items():
        if word and not _WORD.fullmatch(word):
            raise Failure(f"invalid {what}: {word!r}")
    mirrors = values.many("mirror")
    if wrong := next((mirror for mirror in mirrors if mirror.startswith("-")), ""):
        raise Failure(f"invalid mirror: {wrong!r}")
    if not mirrors and suite == codename:
        mirrors = sorted(path for pattern in _SOURCES for path in glob.glob(pattern) if os.path.getsize(path))
    return [
        _PROGRAM, "--format=tar", f"--variant={words['variant']}",
        *([f"--include={','.join(packages)}"] if packages else []),
        *([f"--architectures={words['arch']}"] if words["arch"] else []),
        suite, "-", *mirrors,
    ]  # fmt: skip


def _codename() -> str:
    """Of this machine's Debian (os-release(5)); "" for any other system."""
    try:
        with open("/etc/os-release") as file:
            found = dict(one.rstrip("\n").partition("=")[::2] for one in file if "=" in one)
    except OSError:
        return ""
    return found.get("VERSION_CODENAME", "").strip('"') if found.get("ID") == "debian" else ""


def _from_packages(context: Context, values: Values, arguments: list[str]) -> int:
    name, *packages = arguments
    if not shutil.which(_PROGRAM):
        raise Failure(
            f"{_PROGRAM} is not installed on this machine: it makes the file system (Debian: apt install {_PROGRAM})"
        )
    words = line(values, packages, _codename())
    changes = values.many("change")
    if not any(change.lstrip().upper().startswith("CMD") for change in changes):
        changes = ['CMD ["/bin/sh"]', *changes]
    options = query(
        fromSrc="-",
        repo=name,
        message=values.text("message") or " ".join([f"made by {_PROGRAM}", *packages]),
        platform=f"linux/{values.text('arch')}" if values.text("arch") else None,
    )
    options += "".join(f"&changes={quote(change)}" for change in changes)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            response = context.client.open(
                "POST", f"/images/create{options}", stream=_parts(process, process.stdout),
                headers={"Content-Type": "application/x-tar"},
            )  # fmt: skip
        finally:
            process.stdout.close()
            process.terminate()  # silent when it has ended
    moving.show(response.lines(), context.say, live=True)
    return 0


def _parts(process: subprocess.Popen[bytes], out: IO[bytes]) -> Iterator[bytes]:
    """Its output. Raises Failure when it fails: the request is cut then, and the engine forgets what it has got."""
    while part := out.read(_BLOCK):
        yield part
    if status := process.wait():
        raise Failure(f"{_PROGRAM} failed with exit code {status}: see above")


COMMANDS = {
    "from-packages": Command(
        "image from-packages [OPTIONS] NAME[:TAG] [PACKAGE...]",
        "Make a Debian image of packages, by mmdebstrap on this machine (which has to be installed).",
        _from_packages,
        flags="""
    --arch string      Architecture (this machine's)
-c, --change list      Apply an instruction of a Dockerfile (CMD ["sh"], ENV A=b, USER u, …)
-m, --message string   Note where it comes from
    --mirror list      Where packages are fetched: a URL, or a file as sources.list (this machine's own)
    --suite string     Release of Debian (this machine's)
    --variant string   How much besides: essential, apt, minbase, standard (default minbase)
""",
        least=1,
        most=None,
    ),
}
