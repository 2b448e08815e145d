"""The second half of `make conformance`: runtime-tools' validation programs on hako-runtime and on runc.

As root. Writes the part of docs/conformance.md that begins with TITLE. `--only NAME` prints one program's outcome.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import subprocess
import sys
from pathlib import Path

from hakobune.testing import validation
from hakobune.testing.validation import Outcome

PAGE = Path(__file__).resolve().parents[1] / "docs" / "conformance.md"
TITLE = "# What OCI's validation programs say of hako-runtime and runc"
HEAD = """{title}

Written by `make conformance` on {date}: each program of github.com/opencontainers/runtime-tools ({version}) ran
once on each runtime, in the same minute (Linux {kernel}, control groups of {layout}). *passes* is with the number
of its single checks; a program that fails is shown with the first thing that it or the runtime said.
hako-runtime passes {ours} of {all}, runc {theirs}.

| program | hako-runtime | {runc} |
|---|---|---|
"""
WHY = {
    "linux_cgroups_blkio": "This kernel has no `blkio.leaf_weight`, no weights by device.",
    "linux_cgroups_relative_blkio": "As `linux_cgroups_blkio`.",
    "linux_cgroups_hugetlb": "The program looks for hugetlb in a v1 hierarchy, which this host has not.",
    "linux_cgroups_relative_hugetlb": "As `linux_cgroups_hugetlb`.",
    "linux_cgroups_network": "This kernel has no `net_cls` and `net_prio`.",
    "linux_cgroups_relative_network": "As `linux_cgroups_network`.",
    "linux_cgroups_memory": "The program wants `memory.kmem.*` limits, which Linux has removed.",
    "linux_cgroups_relative_memory": "As `linux_cgroups_memory`.",
    "hooks": "The program expects other lines than its own hooks write (`post-start1` for `post-start1 called`).",
    "prestart": "The program wants `prestart` hooks in `start`; the specification has them in `create` since 1.0.2.",
    "linux_process_apparmor_profile": "This kernel has no AppArmor: a profile that cannot be applied is refused, as by runc.",
    "hooks_stdin": "The program wants the states of before runtime-spec 1.0.2: it says `created` in `prestart`, "
    "where the specification has `creating`.",
    "misc_props": "The program does not copy `runtimetest` into its bundle and then expects it to run.",
    "pidfile": "The program kills a container that has ended by itself.",
    "delete": "The specification has an error for a `created` container; runc deletes it, and its callers count on that.",
    "start": "The program starts a container without `process`, which runtimes refuse at `create`.",
    "process_capabilities": "The engine itself has no CAP_SYS_RESOURCE on this host, so it cannot be given.",
    "process_rlimits": "The program that looks is written in Go, which raises its own soft limit of open files to the hard one.",
}
TAIL = "\n## Why some fail\n\n"


def _cell(outcome: Outcome) -> str:
    if outcome.passes:
        return f"passes ({outcome.passed})" if outcome.passed else "passes"
    return f"**no**: {outcome.complaint}".replace("|", "\\|")


def _version(program: str) -> str:
    return " ".join(subprocess.run([program, "--version"], capture_output=True, text=True,
                                   check=True).stdout.split()[:3])  # fmt: skip


def _write(where: Path, table: dict[str, tuple[Outcome, Outcome]]) -> None:
    layout = "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"
    head = HEAD.format(
        title=TITLE, date=datetime.date.today().isoformat(), version=where.resolve().name.removeprefix("runtime-tools-"),
        kernel=os.uname().release.split("-")[0], layout=layout, runc=_version("runc"), all=len(table),
        ours=sum(ours.passes for ours, _theirs in table.values()),
        theirs=sum(theirs.passes for _ours, theirs in table.values()),
    )  # fmt: skip
    rows = [f"| `{name}` | {_cell(ours)} | {_cell(theirs)} |" for name, (ours, theirs) in table.items()]
    why = [
        f"- `{name}`: {WHY[name]}"
        for name, (ours, _theirs) in table.items()
        if not ours.passes and name in WHY
    ]
    before = PAGE.read_text().partition(f"\n{TITLE}\n")[0] if PAGE.exists() else ""
    PAGE.write_text(f"{before.rstrip()}\n\n{head}" + "\n".join(rows) + "\n" + TAIL + "\n".join(why) + "\n")


def main() -> int:
    """Returns 0 when every program that runc passes passes with ours; what cannot run here is said, and no failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="the programs with this name")
    only: str = parser.parse_args().only
    where = validation.home()
    missing = (
        "runtime-tools (make peers, with Go)" if where is None else "" if shutil.which("runc") else "runc"
    )
    if missing or where is None or os.geteuid():
        print(f"validation: not run: {f'{missing} is not here' if missing else 'root is needed'}")
        return 0
    ours = str(Path(sys.executable).with_name("hako-runtime"))
    table = {}
    for name in [only] if only else validation.programs(where):
        table[name] = (validation.run(where / name, ours), validation.run(where / name, "runc"))
        print(f"{name:32} {_cell(table[name][0]):60} {_cell(table[name][1])}", flush=True)
    if not only:
        _write(where, table)
    behind = [name for name, (own, theirs) in table.items() if theirs.passes and not own.passes]
    if behind:
        print(f"validation: runc passes and hako-runtime does not: {', '.join(behind)}")
    return bool(behind)


if __name__ == "__main__":
    sys.exit(main())
