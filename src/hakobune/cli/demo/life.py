"""Chapter 2: a container runs, is looked at from outside, and gets company."""

from __future__ import annotations

from ..columns import ellipsis
from . import host
from .images import IMAGE
from .stage import Stage

_NAME = "sailor"


def play(stage: Stage) -> None:
    """Raises StoryFailed when it does not start."""
    stage.chapter(2, "A container is a process with a shim for a parent")
    stage.hako("run", "-d", "--name", _NAME, IMAGE, "sleep", "300")
    stage.hako("ps", "--format", "table {{.Names}}\\t{{.Image}}\\t{{.Command}}\\t{{.Status}}")
    pid = int(stage.hako("inspect", "-f", "{{.State.Pid}}", _NAME))
    _tree(stage, pid)
    inside = stage.hako("exec", _NAME, "sh", "-c", 'tr "\\0" " " < /proc/1/cmdline; echo "is 1, I am $$"')
    stage.claim("exec sees the container's own process 1", inside.startswith("sleep 300"), otherwise=inside)
    stage.hako("exec", _NAME, "sh", "-c", "exit 42", fine=tuple(range(256)))
    stage.claim("exec ends with its command's own exit code, 42", stage.code == 42, otherwise=str(stage.code))
    stage.hako("rm", "-f", _NAME)


def _tree(stage: Stage, pid: int) -> None:
    """Daemons and the container's ancestors, with the host's pids."""
    daemons = stage.engine.daemons()
    chain = [*reversed(host.ancestors(pid)), pid]
    shim = host.parent(pid)
    room = stage.width - 5
    stage.tell("Processes, with the host's pids:")
    for name in ("hakod", "hako-containerd"):
        number = daemons.get(name, 0)
        stage.show(ellipsis(f"{number:>8}  {name}: {_words(number)}", room))
    zygote = daemons.get("zygote", 0)
    inner = [number for number in chain if number in (zygote, shim, pid)]
    for depth, number in enumerate(inner, start=1):
        role = {zygote: "zygote", shim: "shim", pid: "init"}[number]
        stage.show(ellipsis(f"{number:>8}  {'   ' * (depth - 1)}└─ {role}: {_words(number)}", room))
    stage.claim(
        "init's parent is its shim, which is none of the daemons", shim not in daemons.values() and shim > 1
    )
    stage.claim("both daemons run", {"hakod", "hako-containerd"} <= set(daemons), otherwise=str(daemons))


def _words(pid: int) -> str:
    """Its command line without the name of our own module, which is told beside it."""
    first, _, rest = host.command(pid).partition(" ")
    return rest if first.startswith("hakobune.") else f"{first} {rest}".strip()
