"""The chaos test: clients and an adversary at one engine, by a plan from a seed, and what must be true all the same.

    make chaos SEED=1 FAULTS=1000      the long run, with every fail point and the other tests of this directory
    make chaos SEED=1 ROUND=17         one round of it again

`make test` plays a short run, of another seed each day. plan.py says what is done, oracle.py what must be true.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.chaos import plan
from tests.chaos.adversary import Adversary
from tests.chaos.beacon import NAME, Beacon
from tests.chaos.clients import Client
from tests.chaos.conftest import Stage, small_disk
from tests.chaos.oracle import Facts, judge

from hakobune.testing.engine import EngineFailed

SEED = int(os.environ.get("HAKO_CHAOS_SEED", str(int(time.time() // 86400))))
LONG = int(os.environ.get("HAKO_CHAOS_FAULTS", "0"))
SHORT = 12  # faults
ROUND = os.environ.get("HAKO_CHAOS_ROUND", "")
SPARE = 4  # descriptors that a daemon may have more than at rest in the beginning
_PATIENCE = 10.0


@pytest.fixture
def field(peer: Callable[[str], Path]) -> Iterator[Adversary]:
    """An engine on a small disk, with an adversary."""
    with tempfile.TemporaryDirectory(prefix="hk-", dir="/tmp") as armory:
        environment = {"HAKOBUNE_FAILPOINT": armory, "HAKOBUNE_REST_SECONDS": "0.3"}
        with small_disk(str(peer("docker")), environment) as stage:
            yield Adversary(stage, Path(armory), NAME)


def play(adversary: Adversary, one: plan.Round) -> list[str]:
    """A round, and everything that was wrong in it."""
    stage, found = adversary.stage, []
    for kept in (adversary.spells, adversary.done, adversary.cut):
        kept.clear()
    adversary.shims.clear()
    stage.began = time.monotonic()

    def client(scripts: tuple[plan.Script, ...]) -> None:
        for script in scripts:
            try:
                found.extend(Client(stage, adversary, script).play())
            except Exception as err:
                found.append(f"{script.name}: {type(err).__name__}: {err}")

    with Beacon(stage) as beacon:
        stage.audit.note()
        shim = stage.shim(NAME)
        held = len(stage.audit.links_of(shim))
        clients = [threading.Thread(target=client, args=(scripts,)) for scripts in one.scripts]
        for thread in clients:
            thread.start()
        try:
            adversary.play(one.faults, stage.began)
        except EngineFailed as err:
            found.append(str(err))
        stage.audit.note()
        for thread in clients:
            thread.join()
    found += [f"the published port did not answer {missed}" for missed in beacon.missed]
    if not beacon.asked:
        found.append("the published port was never asked")
    if (state := stage.state(NAME)) != "running 0":
        found.append(f"the container that nobody touched is {state!r}")
    if len(links := stage.audit.links_of(shim)) > held + SPARE:
        found.append(f"its shim holds {len(links)} descriptors, {held} in the beginning: {Counter(links)}")
    stage.dismiss()
    stage.clients.clear()
    return found


def at_rest(stage: Stage, most: dict[str, int]) -> list[str]:
    """Daemons hold no more descriptors than they did."""
    end = time.monotonic() + _PATIENCE
    while True:
        held = {name: stage.audit.descriptors(name) for name in most}
        found = [
            f"{name} holds {count} descriptors, {most[name]} at rest: {Counter(stage.audit.links(name))}"
            for name, count in held.items()
            if count > most[name] + SPARE
        ]
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.1)


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_chaos(field: Adversary, capsys: pytest.CaptureFixture[str]) -> None:
    stage = field.stage
    most = {name: stage.audit.descriptors(name) for name in ("hakod", "hako-containerd", "zygote")}
    rounds = [plan.one_round(SEED, int(ROUND))] if ROUND else plan.rounds(SEED, LONG or SHORT)
    faults = 0
    for one in rounds:
        found = play(field, one)
        faults += len(one.faults)
        try:
            stage.clear()
        except AssertionError as err:
            found.append(f"left: {err}")
        found += at_rest(stage, most)
        if "Traceback" in stage.engine.log.read_text(errors="replace"):
            found.append("a traceback in the log")
        if LONG or ROUND:
            with capsys.disabled():
                print(f"seed {SEED} round {one.number}: {faults} faults, {time.monotonic() - stage.began:.1f} s, "
                      f"{len(found)} findings", flush=True)  # fmt: skip
        assert not found, "\n".join(
            [f"make chaos SEED={SEED} ROUND={one.number}", str(one), "--- done", *field.done, "--- found",
             *found, "--- log", stage.engine.tail(60)]
        )  # fmt: skip


# --- the plan and the oracle themselves ---


def test_a_plan_comes_from_its_seed_alone() -> None:
    long = list(plan.rounds(5, 1000))
    assert sum(len(one.faults) for one in long) == 1000
    assert long[17] == plan.one_round(5, 17)
    assert long[17] != plan.one_round(6, 17)
    kinds = {fault.kind for one in long for fault in one.faults}
    assert kinds == set(plan.KINDS)
    names = [script.name for one in long for scripts in one.scripts for script in scripts]
    assert len(set(names)) == len(names)


COUNTER = plan.Script("c", "counter", 3, 5, ("run",))
SERVICE = plan.Script("s", "service", 0, 6, ("create", "start", "stop"))
PHOENIX = plan.Script("p", "phoenix", 2, 7, ("create", "start", "settle"))
REASON = "its shim was killed, and the container with it"


def facts(**changes: object) -> Facts:
    base: dict[str, object] = {"status": "exited", "code": 5, "error": "", "restarts": 0, "log": "1 2 3".split(),
                               "lives": 1, "starts": 1}  # fmt: skip
    return Facts(**(base | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("script", "seen"),
    [
        (COUNTER, facts()),
        (COUNTER, facts(code=137, error=REASON, log=["1"], shims_killed=1)),  # R1
        (COUNTER, facts(log=["1", "3"], disk_was_full=True)),  # R2
        (SERVICE, facts(code=6, by="stop", log=["up", "bye", "up", "bye"], starts=2, lives=2)),
        (SERVICE, facts(code=137, by="kill", log=["up"], cut=1)),
        (PHOENIX, facts(code=7, restarts=2, log=["life"] * 3, lives=3)),
    ],
)
def test_the_oracle_lets_pass(script: plan.Script, seen: Facts) -> None:
    assert judge(script, seen) == []


@pytest.mark.parametrize(
    ("script", "seen"),
    [
        (COUNTER, facts(code=0)),
        (COUNTER, facts(code=137)),
        (COUNTER, facts(code=137, error="", log=["1"], shims_killed=1)),  # without the reason
        (COUNTER, facts(log=["1", "3"])),  # a gap
        (COUNTER, facts(log=["1", "2", "2", "3"])),  # twice
        (COUNTER, facts(log=["1", "2"])),  # an end that is missing
        (COUNTER, facts(log=["1", "3"], shims_killed=1, code=137, error=REASON)),  # R1 excuses no gap
        (COUNTER, facts(log=["1", "2", "2"], disk_was_full=True)),  # R2 excuses no second time
        (COUNTER, facts(log=["1", "2", "3"] * 2, lives=2)),  # started twice
        (COUNTER, facts(status="running")),
        (SERVICE, facts(code=6, by="stop", log=["up"])),
        (PHOENIX, facts(code=7, restarts=1, log=["life"] * 3, lives=3)),
        (PHOENIX, facts(code=7, restarts=2, log=["life"] * 2, lives=2)),
    ],
)
def test_the_oracle_catches(script: plan.Script, seen: Facts) -> None:
    assert judge(script, seen) != []
