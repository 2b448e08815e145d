"""Chapter 6: all is taken away, and what it took, beside other engines where there are any."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..columns import align
from ..failure import Failure
from ..http import Client, quote
from .images import IMAGE
from .peers import excuse, running
from .stage import Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OURS = "Hakobune"
_ROUNDS = 5
_FEWEST = 2
_MOST_SECONDS = 12.0  # a slow machine gets fewer rounds
# the same for every engine; some set limits of their own that a small machine refuses
_LIMITS = [{"Name": name, "Soft": 4096, "Hard": 4096} for name in ("nofile", "nproc")]
_STEPS = ("create", "start", "exec", "stop", "remove")
_LABELS = {"all": "all five"}


def play(stage: Stage) -> None:
    """Raises StoryFailed when a container cannot be removed, Failure when the engine refuses."""
    stage.chapter(6, "All is stopped and removed; what it took")
    names = stage.hako("ps", "-aq").split()
    if names:
        stage.hako("rm", "-f", *names)
    stage.hako("ps", "-a")
    stage.claim("no container is left", not stage.hako("ps", "-aq", quiet=True).strip())
    stage.hako("network", "ls")
    stage.tell(
        "Now the times, beside Docker's and Podman's own where they are installed: private engines too,"
        " started for this table alone."
    )
    with running(stage) as others:
        columns = _measure(stage, {OURS: (Client(stage.engine.host), IMAGE), **others})
    if columns:
        stage.tell(
            "A container that sleeps, on the default network: milliseconds over each engine's socket, medians"
            + (
                " of rounds in turns, then how many times as long the others take."
                if len(columns) > 1
                else "."
            )
        )
        stage.show("\n".join(_table(columns)))
    if OURS not in columns:
        stage.claim("Hakobune's own times are in the table", False)


def _table(columns: dict[str, dict[str, float]]) -> Iterable[str]:
    ours = columns.get(OURS)
    others = [name for name in columns if name != OURS] if ours else []
    rows = [["", *columns, *(f"{name.partition(' ')[0]}/ours" for name in others)]]
    for step in (*_STEPS, "all"):
        times = [f"{steps[step] * 1000:.1f}" for steps in columns.values()]
        ratios = [f"{columns[name][step] / ours[step]:.1f}" for name in others] if ours else []
        rows.append([_LABELS.get(step, step), *times, *ratios])
    return align(rows, padding=2)


def _measure(stage: Stage, engines: Mapping[str, tuple[Client, str]]) -> dict[str, dict[str, float]]:
    """Seconds of each step by engine, medians. Who fails gets a sentence and is left out."""
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
    end = time.monotonic() + _MOST_SECONDS
    for number in range(-1, _ROUNDS):
        if time.monotonic() > end and number >= _FEWEST:
            break
        for name in [name for name in engines if name in rounds]:
            try:
                taken = _round(*engines[name])
            except (Failure, OSError, KeyError, ValueError) as err:
                del rounds[name]
                excuse(stage, name, err)
            else:
                rounds[name] += [taken] if number >= 0 else []  # the first one only warms up
    return {name: _medians(taken) for name, taken in rounds.items() if taken}


def _medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    medians = {step: statistics.median(one[step] for one in rounds) for step in _STEPS}
    return medians | {"all": statistics.median(sum(one.values()) for one in rounds)}


def _round(client: Client, image: str) -> dict[str, float]:
    times: dict[str, float] = {}

    def timed(step: str, act: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        result = act()
        times[step] = time.perf_counter() - begun
        return result

    body = {
        "Image": image,
        "Cmd": ["sleep", "300"],
        "StopSignal": "SIGKILL",
        "HostConfig": {"Ulimits": _LIMITS},
    }
    identity = timed("create", lambda: client.post("/containers/create", body))["Id"]
    path = f"/containers/{quote(identity)}"
    try:
        timed("start", lambda: client.post(f"{path}/start"))
        timed("exec", lambda: _exec(client, path))
        timed("stop", lambda: client.post(f"{path}/stop?t=5"))
        timed("remove", lambda: client.delete(path))
    except BaseException:
        client.call("DELETE", f"{path}?force=1", fine=(404, 409))
        raise
    return times


def _exec(client: Client, path: str) -> None:
    body = {"Cmd": ["true"], "AttachStdout": True, "AttachStderr": True}
    identity = client.post(f"{path}/exec", body)["Id"]
    response = client.open("POST", f"/exec/{identity}/start", body={"Detach": False}, upgrade=True)
    with response.sock as sock:
        while sock.recv(4096):
            pass
    code = client.get(f"/exec/{identity}/json")["ExitCode"]
    if code != 0:
        raise Failure(f"exec ended with {code}")
