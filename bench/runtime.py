"""The OCI runtime by itself: `python bench/runtime.py [ROUNDS [ROW]]`, as root; 30 rounds and a row of 1,000 unless told.

`true` with Docker's default capabilities and seccomp profile, cgroup and all, in milliseconds (medians, in turns):
in-process (a worker forked from this warm process, as from the zygote) beside `crun run` and `runc run`; as a program
create, start and delete beside runc's. Then what a created container holds in memory beside its shim, and ROW
containers one after another: the last is to be as fast as the tenth, and nothing may be left of them.
Aims: in-process at most 10 ms and not slower than crun; the program at most 2.0 times runc.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hakobune.cgroups.cgroup import Cgroup
from hakobune.linux import bare
from hakobune.oci import known, seccomp_default
from hakobune.task.runtime import Program
from hakobune.testing import bundle
from hakobune.testing.bundle import Bundle
from hakobune.testing.runtimes import Held, adopting

CAPS = [f"CAP_{name}" for name in (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL"
    " AUDIT_WRITE").split()]  # fmt: skip
OURS = str(Path(sys.executable).with_name("hako-runtime"))
UNIFIED = "/sys/fs/cgroup/unified"
WARM = 3  # rounds that do not count


def _bundle(place: Path, lower: Path, *, libseccomp: bool) -> Bundle:
    made = bundle.make(place, lower, ["true"])
    profile: dict[str, Any] = seccomp_default.profile(CAPS)
    if libseccomp:
        profile = seccomp_default.for_libseccomp(profile)
    made.edit(
        ociVersion="1.0.2",  # what Debian's crun takes
        process={"capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPS)},
        root={"path": str(lower), "readonly": True},
        linux={"seccomp": profile, "cgroupsPath": f"/hakobench-{os.getpid()}/{place.name}"},
    )
    # As our engine writes it: a zygote knows the text of the default profile.
    (made.path / "config.json").write_text(json.dumps(made.config(), separators=(",", ":")))
    return Bundle(made.path, made.id, ())


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def _in_process(found: Bundle) -> tuple[float, float]:
    """(create + start + exit, removal)."""
    held = Held(found, Program())

    def run() -> None:
        held.create()
        held.start()
        held.wait()

    return _timed(run), _timed(held.remove)


def _call(*line: str) -> float:
    return _timed(
        lambda: subprocess.run(line, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    )


def _program(program: str, found: Bundle, state: str) -> dict[str, float]:
    base = (program, "--root", state)
    figures = {
        "create": _call(*base, "create", "--bundle", str(found.path), found.id),
        "start": _call(*base, "start", found.id),
        "delete": _call(*base, "delete", "--force", found.id),
    }
    return figures | {"sum": sum(figures.values())}


def _runs(state: str, found: Bundle) -> dict[str, tuple[str, ...]]:
    """Command lines of others that do everything in one call."""
    lines: dict[str, tuple[str, ...]] = {}
    if runc := shutil.which("runc"):
        lines["runc run"] = (runc, "--root", f"{state}/runc", "run", "--bundle", str(found.path), found.id)
    if crun := shutil.which("crun"):
        # crun refuses controllers on v1 with a v2 mount beside them: that is hidden from it.
        hide = f'umount {UNIFIED}; exec "$@"' if os.path.ismount(UNIFIED) else 'exec "$@"'
        lines["crun run"] = ("unshare", "--mount", "sh", "-c", hide, "sh", crun, "--root", f"{state}/crun",
                             "--cgroup-manager=cgroupfs", "run", "--bundle", str(found.path), found.id)  # fmt: skip
        lines["unshare and sh alone"] = (*lines["crun run"][:6], "true")
    return lines


def compare(place: Path, lower: Path, rounds: int) -> None:
    """Print the table."""
    ours, theirs = (
        _bundle(place / "own", lower, libseccomp=False),
        _bundle(place / "lib", lower, libseccomp=True),
    )
    figures: dict[str, list[float]] = {}
    runs = _runs(str(place), theirs)
    programs = [(OURS, ours), *([(runc, theirs)] if (runc := shutil.which("runc")) else [])]
    for turn in range(WARM + rounds):
        got: dict[str, float] = {}
        got["in-process: create + start + exit"], got["in-process: removal"] = _in_process(ours)
        for name, line in runs.items():
            got[name] = _call(*line)
        for program, found in programs:
            parts = _program(program, found, f"{place}/{os.path.basename(program)}-state")
            got |= {f"{os.path.basename(program)} {verb}": value for verb, value in parts.items()}
        if turn >= WARM:
            for name, value in got.items():
                figures.setdefault(name, []).append(value)
    for name, values in figures.items():
        print(f"{name:36} {statistics.median(values):7.1f} ms   best {min(values):6.1f}")
    if "runc sum" in figures:
        ratio = statistics.median(figures["hako-runtime sum"]) / statistics.median(figures["runc sum"])
        print(f"{'hako-runtime / runc':36} {ratio:7.2f}")


def _rollup(pid: int, *fields: str) -> int:
    """KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return sum(int(line.split()[1]) for line in lines if line.partition(":")[0] in fields)


def memory(place: Path, lower: Path) -> None:
    """Print what inits that wait hold: their share of all pages, and what is theirs alone.

    The share is for ten beside this process, whose pages they all have; beside a zygote with its shims it is less.
    """
    held = [Held(_bundle(place / f"m{number}", lower, libseccomp=False), Program()) for number in range(10)]
    try:
        for one in held:
            one.create()
        time.sleep(0.2)  # READY is said before the memory is given back
        share = statistics.mean(_rollup(one.pid, "Pss") for one in held)
        own = statistics.mean(_rollup(one.pid, "Private_Dirty", "Private_Clean") for one in held)
        print(f"created container: PSS of its init {share:.0f} KiB, {own:.0f} of them its own")
    finally:
        for one in held:
            one.remove()


def _left() -> dict[str, int]:
    groups = sum(1 for _ in Path("/sys/fs/cgroup").glob("*/hakobench*/*"))
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {"descriptors": len(os.listdir("/proc/self/fd")), "groups": groups, "children": len(children),
            "mounts": Path("/proc/self/mountinfo").read_text().count("\n")}  # fmt: skip


def row(place: Path, lower: Path, count: int) -> None:
    """Print whether the last of many is as fast as the first, and what they have left."""
    found = _bundle(place / "row", lower, libseccomp=False)
    _in_process(found)
    before = _left()
    times = [sum(_in_process(found)) for _ in range(count)]
    after = _left()
    step = max(1, min(50, count // 4))
    first, last = statistics.median(times[:step]), statistics.median(times[-step:])
    print(f"{count} in a row: first {step} {first:.1f} ms, last {step} {last:.1f} ms; left: "
          f"{ {name: after[name] - before[name] for name in before} }")  # fmt: skip


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
    try:
        yield place
    finally:
        Cgroup.find(f"/hakobench-{os.getpid()}/any").remove_parents()
        shutil.rmtree(place, ignore_errors=True)


def main() -> None:
    """Measure."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    with _scratch() as place, adopting():
        lower = bundle.unpack_starter(place / "root")
        bare.make_ready()
        known.remember(seccomp_default.profile(CAPS))
        gc.freeze()  # as a zygote does: no collection in a worker copies our pages
        compare(place, lower, rounds)
        memory(place, lower)
        if count:
            row(place, lower, count)


if __name__ == "__main__":
    main()
