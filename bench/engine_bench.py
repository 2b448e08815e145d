"""`make bench`: Hakobune beside every peer that is installed, through their Docker API sockets, in one run.

All engines run at the same time and take turns case by case, so that the machine's moods hit them alike. The
table's ratios are ours divided by dockerd's. Figures go to bench/results/ as JSON and as a picture.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import peers, picture
from bench.cases import CASES, IMAGE, Figures
from bench.client import Client
from bench.peers import Engine
from hakobune.layers import starter

RESULTS = Path(__file__).resolve().parent / "results"
SHOWN = (
    ("none", "run", "create+start+wait, no network", "ms", 0.15),
    ("bridge", "run", "create+start+wait, bridge", "ms", 0.18),
    ("exec", "exec", "exec", "ms", 0.25),
    ("crowd", "per_s", "50 containers, 8 clients", "per s", 6.0),
    ("crowd", "per_container_kib", "per container", "KiB PSS", 0.0),
    ("daemons", "daemons_mib", "daemons", "MiB PSS", 1.0),
)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Hakobune beside its peers, in one run.")
    parser.add_argument("--rounds", type=int, default=20, help="measured rounds of each timed case (20)")
    parser.add_argument("--count", type=int, default=50, help="containers of the crowd (50)")
    parser.add_argument("--only", action="append", choices=list(CASES), help="this case only; may repeat")
    parser.add_argument(
        "--engine", action="append", choices=list(peers.KINDS), help="this engine only; may repeat"
    )
    parser.add_argument("--quick", action="store_true", help="five rounds, ten containers")
    return parser.parse_args(argv)


def _import_image(engine: Engine, layer: bytes) -> None:
    name, tag = IMAGE.split(":")
    path = f"/images/create?fromSrc=-&repo={name}&tag={tag}"
    Client(engine.socket).call("POST", path, layer, content_type="application/x-tar")


def measure(
    names: Sequence[str], cases: Sequence[str], rounds: int, count: int
) -> dict[str, dict[str, Figures]]:
    """figures[case][engine]; an engine that fails a case is told and left out of it."""
    layer = io.BytesIO()
    starter.write_tar(layer)
    found: dict[str, dict[str, Figures]] = {case: {} for case in cases}
    with contextlib.ExitStack() as stack:
        engines = []
        for name in names:
            try:
                engine = stack.enter_context(peers.KINDS[name][1]())
                _import_image(engine, layer.getvalue())
            except (RuntimeError, OSError, AssertionError) as err:
                print(f"{name}: left out: {err}", file=sys.stderr)
                continue
            print(f"{engine.name} {engine.version}", flush=True)
            engines.append(engine)
        for case in cases:
            for engine in engines:
                try:
                    found[case][engine.name] = CASES[case](engine, rounds, count)
                except (RuntimeError, OSError, ValueError) as err:
                    print(f"{engine.name}: {case}: {err}", file=sys.stderr)
                    continue
                print(f"  {case:8} {engine.name:12} {found[case][engine.name]}", flush=True)
    return found


def table(found: dict[str, dict[str, Figures]]) -> str:
    """The lines people read: each case, each engine, the ratio to dockerd beside its target."""
    names = list(dict.fromkeys(name for figures in found.values() for name in figures))
    lines = [f"{'':32}" + "".join(f"{name:>14}" for name in names) + f"{'ratio':>9}{'target':>9}"]
    for case, key, label, unit, target in SHOWN:
        figures = found.get(case) or {}
        if not figures:
            continue
        cells = "".join(f"{figures[name][key]:>14g}" if name in figures else f"{'–':>14}" for name in names)
        ratio = ""
        if "hakobune" in figures and figures.get("dockerd", {}).get(key):
            ratio = f"{figures['hakobune'][key] / figures['dockerd'][key]:.2f}"
        wanted = (
            f"{'≥' if unit == 'per s' else '≤'}{target:g}" if target else "≤1638" if "KiB" in unit else ""
        )
        lines.append(f"{label + ' [' + unit + ']':32}{cells}{ratio:>9}{wanted:>9}")
    return "\n".join(lines)


def _save(found: dict[str, dict[str, Figures]], *, quick: bool) -> None:
    RESULTS.mkdir(exist_ok=True)
    record = {
        "at": time.strftime("%Y-%m-%d"),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "figures": found,
    }
    if quick:
        return
    (RESULTS / "latest.json").write_text(json.dumps(record, indent=1) + "\n")
    rows = [
        (label, {name: figures[key] for name, figures in found[case].items()}, unit)
        for case, key, label, unit, _target in SHOWN
        if found.get(case)
    ]
    (RESULTS / "latest.svg").write_text(picture.svg("Hakobune beside its peers, one machine, one run", rows))
    print(f"written: {RESULTS / 'latest.json'}, {RESULTS / 'latest.svg'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, save; returns the exit code."""
    arguments = _arguments(argv)
    if os.geteuid() != 0:
        print("bench: needs root", file=sys.stderr)
        return 1
    here, missing = peers.installed()
    for line in missing:
        print(line)
    names = [name for name in here if not arguments.engine or name in arguments.engine]
    rounds, count = (5, 10) if arguments.quick else (arguments.rounds, arguments.count)
    found = measure(names, arguments.only or list(CASES), rounds, count)
    print(table(found))
    if not arguments.only and not arguments.engine:
        _save(found, quick=arguments.quick)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
