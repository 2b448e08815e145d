"""What must be true of a container when its script is over: a small model, without I/O.

Where a fault makes two outcomes legal, a rule says so, and only there:

  R1  a killed shim ends its container: 137 with the reason, its log ends early; everybody else's do not
  R2  a full disk may cost lines of logs and of volumes, and starts; never the order, never a line twice;
      an engine that ended cleanly may have to wait for room before the next one comes up
  R3  `kill` and a restart with no patience end a life anywhere: its log is a beginning
A killed, stopped or restarted daemon or zygote, a connection between them that is cut, a slow disk and clients that
vanish excuse nothing here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.chaos.plan import Script

KILLED = 137
REASON = "its shim was killed, and the container with it"


@dataclass
class Facts:
    """What was seen, and which rules' faults have hit."""

    status: str
    code: int
    error: str
    restarts: int
    log: Sequence[str]
    lives: int  # lines in its volume
    starts: int  # that were asked for and done
    by: str = "itself"  # how its last life ended: itself, stop, kill
    cut: int = 0  # lives that may have ended anywhere, by R3
    shims_killed: int = 0
    disk_was_full: bool = False
    said: list[str] = field(default_factory=list)


def judge(script: Script, facts: Facts) -> list[str]:
    """What is wrong, one line each."""
    return [*_status(script, facts), *_restarts(script, facts), *_log(script, facts), *_lives(script, facts)]


def _status(script: Script, facts: Facts) -> list[str]:
    if facts.disk_was_full and facts.status == "created":
        return []  # R2: it could not be started
    if facts.status != "exited":
        return [f"status is {facts.status}, not exited"]
    wanted = KILLED if facts.by == "kill" else script.code
    if facts.code == wanted:
        return []
    if facts.shims_killed and facts.code == KILLED:
        return (
            [] if facts.error == REASON or facts.by == "kill" else [f"137 for the reason {facts.error!r}"]
        )  # R1
    if facts.disk_was_full and facts.code in (126, 127, 128):
        return []  # R2
    return [f"exit code {facts.code} ({facts.error!r}), not {wanted}"]


def _restarts(script: Script, facts: Facts) -> list[str]:
    wanted = script.number if script.workload == "phoenix" else 0
    if facts.restarts == wanted or facts.disk_was_full:
        return []
    return [f"restart count is {facts.restarts}, not {wanted}"]


def _log(script: Script, facts: Facts) -> list[str]:
    lives = _split(script, facts.log)
    whole = _whole(script)
    wrong = []
    broken = 0
    for number, lines in enumerate(lives):
        last = number == len(lives) - 1
        ends = [whole]
        if script.workload == "service" and last and facts.by == "kill":
            ends = [whole[:1]]
        if lines in ends:
            continue
        broken += 1
        if facts.disk_was_full:
            if not _within(lines, whole):
                wrong.append(f"life {number}: lines out of order or twice: {_brief(lines)}")
        elif lines != whole[: len(lines)]:
            wrong.append(f"life {number}: a gap or a line twice: {_brief(lines)}")
    if broken > facts.cut + facts.shims_killed and not facts.disk_was_full:
        wrong.append(f"{broken} of {len(lives)} lives are not complete in the log: {_brief(facts.log)}")
    return wrong


def _lives(script: Script, facts: Facts) -> list[str]:
    wanted = facts.starts + (script.number if script.workload == "phoenix" else 0)
    short = facts.cut + facts.shims_killed  # these may have ended before their first line
    seen = len(_split(script, facts.log))
    wrong = []
    if facts.lives > wanted or seen > wanted:
        wrong.append(f"it lived {facts.lives} times by its volume, {seen} by its log: more than {wanted}")
    if not facts.disk_was_full and min(facts.lives, seen) < wanted - short:
        wrong.append(f"it lived {facts.lives} times by its volume, {seen} by its log: less than {wanted}")
    return wrong


def _whole(script: Script) -> list[str]:
    """The log of one life that nobody cut."""
    if script.workload == "counter":
        return [str(number) for number in range(1, script.number + 1)]
    return ["up", "bye"] if script.workload == "service" else ["life"]


def _split(script: Script, log: Sequence[str]) -> list[list[str]]:
    first = _whole(script)[0]
    lives: list[list[str]] = []
    for line in log:
        if line == first or not lives:
            lives.append([])
        lives[-1].append(line)
    return lives


def _within(lines: Sequence[str], whole: Sequence[str]) -> bool:
    rest = iter(whole)
    return all(line in rest for line in lines)


def _brief(lines: Sequence[str]) -> str:
    text = " ".join(lines)
    return text if len(text) < 400 else f"{text[:200]} … {text[-200:]}"
