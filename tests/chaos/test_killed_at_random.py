"""Daemons are killed with SIGKILL at random moments of many verbs, again and again: nothing is half made or left.

HAKO_CHAOS_ROUNDS says how often (12), HAKO_CHAOS_SEED what chance (printed).
"""

from __future__ import annotations

import os
import random
import threading
import time

import pytest
from tests.chaos.conftest import STARTER, Stage

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1200)]

ROUNDS = int(os.environ.get("HAKO_CHAOS_ROUNDS", "12"))
SEED = int(os.environ.get("HAKO_CHAOS_SEED", str(random.SystemRandom().randrange(1 << 30))))
VICTIMS = (("hakod",), ("hako-containerd",), ("hakod", "hako-containerd"), ("zygote",))


def live(stage: Stage, number: int, over: threading.Event) -> None:
    """One client's life, verb after verb, until it is over; answers are not looked at."""
    name = f"c{number}"
    verbs = (
        ("create", "--name", name, "-v", f"data{number}:/data", "-v", "/nameless", "-p", "127.0.0.1::80",
         STARTER, "/bin/sleep", "600"),
        ("start", name),
        ("exec", name, "/bin/true"),
        ("run", "--rm", "--name", f"r{number}", STARTER, "/bin/sh", "-c", "echo hi"),
        ("stop", "-t", "0", name),
        ("rm", "-f", "-v", name),
    )  # fmt: skip
    while True:
        for verb in verbs:
            if over.is_set():
                return
            stage.docker(*verb)


def test_killed_at_random(stage: Stage) -> None:
    chance = random.Random(SEED)
    for number in range(ROUNDS):
        over = threading.Event()
        clients = [threading.Thread(target=live, args=(stage, client, over)) for client in range(2)]
        for client in clients:
            client.start()
        time.sleep(chance.random() * 1.2)
        over.set()
        stage.audit.note()
        victims = chance.choice(VICTIMS)
        stage.kill(*victims)
        for client in clients:
            client.join()
        if stage.engine.process is None:
            stage.engine.start()
        where = f"seed {SEED}, round {number}, killed: {' and '.join(victims)}"
        try:
            stage.clear()
            named = set(stage.ok("volume", "ls", "-q").split()) - {"data0", "data1"}
            assert not named, f"volumes of containers that are gone: {named}"
            for client_number in range(2):
                stage.ok("create", "--name", f"c{client_number}", STARTER, "/bin/true")
                stage.ok("rm", f"c{client_number}")
        except AssertionError as err:
            raise AssertionError(f"{where}: {err}") from err
