"""Chapter 3: process 1 ends while others still run; all of them go, and nothing stays."""

from __future__ import annotations

from collections.abc import Callable

from ..columns import ellipsis
from . import host
from .images import IMAGE
from .stage import Stage, StoryFailed

_NAME = "harbour"
_COMMAND = "mkfifo /gate; (sleep 1001 &); (sleep 1002 &); read x < /gate; exit 7"
_ORPHANS = ("sleep 1001", "sleep 1002", "sleep 1003")


def play(stage: Stage) -> None:
    """Raises StoryFailed when the orphans do not appear."""
    stage.chapter(3, "When process 1 ends, everything ends")
    before = host.sockets(stage.engine.root)
    identity = stage.hako("run", "-d", "--name", _NAME, IMAGE, "sh", "-c", _COMMAND).strip()
    pid = int(stage.hako("inspect", "-f", "{{.State.Pid}}", _NAME, quiet=True))
    session = stage.session("exec", _NAME, "sleep", "1003")
    if not stage.until(lambda: set(_ORPHANS) <= set(host.processes_of(identity).values()), 10.0):
        raise StoryFailed(f"the orphans did not appear: {host.processes_of(identity)}")
    namespace, links = host.network_namespace(pid), host.ports(stage.engine.bridge)
    everyone = host.processes_of(identity)
    stage.tell("Its processes, with the host's pids:")
    for number, line in everyone.items():
        stage.show(ellipsis(f"{number:>8}  {line}", stage.width - 5))
    stage.tell(f"Its network namespace is {namespace}, its veth {', '.join(links) or 'none'}.")
    stage.tell("Now process 1 ends:")
    stage.hako("exec", _NAME, "sh", "-c", "echo go > /gate", fine=(0, 137))
    code = stage.hako("wait", _NAME).strip()
    stage.claim("its exit code is 7", code == "7", otherwise=code)
    ended = session.wait(10)
    stage.claim("the exec session ended too, by SIGKILL (137)", ended == 137, otherwise=str(ended))
    gone = stage.until(lambda: not any(host.alive(number) for number in everyone))
    stage.claim(
        "no process of it is left, orphans included", gone, otherwise=str(host.processes_of(identity))
    )
    _nothing_left(stage, identity, namespace, before)
    stage.hako("ps", "-a", "--format", "table {{.Names}}\\t{{.Image}}\\t{{.Status}}")
    stage.hako("rm", _NAME)


def _nothing_left(stage: Stage, identity: str, namespace: str, before: set[str]) -> None:
    looks = {
        "mount": lambda: host.mounts(identity),
        "control group": lambda: host.cgroups(identity),
        "network namespace": lambda: host.holders(namespace),
        "veth": lambda: host.ports(stage.engine.bridge),
        "socket": lambda: sorted(host.sockets(stage.engine.root) - before),
    }
    for name, look in looks.items():
        left = _look_until_clean(stage, look)
        stage.claim(f"no {name} of it is left", not left, otherwise=", ".join(left))


def _look_until_clean(stage: Stage, look: Callable[[], list[str]]) -> list[str]:
    """What is still there when the time is up."""
    stage.until(lambda: not look())
    return look()
