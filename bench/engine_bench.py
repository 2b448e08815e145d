"""`make bench`: Hakobune beside every peer that is installed, through their Docker API sockets, in one run.

All engines are up at the same time and take turns round by round, so that the machine's moods hit them alike:
only the ratios of one run mean anything. Figures are medians. A full run is written to bench/results/.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import cases, engines, picture, report
from bench.cases import Case, Figures, Opener
from bench.client import Client
from bench.engines import Engine
from hakobune.layers import starter

RESULTS = Path(__file__).resolve().parent / "results"
WARM_UP = 3
_FAILURES = (RuntimeError, OSError, ValueError, KeyError, AssertionError)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="engine_bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="rounds of each timed case (20)")
    parser.add_argument("--crowds", type=int, default=3, help="rounds of the crowd (3)")
    parser.add_argument("--count", type=int, default=50, help="containers of a crowd (50)")
    parser.add_argument("--only", action="append", choices=cases.NAMES, help="this case; may repeat")
    parser.add_argument(
        "--engine", action="append", choices=list(engines.KINDS), help="this engine; may repeat"
    )
    parser.add_argument("--quick", action="store_true", help="five rounds, one crowd of ten; nothing is kept")
    parser.add_argument("--out", type=Path, help=f"where the figures go (a full run: {RESULTS.name}/)")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.rounds, arguments.crowds, arguments.count = 5, 1, 10
    return arguments


def start_all(stack: contextlib.ExitStack, names: Sequence[str]) -> list[Engine]:
    """Start the engines and give each the same image; who fails is told and left out."""
    layer = io.BytesIO()
    starter.write_tar(layer)
    name, tag = cases.IMAGE.split(":")
    path = f"/images/create?fromSrc=-&repo={name}&tag={tag}"
    running = []
    for kind in names:
        try:
            engine = stack.enter_context(engines.KINDS[kind]())
            answer = Client(engine.socket).call(
                "POST", path, layer.getvalue(), content_type="application/x-tar"
            )
            if b'"error"' in bytes(answer if isinstance(answer, bytes) else b""):
                raise RuntimeError(f"import of the image: {answer!r}")
        except _FAILURES as err:
            print(f"{kind}: left out: {err}", file=sys.stderr, flush=True)
            continue
        print(f"{engine.name} {engine.version}", flush=True)
        running.append(engine)
    return running


def take_turns(
    running: Sequence[Engine], name: str, opener: Opener, rounds: int, warm_up: int
) -> dict[str, Figures]:
    """Medians by engine of one case. Each round starts with another engine; who fails is told and leaves."""
    opened: dict[str, Case] = {}
    measured: dict[str, list[Figures]] = {}

    def attempt(engine: Engine, number: int) -> None:
        if number == 0:
            opened[engine.name] = opener(engine)
            measured[engine.name] = []
        if engine.name in measured:
            figures = opened[engine.name].once()
            if number >= warm_up:
                measured[engine.name].append(figures)

    for number in range(rounds + warm_up):
        shift = number % max(1, len(running))
        for engine in (*running[shift:], *running[:shift]):
            try:
                attempt(engine, number)
            except _FAILURES as err:
                measured.pop(engine.name, None)
                print(f"{engine.name}: {name}: {type(err).__name__}: {err}", file=sys.stderr, flush=True)
    for engine_name, case in opened.items():
        try:
            case.close()
        except _FAILURES as err:
            print(f"{engine_name}: {name}: closing: {err}", file=sys.stderr, flush=True)
    return {name: medians(figures) for name, figures in measured.items() if figures}


def medians(rounds: Sequence[Figures]) -> Figures:
    """The median of each figure."""
    return {key: round(statistics.median(one[key] for one in rounds), 3) for key in rounds[0]}


def measure(
    arguments: argparse.Namespace, names: Sequence[str]
) -> tuple[dict[str, str], dict[str, dict[str, Figures]]]:
    """(version by engine, found[case][engine])."""
    found = {}
    with contextlib.ExitStack() as stack:
        running = start_all(stack, names)
        for name, opener in cases.all_cases(arguments.count).items():
            if arguments.only and name not in arguments.only:
                continue
            is_crowd = name == "crowd"
            rounds, warm_up = (arguments.crowds, 0) if is_crowd else (arguments.rounds, WARM_UP)
            found[name] = take_turns(running, name, opener, rounds, warm_up)
            print(f"  {name} done", flush=True)
    return {engine.name: engine.version for engine in running}, found


def _keep(directory: Path, versions: dict[str, str], found: dict[str, dict[str, Figures]], text: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    today, kernel, cpus = time.strftime("%Y-%m-%d"), platform.release().split("-")[0], os.cpu_count()
    record = {
        "at": today,
        "kernel": kernel,
        "cpus": cpus,
        "python": platform.python_version(),
        "versions": versions,
        "figures": found,
    }
    (directory / "latest.json").write_text(json.dumps(record, indent=1) + "\n")
    (directory / "latest.txt").write_text(text + "\n")
    bars = [
        (f"{row.label} [{row.unit}]", figures)
        for row, figures in report.rows(found)
        if row.figure in report.PICTURED
    ]
    names = {name: f"{name} {version}" for name, version in versions.items()}
    subtitle = f"medians of one run, {today}, {cpus} CPUs, Linux {kernel}"
    (directory / "latest.svg").write_text(picture.svg("Hakobune beside its peers", subtitle, names, bars))
    print(f"written: latest.json, latest.txt, latest.svg in {directory}")


def _interrupted(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, keep; returns the exit code."""
    arguments = _arguments(argv)
    if os.geteuid() != 0:
        print("bench: needs root: it starts engines of its own", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, _interrupted)
    here, missing = engines.installed()
    for line in missing:
        print(line)
    names = [name for name in here if not arguments.engine or name in arguments.engine]
    try:
        versions, found = measure(arguments, names)
    except KeyboardInterrupt:
        return 130
    text = report.table(found)
    print(text)
    full = not (arguments.only or arguments.engine or arguments.quick)
    if arguments.out or full:
        _keep(arguments.out or RESULTS, versions, found, text)
    return 0 if versions else 1


if __name__ == "__main__":
    raise SystemExit(main())
