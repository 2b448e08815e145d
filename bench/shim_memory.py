"""Memory of N shims, each with a sleeping container: `python bench/shim_memory.py [N [SECONDS]]`, as root.

Prints the mean of smaps_rollup per shim in KiB, of the zygote too: just after the starts, and after SECONDS (5) of rest,
when shims have gone to sleep (ADR 0007); and once more after all of them have gone on as newer code (ADR 0010).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from hakobune.testing import bundle, shims

FIELDS = ("Rss", "Pss", "Pss_Dirty", "Private_Dirty", "Private_Clean", "Shared_Clean", "Shared_Dirty")


def rollup(pid: int) -> dict[str, int]:
    """KiB by field."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def areas(pid: int) -> list[tuple[int, str]]:
    """(private dirty KiB, mapping), largest first."""
    found: dict[str, int] = {}
    name = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = line.split()[0]
        if not head.endswith(":"):
            words = line.split()
            name = words[5] if len(words) > 5 else "[anon]"
        elif head == "Private_Dirty:":
            found[name] = found.get(name, 0) + int(line.split()[1])
    return sorted(((size, name) for name, size in found.items() if size), reverse=True)


def shims_of(zygote: int) -> list[int]:
    """Pids of the zygote's children that are shims: a shim that rests has another pid than before."""
    found = [int(word) for word in Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()]
    return [pid for pid in found if Path(f"/proc/{pid}/comm").read_text() == "hako-shim\n"]


def show(when: str, zygote: int) -> None:
    """Print the means."""
    found = shims_of(zygote)
    all_of = [rollup(pid) for pid in found]
    print(when, len(found), {key: sum(one[key] for one in all_of) // len(found) for key in FIELDS})
    print("zygote", {key: rollup(zygote)[key] for key in FIELDS})
    for size, name in areas(found[0])[:6]:
        print(f"{size:6d} KiB private dirty  {name}")


def main() -> None:
    """Measure."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    rest = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    place = Path(tempfile.mkdtemp(prefix="hm-", dir="/tmp"))
    lower = bundle.unpack_starter(place / "root")
    events = shims.Events(str(place / "events.sock"))
    with shims.Zygote(place, events=events.path) as zygote:
        tasks = [zygote.task(bundle.make(place / f"m{n}", lower, ["sleep", "600"])) for n in range(count)]
        for n, task in enumerate(tasks):
            log = f"json-file://{place}/m{n}/log"
            task.create(stdout=log, stderr=log)
            task.start()
            task.send_wait()
        show("started", zygote.process.pid)
        time.sleep(rest)
        show(f"after {rest:g} s", zygote.process.pid)
        zygote.ask("UPGRADE", sys.executable)
        for task in tasks:
            task.renew(sys.executable)
        time.sleep(rest)
        show("upgraded, at rest", zygote.process.pid)
    events.close()
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
