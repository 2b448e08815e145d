"""The adversary: does a plan's faults to an engine, and keeps the record of them that excuses are judged by."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.conftest import Stage
from tests.chaos.plan import Fault

from hakobune.testing.cutting import cut
from hakobune.testing.engine import EngineFailed
from hakobune.testing.processes import command_lines, kill_and_wait

SLOW = "0.05"  # seconds for each commit
GRACE = 2.0  # seconds within which a request is in its shim's hands
_LASTING = ("stop", "slow", "fill")  # others go on meanwhile
_DAEMONS = ("hakod", "hako-containerd", "zygote")


@dataclass
class Spell:
    """Something was in a bad way from `begin` to `end` (monotonic)."""

    kind: str
    begin: float
    end: float = float("inf")


@dataclass
class Adversary:
    """One engine's. `armory` is the directory of its HAKOBUNE_FAILPOINT, `spared` a container's name."""

    stage: Stage
    armory: Path
    spared: str
    spells: list[Spell] = field(default_factory=list)
    shims: dict[str, int] = field(default_factory=dict)  # container's name -> how often its shim was killed
    done: list[str] = field(default_factory=list)
    cut: list[Callable[[], None]] = field(default_factory=list)  # what `cut clients` calls
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hit(self, begin: float, end: float, *kinds: str) -> bool:
        """Whether something of one of these kinds overlaps the time."""
        with self._lock:
            return any(
                spell.begin <= end and spell.end >= begin and any(spell.kind.startswith(k) for k in kinds)
                for spell in self.spells
            )

    def away(self, begin: float, end: float) -> bool:
        """Whether a request in that time may have met no engine, or a full disk."""
        return self.hit(begin, end, "no hakod", "fill")

    def cut_before_handed_over(self, begin: float) -> bool:
        """Whether an engine went before a request that began then can be expected to be with its shim."""
        slow = self.hit(begin, begin + GRACE, "stop", "slow", "kill", "fill")
        return self.away(begin, begin + GRACE + (6 if slow else 0))

    @contextlib.contextmanager
    def _spell(self, kind: str) -> object:  # type: ignore[misc]
        spell = Spell(kind, time.monotonic())
        with self._lock:
            self.spells.append(spell)
        try:
            yield
        finally:
            spell.end = time.monotonic()

    def play(self, faults: tuple[Fault, ...], begin: float) -> None:
        """All of them, each at its time; returns with everything running again."""
        lasting: list[threading.Thread] = []
        for fault in faults:
            time.sleep(max(0.0, begin + fault.at - time.monotonic()))
            self.done.append(f"{time.monotonic() - begin:5.2f} {fault}")
            if fault.kind.startswith(_LASTING):
                lasting.append(threading.Thread(target=self._do, args=(fault,)))
                lasting[-1].start()
            else:
                self._do(fault)
        for thread in lasting:
            thread.join()

    def _do(self, fault: Fault) -> None:
        verb, _, rest = fault.kind.partition(" ")
        with self._spell(fault.kind):
            if fault.kind == "kill shim":
                self._kill_shim(fault)
            elif verb == "kill" or fault.kind == "restart hakod":
                self._end(_DAEMONS if rest == "all three" else (rest,), fault)
            elif fault.kind == "stop shim":
                self._stop([pid for _name, pid in self._picked_shim(fault)], fault.seconds)
            elif verb == "stop":
                self._stop(
                    [pid for name, pid in self.stage.engine.daemons().items() if name == rest], fault.seconds
                )
            elif verb == "fill":
                self._fill(fault.seconds)
            elif verb == "slow":
                (self.armory / "slow-fsync").write_text(SLOW)
                time.sleep(fault.seconds)
                (self.armory / "slow-fsync").unlink(missing_ok=True)
            elif fault.kind == "cut clients":
                for one in list(self.cut):
                    one()
            elif verb == "cut":
                self._cut(rest)
            elif verb == "unlink":
                with contextlib.suppress(FileNotFoundError):
                    (self.stage.engine.root / "e/containerd/zygote.sock").unlink()

    def _end(self, names: tuple[str, ...], fault: Fault) -> None:
        if "hakod" not in names:
            pids = self.stage.engine.daemons()
            for name in names:
                if name in pids:
                    kill_and_wait(pids[name])
            return
        with self._spell("no hakod"):
            if fault.kind == "restart hakod":
                self.stage.engine.terminate()
            pids = self.stage.engine.daemons()
            for name in names:
                if name in pids:
                    kill_and_wait(pids[name])
            if self.stage.engine.process is not None:
                self.stage.engine.process.wait()
            time.sleep(fault.seconds)
            self._start()

    def _start(self) -> None:
        """As an init system does: again until it stays up, where a full disk may be what keeps it down (R2)."""
        while True:
            try:
                self.stage.engine.start()
            except EngineFailed:
                if self.stage.engine.process is not None:
                    self.stage.engine.process.kill()
                    self.stage.engine.process.wait()
                if not self.hit(time.monotonic() - GRACE, time.monotonic(), "fill"):
                    raise
                time.sleep(0.2)
            else:
                return

    def _stop(self, pids: list[int], seconds: float) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _cut(self, whose: str) -> None:
        """Every connection at once, except those of clients that a shim was handed."""
        pids = [pid for name, pid in self.stage.engine.daemons().items() if name == whose]
        if whose == "shims":
            pids = [pid for pid, line in command_lines() if line.startswith("hako-shim ")]
        for pid in pids:
            cut(pid, f"{self.stage.engine.root}/e/")

    def _picked_shim(self, fault: Fault) -> list[tuple[str, int]]:
        """(container's name, pid of its shim): one or none."""
        path = self.stage.engine.root / "d/engine.db"
        names: dict[str, str] = {}
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database,
        ):
            rows = database.execute("SELECT id, name, record FROM container").fetchall()
            names = {
                identity: name
                for identity, name, record in rows
                if name != self.spared and json.loads(record)["state"]["status"] in ("running", "paused")
            }
        found = sorted(
            (names[identity], pid)
            for pid, line in command_lines()
            if line.startswith("hako-shim ")
            for identity in names
            if line.endswith(f"-id {identity}")
        )
        return [found[int(fault.choice * len(found))]] if found else []

    def _kill_shim(self, fault: Fault) -> None:
        for name, pid in self._picked_shim(fault):
            with self._lock:
                self.shims[name] = self.shims.get(name, 0) + 1
            kill_and_wait(pid)
            self.done[-1] += f" ({name})"

    def _fill(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            place = Path(tempfile.mkdtemp(prefix="fill", dir=self.stage.engine.root))
            try:
                for number, size in enumerate((1 << 20, 4096)):
                    with (
                        contextlib.suppress(OSError),
                        (place / str(number)).open("wb", buffering=0) as file,
                    ):
                        while True:
                            file.write(bytes(size))
                time.sleep(max(0.0, end - time.monotonic()))
            finally:
                shutil.rmtree(place)
