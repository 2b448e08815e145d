"""Memory of N shims, each with a sleeping container: `python bench/shim_memory.py [N]`, as root.

Prints the mean of smaps_rollup per shim in KiB, of the zygote too.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
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


def main() -> None:
    """Measure."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
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
        all_of = [rollup(task.shim) for task in tasks]
        print("shims", count, {key: sum(one[key] for one in all_of) // count for key in FIELDS})
        print("zygote", {key: rollup(zygote.process.pid)[key] for key in FIELDS})
        for size, name in areas(tasks[0].shim)[:8]:
            print(f"{size:6d} KiB private dirty  {name}")
    events.close()
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
