"""Clients that play scripts with the docker CLI against an engine in trouble, and note what they see.

An answer that is an error is a fault of the engine's, unless no engine was there, or no room on its disk: then the
client looks how things stand when the engine is back, as a person would, and goes on from there.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.adversary import Adversary
from tests.chaos.conftest import STARTER, Finished, Stage
from tests.chaos.oracle import KILLED, Facts, judge
from tests.chaos.plan import Script

PATIENCE = 60.0  # seconds for anything
# a request that met no engine, or one that died over it: it is not in a shim's hands
_NOT_EVEN_ASKED = ("error during connect", "Cannot connect", "space left")
_BIRTH = "echo life >> /data/lives; "


def program(script: Script) -> str:
    """What its container runs."""
    if script.workload == "counter":
        return f"{_BIRTH}i=0; while [ $i -lt {script.number} ]; do i=$((i+1)); echo $i; sleep 0.01; done; exit {script.code}"
    if script.workload == "service":
        return f"{_BIRTH}trap 'echo bye; exit {script.code}' TERM; echo up; while :; do sleep 0.05; done"
    return f"{_BIRTH}echo life; sleep 0.1; exit {script.code}"


class GaveUp(Exception):
    """The script cannot go on; the message is a finding."""


@dataclass
class Client:
    """Plays one script. `said` are the findings."""

    stage: Stage
    adversary: Adversary
    script: Script
    said: list[str] = field(default_factory=list)
    starts: int = 0
    by: str = "itself"
    cut: int = 0
    follower: subprocess.Popen[str] | None = None
    trace: list[str] = field(default_factory=list)

    def play(self) -> list[str]:
        """The whole script, and what was wrong in it."""
        try:
            for act in self.script.acts:
                getattr(self, "_read" if act == "logs" else f"_{act}")()
            self._over()
        except (GaveUp, subprocess.TimeoutExpired) as err:
            self.said.append(str(err))
        finally:
            if self.follower is not None:
                self._hang_up()
        if self.said:
            self.said += self.trace
        return [f"{self.script.name}: {line}" for line in self.said]

    @property
    def shims_killed(self) -> int:
        return self.adversary.shims.get(self.script.name, 0)

    # --- asking ---

    def _call(self, *words: str) -> tuple[Finished, bool]:
        """(what came of it, whether an error may be excused)."""
        begin = time.monotonic()
        done = self.stage.docker(*words, timeout=PATIENCE)
        excused = self.adversary.away(begin, time.monotonic())
        self.trace.append(
            f"  {begin - self.adversary.stage.began:6.2f} +{time.monotonic() - begin:.2f} {words[0]}: {done.returncode}"
            f" {done.stderr.strip()[-200:]}"
        )
        return done, excused

    def _until(self, what: str, condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + PATIENCE
        while not (found := condition()):
            if time.monotonic() > end:
                raise GaveUp(f"waited in vain for: {what}; last seen: {self._state()}")
            time.sleep(0.05)
        return found

    def _state(self) -> dict[str, Any]:
        """Its inspect document; {} when there is none."""

        def look() -> dict[str, Any] | None:
            done, excused = self._call("inspect", "--type", "container", self.script.name)
            if done.returncode == 0:
                document: dict[str, Any] = json.loads(done.stdout)[0]
                return document
            if "no such container" in done.stderr.lower():
                return {"State": {"Status": ""}, "RestartCount": 0}
            if not excused:
                raise GaveUp(f"inspect: {done.stderr.strip()}")
            return None

        end = time.monotonic() + PATIENCE
        while (found := look()) is None:
            if time.monotonic() > end:
                raise GaveUp("no engine answers")
            time.sleep(0.05)
        return found

    def _status(self) -> str:
        return str(self._state()["State"]["Status"])

    def _demand(self, done_already: Callable[[], bool], *words: str) -> None:
        """Until it is done, by an answer or by what is seen after an excused error."""
        end = time.monotonic() + PATIENCE
        while True:
            done, excused = self._call(*words)
            if done.returncode == 0 or done_already():
                return
            if not excused and not self._by_shim(done):
                raise GaveUp(f"{' '.join(words[:2])}: {done.stderr.strip()}")
            if time.monotonic() > end:
                raise GaveUp(f"{' '.join(words[:2])} is never done: {done.stderr.strip()}")
            time.sleep(0.05)

    def _by_shim(self, done: Finished) -> bool:
        """R1: a verb to a container that was killed with its shim."""
        return bool(self.shims_killed) and ("shim" in done.stderr or "not running" in done.stderr)

    # --- acts ---

    def _flags(self) -> tuple[str, ...]:
        script = self.script
        again = ("--restart", f"on-failure:{script.number}") if script.workload == "phoenix" else ()
        return ("--name", script.name, "-v", f"{script.name}:/data", "-v", "/nameless", *again)

    def _create(self) -> None:
        line = ("create", *self._flags(), STARTER, "/bin/sh", "-c", program(self.script))
        self._demand(lambda: self._status() != "", *line)

    def _start(self) -> None:
        before = self._state()["State"]

        def started() -> bool:
            state = self._state()["State"]
            return bool(state["StartedAt"] != before["StartedAt"] and state["Status"] != "created")

        self._demand(started, "start", self.script.name)
        self.starts += 1
        self._born()

    def _born(self) -> None:
        """A service that can be ended gently: before it has said so, a signal would be lost on process 1."""
        if self.script.workload != "service":
            return
        enough = self.starts

        def up() -> bool:
            lines = self._logs()
            return (
                lines.count("up") >= enough or bool(self.shims_killed) or self._full() or self._over_already()
            )

        self._until("up", up)

    def _over_already(self) -> bool:
        return self._status() not in ("running", "paused", "restarting")

    def _full(self) -> bool:
        return self.adversary.hit(0, time.monotonic(), "fill")

    def _logs(self) -> list[str]:
        end = time.monotonic() + PATIENCE
        while True:
            done, excused = self._call("logs", self.script.name)
            if done.returncode == 0:
                return done.stdout.splitlines()
            if not excused or time.monotonic() > end:
                raise GaveUp(f"logs: {done.stderr.strip()}")
            time.sleep(0.05)

    def _run(self) -> None:
        """Attached from the beginning: everything is heard, and the exit code."""
        line = ("run", *self._flags(), STARTER, "/bin/sh", "-c", program(self.script))
        begin = time.monotonic()
        done, excused = self._call(*line)
        unasked = excused and any(words in done.stderr for words in _NOT_EVEN_ASKED)
        if unasked or self.adversary.cut_before_handed_over(begin):
            if self._status() == "":
                self._create()
            if self._state()["State"]["StartedAt"].startswith("0001"):
                self._start()
            else:
                self.starts += 1
            self._wait_seen()
            return
        self.starts += 1
        whole = [str(number) for number in range(1, self.script.number + 1)]
        heard = done.stdout.splitlines()
        legal = {self.script.code} | ({KILLED} if self.shims_killed else set())
        if done.returncode not in legal:
            self.said.append(f"run ended with {done.returncode}: {done.stderr.strip()}")
        if heard != whole and not (self.shims_killed and heard == whole[: len(heard)]):
            self.said.append(f"run heard {len(heard)} lines of {len(whole)}: … {heard[-3:]}")

    def _wait(self) -> None:
        begin = time.monotonic()
        done, excused = self._call("wait", self.script.name)
        legal = {str(self.script.code)} | ({str(KILLED)} if self.shims_killed else set())
        if done.returncode:
            if not self.adversary.cut_before_handed_over(begin) and not excused:
                self.said.append(f"wait: {done.stderr.strip()}")
        elif done.stdout.strip() not in legal:
            self.said.append(f"wait told {done.stdout.strip()}, not {legal}")
        self._wait_seen()

    def _wait_seen(self) -> None:
        self._until("its end", self._over_already)

    def _settle(self) -> None:
        """A phoenix is over when it is not started any more."""
        self._until("the last end", lambda: self._status() in ("exited", "dead", "created", ""))

    def _exec(self) -> None:
        begin = time.monotonic()
        done, excused = self._call("exec", self.script.name, "/bin/sh", "-c", "echo in; exit 7")
        if (done.returncode, done.stdout) == (7, "in\n"):
            return
        if not (excused or self.shims_killed or self.adversary.cut_before_handed_over(begin)):
            self.said.append(f"exec gave {done.returncode}, {done.stdout!r}, {done.stderr.strip()!r}")

    def _read(self) -> None:
        self._logs()

    def _follow(self) -> None:
        """Somebody listens who may be cut off at any moment."""
        self.follower = self.stage.client("logs", "-f", self.script.name)
        self.adversary.cut.append(self._hang_up)

    def _hang_up(self) -> None:
        follower = self.follower
        if follower is not None:
            with contextlib.suppress(ProcessLookupError):
                follower.kill()

    def _pause(self) -> None:
        self._demand(lambda: self._status() != "running", "pause", self.script.name)

    def _unpause(self) -> None:
        if self._status() == "paused":
            self._demand(lambda: self._status() != "paused", "unpause", self.script.name)

    def _restart(self) -> None:
        if self._over_already():
            return
        before = self._state()["State"]["StartedAt"]

        def again() -> bool:
            state = self._state()["State"]
            return bool(state["StartedAt"] != before)

        self._demand(again, "restart", "-t", "10", self.script.name)
        self.starts += 1
        self._born()

    def _stop(self) -> None:
        self.by = "stop"
        self._demand(self._over_already, "stop", "-t", "10", self.script.name)

    def _kill(self) -> None:
        if self._over_already():
            return
        self.by = "kill"
        self.cut += 1
        self._demand(self._over_already, "kill", self.script.name)
        self._wait_seen()

    # --- the end ---

    def _over(self) -> None:
        """Ask everything, have it judged, and remove it."""
        document = self._state()
        state = document["State"]
        lives = 0
        path = self.stage.engine.root / "d/volumes" / self.script.name / "_data/lives"
        if path.exists():
            lives = len(path.read_text().split())
        facts = Facts(
            state["Status"], state.get("ExitCode", 0), state.get("Error", ""), document["RestartCount"],
            self._logs(), lives, self.starts, self.by, self.cut, self.shims_killed, self._full(),
        )  # fmt: skip
        self.said += judge(self.script, facts)
        self._demand(lambda: self._status() == "", "rm", "-f", "-v", self.script.name)
        self._demand(lambda: not path.parent.exists(), "volume", "rm", "-f", self.script.name)
