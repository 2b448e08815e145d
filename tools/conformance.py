"""`make conformance`: run the real clients on hako-containerd and write docs/conformance.md from what came out.

As root. `--reference CONTAINERD` runs the same checks on a real containerd, privately, and prints them only.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hakobune.testing.clients import Cli, found
from hakobune.testing.conformance import checks_for, outcome, prepared
from hakobune.testing.manager import PrivateManager

PAGE = Path(__file__).resolve().parents[1] / "docs" / "conformance.md"
HEAD = """# What containerd's command lines do on hako-containerd

Written by `make conformance` on {date}, from a run of the real programs on a private hako-containerd with the
runtime `{runtime}` (Linux {kernel}). A row is one check of `src/hakobune/testing/conformance.py`, which looks at what
the command printed and did; the same checks are tests (`tests/integration/containerd`). A command that does not
work is shown with what the client said.

{missing}
"""
RUNTIME = "\n# What OCI's"  # from here on the page is tools/validation.py's
TAIL = """
## What is not tried

- `nerdctl` with a bridge network needs CNI plug-ins, which are not part of this project: `--net none` and
  `--net host` are what was tried.
"""


@contextmanager
def _reference(program: str) -> Iterator[str]:
    """The address of a real containerd with root, state and socket of its own."""
    with tempfile.TemporaryDirectory(prefix="hc-", dir="/tmp") as directory:
        config = Path(directory, "config.toml")
        config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        argv = [program, "--config", str(config), "--root", f"{directory}/d", "--state", f"{directory}/e",
                "--address", f"{directory}/c.sock"]  # fmt: skip
        with open(f"{directory}/log", "wb") as log:
            path = f"{os.path.dirname(os.path.realpath(program))}:{os.environ.get('PATH', os.defpath)}"
            daemon = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, "PATH": path})
        try:
            ctr = found()[0]
            while subprocess.run([ctr.program, "-a", f"{directory}/c.sock", "version"],
                                 capture_output=True, check=False).returncode:  # fmt: skip
                if daemon.poll() is not None:
                    raise SystemExit(Path(directory, "log").read_text()[-2000:])
            yield f"{directory}/c.sock"
        finally:
            _empty(f"{directory}/c.sock")
            daemon.terminate()
            daemon.wait(30)


def _empty(address: str) -> None:
    """What checks that failed have left: a task is a mount and a process."""
    ctr = found()[0].program

    def listed(*words: str) -> list[str]:
        done = subprocess.run([ctr, "-a", address, *words], capture_output=True, text=True, check=False)
        return [line.split()[0] for line in done.stdout.splitlines()[1:] if line.split()]

    for space in listed("namespaces", "ls"):
        for task in listed("-n", space, "tasks", "ls"):
            subprocess.run([ctr, "-a", address, "-n", space, "tasks", "rm", "-f", task], check=False)


def _run(clients: Sequence[Cli], address: str, runtime: str, only: str) -> dict[tuple[str, str], str]:
    results: dict[tuple[str, str], str] = {}
    with tempfile.TemporaryDirectory(prefix="hc-", dir="/tmp") as scratch:
        for cli in clients:
            for one in checks_for(cli.name):
                if only in one.command:
                    said = outcome(prepared(cli, one, address, Path(scratch), runtime), one)
                    results[cli.title, one.command] = said
                    print(f"{cli.title:16} {one.command:60} {said}", flush=True)
    return results


def _table(name: str, clients: Sequence[Cli], results: dict[tuple[str, str], str]) -> str:
    titles = [cli.title for cli in clients if cli.name == name]
    if not titles:
        return ""
    lines = [f"## {name}", "", f"| command | {' | '.join(titles)} |", f"|---|{'---|' * len(titles)}"]
    for one in checks_for(name):
        cells = (_cell(results[title, one.command]) for title in titles)
        lines.append(f"| `{one.command}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(said: str) -> str:
    return said if said in ("works", "not in this version") else f"**no**: {said}".replace("|", "\\|")[:300]


def _write(clients: Sequence[Cli], results: dict[tuple[str, str], str], runtime: str) -> None:
    names = ("ctr", "nerdctl")
    missing = [name for name in names if not any(cli.name == name for cli in clients)]
    head = HEAD.format(
        date=datetime.date.today().isoformat(), runtime=runtime, kernel=os.uname().release.split("-")[0],
        missing=f"Not tried, since not installed: {', '.join(missing)}.\n" if missing else "",
    )  # fmt: skip
    tables = [_table(name, clients, results) for name in names]
    rest = PAGE.read_text().partition(RUNTIME)[1:] if PAGE.exists() else ()
    PAGE.write_text("\n".join([head.rstrip() + "\n", *filter(None, tables)]) + TAIL + "".join(rest))


def main() -> int:
    """Returns 0 when the page was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", help="a containerd to run the checks on instead; nothing is written")
    parser.add_argument("--runtime", default="")
    parser.add_argument("--only", default="", help="checks whose command has this text")
    flags = parser.parse_args()
    clients = found()
    if os.geteuid() or not clients:
        print("conformance: root and a ctr or nerdctl are needed (make peers)")
        return 1
    if flags.reference:
        with _reference(flags.reference) as address:
            _run(clients, address, flags.runtime or "io.containerd.runc.v2", flags.only)
        return 0
    manager = PrivateManager()
    try:
        manager.start()
        runtime = flags.runtime or "io.containerd.hako.v1"
        results = _run(clients, manager.address, runtime, flags.only)
    finally:
        manager.end()
    if not flags.only:
        _write(clients, results, runtime)
    return 0


if __name__ == "__main__":
    sys.exit(main())
