"""Chapter 6: all is taken away, and what it took, beside other engines where there are any."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable

from ..columns import align
from ..failure import Failure
from ..http import Client, quote
from .images import IMAGE
from .peers import peers
from .stage import Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ROUNDS = 7
# the same for every engine; some set limits of their own that a small machine refuses
_LIMITS = [{"Name": name, "Soft": 1024, "Hard": 1024} for name in ("nofile", "nproc")]
_STEPS = ("create", "start", "exec", "stop", "remove")


def play(stage: Stage) -> None:
    """Raises StoryFailed when a container cannot be removed, Failure when the engine refuses."""
    stage.chapter(6, "All is stopped and removed; what it took")
    names = stage.hako("ps", "-aq").split()
    if names:
        stage.hako("rm", "-f", *names)
    stage.hako("ps", "-a")
    stage.claim("no container is left", not stage.hako("ps", "-aq", quiet=True).strip())
    stage.hako("network", "ls")
    columns = {"Hakobune": measure(Client(stage.engine.host), IMAGE)}
    missing: dict[str, str] = {}
    with peers() as found:
        for peer in found:
            try:
                with peer.image() as image:
                    columns[peer.name] = measure(peer.client, image)
            except (Failure, OSError, KeyError, ValueError) as err:
                missing[peer.name] = str(err)
    stage.tell(f"Milliseconds, the median of {_ROUNDS} rounds over each engine's socket, bridge network:")
    stage.show("\n".join(_table(columns)))
    for name in ("Docker", "Podman"):
        if name not in columns:
            stage.tell(
                f"({name} is not in the table: {missing.get(name, 'not installed or not reachable here')})"
            )


def _table(columns: dict[str, dict[str, float]]) -> Iterable[str]:
    ours = columns["Hakobune"]
    head = ["", *columns, *(f"{name} / ours" for name in columns if name != "Hakobune")]
    rows = [head]
    for step in (*_STEPS, "all"):
        times = [f"{steps[step] * 1000:.1f}" for steps in columns.values()]
        ratios = [f"{steps[step] / ours[step]:.1f}" for name, steps in columns.items() if name != "Hakobune"]
        rows.append([step, *times, *ratios])
    return align(rows)


def measure(client: Client, image: str) -> dict[str, float]:
    """Seconds of each step, medians. Raises Failure."""
    rounds = [_round(client, image) for _ in range(_ROUNDS)]
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
