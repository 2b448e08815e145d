"""Many clients at one container, and many containers at once."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.chaos.conftest import STARTER, Stage

pytestmark = [pytest.mark.root, pytest.mark.slow]

# what a client may hear that was not the first
FAIR = (
    "cannot resume a",
    "cannot resume a",
    "is not running",
    "is not paused",
    "is already paused",
    "cannot pause a stopped",
    "cannot start a paused",
    "is paused, unpause",
)


def test_eight_clients_at_one_container(stage: Stage) -> None:
    stage.ok("create", "--name", "one", STARTER, "/bin/sleep", "600")
    verbs = (("start", "one"), ("stop", "-t", "0", "one"), ("kill", "one"), ("restart", "-t", "0", "one"),
             ("exec", "one", "/bin/true"), ("pause", "one"), ("unpause", "one"))  # fmt: skip

    def client(number: int) -> list[str]:
        chance, said = random.Random(number), []
        for _ in range(12):
            verb = chance.choice(verbs)
            done = stage.docker(*verb)
            if done.returncode and verb[0] != "exec" and not any(words in done.stderr for words in FAIR):
                said.append(f"{verb}: {done.stderr}")
        return said

    with ThreadPoolExecutor(8) as pool:
        assert [line for said in pool.map(client, range(8)) for line in said] == []
    stage.docker("unpause", "one")
    stage.ok("restart", "-t", "0", "one")
    assert stage.state("one") == "running 0"


def test_removed_in_the_middle_of_a_start(stage: Stage) -> None:
    chance = random.Random(1)
    for _ in range(10):
        stage.ok("create", "--name", "one", STARTER, "/bin/sleep", "600")
        start = stage.client("start", "one")
        time.sleep(chance.random() * 0.06)
        stage.ok("rm", "-f", "one")
        start.communicate(timeout=20)
        assert stage.state("one") == ""


def test_a_hundred_runs_at_once(stage: Stage) -> None:
    before = stage.audit.descriptors()
    with ThreadPoolExecutor(50) as pool:
        done = list(pool.map(lambda word: stage.docker("run", "--rm", STARTER, "/bin/echo", str(word), timeout=110),
                             range(100)))  # fmt: skip
    wrong = [one for number, one in enumerate(done) if one.returncode or one.stdout != f"{number}\n"]
    assert wrong == []
    stage.clear()
    assert stage.audit.descriptors() <= before + 2


def test_clients_that_vanish_are_let_go(stage: Stage) -> None:
    script = "while :; do echo x; sleep 0.02; done"
    stage.ok("run", "-d", "--name", "one", STARTER, "/bin/sh", "-c", script)
    before = stage.audit.descriptors()
    kinds = (
        ("attach", "one"),
        ("wait", "one"),
        ("logs", "-f", "one"),
        ("events",),
        ("exec", "one", "/bin/sleep", "6"),
    )
    clients = [stage.client(*kind) for kind in kinds * 4]
    time.sleep(1)
    for client in clients:
        client.kill()
        client.communicate()
    last = stage.client("wait", "one")  # with it, waits whose clients have gone are let go
    time.sleep(1)
    assert stage.audit.descriptors() <= before + 2
    assert stage.ok("top", "one").count("/bin/sleep 6") == 4  # an exec is not its client's
    stage.ok("kill", "one")
    assert last.communicate(timeout=10)[0] == "137\n"


def test_logs_that_were_read_are_closed(stage: Stage) -> None:
    stage.ok("run", "--name", "one", STARTER, "/bin/echo", "x")
    before = stage.audit.descriptors()
    for words in ((), ("-n", "1"), ("-f",)) * 3:
        assert stage.ok("logs", *words, "one") == "x"
    assert stage.audit.descriptors() <= before + 2


def test_a_paused_container_can_be_ended(stage: Stage) -> None:
    for verb in (("stop", "-t", "1"), ("kill",), ("restart", "-t", "1"), ("rm", "-f")):
        if stage.state("one") == "":
            stage.ok("create", "--name", "one", STARTER, "/bin/sleep", "600")
        stage.ok("start", "one")
        stage.ok("pause", "one")
        stage.ok(*verb, "one")
