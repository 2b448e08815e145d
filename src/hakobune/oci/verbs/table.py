"""The verbs of `hako-runtime` as a table: flags, number of operands, and what is called for them.

A verb's module is imported when it is called: a short life is mostly imports. Imports: oci.verbs.arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hakobune.errors import InvalidArgument, Unimplemented
from hakobune.oci.verbs.arguments import CRIU_SWITCHES, MANY, SWITCH, VALUE, Arguments
from hakobune.record import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hakobune.oci.verbs.create import Order

Result = int | str | None  # an exit status, or text for standard output
GLOBAL = {"root": VALUE, "log": VALUE, "log-format": VALUE, "criu": VALUE, "rootless": VALUE,
          "debug": SWITCH, "systemd-cgroup": SWITCH, "version": SWITCH, "help": SWITCH}  # fmt: skip
SHORT = {"b": "bundle", "d": "detach", "t": "tty", "u": "user", "e": "env", "p": "process", "c": "cap",
         "g": "additional-gids", "f": "format", "q": "quiet", "a": "all", "r": "resources", "v": "version",
         "h": "help"}  # fmt: skip
_CREATE = {"bundle": VALUE, "console-socket": VALUE, "pid-file": VALUE, "preserve-fds": VALUE,
           "no-pivot": SWITCH, "no-new-keyring": SWITCH}  # fmt: skip
_RUN = _CREATE | {"detach": SWITCH, "keep": SWITCH, "no-subreaper": SWITCH}
_EXEC = {"console-socket": VALUE, "cwd": VALUE, "env": MANY, "tty": SWITCH, "user": VALUE, "process": VALUE,
         "detach": SWITCH, "pid-file": VALUE, "process-label": VALUE, "apparmor": VALUE, "cap": MANY, "cgroup": VALUE,
         "no-new-privs": SWITCH, "preserve-fds": VALUE, "ignore-paused": SWITCH, "additional-gids": MANY}  # fmt: skip
_UPDATE = dict.fromkeys(
    ("resources", "memory", "memory-swap", "memory-reservation", "cpu-share", "cpu-quota", "cpu-period", "cpu-burst",
     "cpu-rt-period", "cpu-rt-runtime", "cpu-idle", "cpuset-cpus", "cpuset-mems", "pids-limit", "blkio-weight",
     "kernel-memory", "kernel-memory-tcp", "l3-cache-schema", "mem-bw-schema"), VALUE)  # fmt: skip

_IMAGES = {
    "image-path": VALUE,
    "work-path": VALUE,
    "parent-path": VALUE,
    **dict.fromkeys(CRIU_SWITCHES, SWITCH),
}
_CHECKPOINT = _IMAGES | {"leave-running": SWITCH, "pre-dump": SWITCH}
_RESTORE = _IMAGES | {"bundle": VALUE, "detach": SWITCH, "pid-file": VALUE, "no-subreaper": SWITCH}


@dataclass(frozen=True, slots=True)
class Verb:
    """`most` operands are taken; `free`: flags may follow the first operand (not where that begins a command)."""

    flags: Mapping[str, str]
    call: Callable[[str, Arguments], Result]
    most: int = 1
    free: bool = True
    short: Mapping[str, str] = SHORT


def _id(found: Arguments) -> str:
    return found.operand(0, "container ID")


def _order(found: Arguments, *, detached: bool) -> Order:
    from hakobune.oci.verbs import create

    if found.on("no-pivot"):
        raise Unimplemented(
            "--no-pivot is not supported: a container could leave a root that it is only shown"
        )
    return create.Order(
        found.text("bundle", "."), found.text("pid-file"), found.text("console-socket"),
        found.number("preserve-fds") or 0, detached,
    )  # fmt: skip


def _create(root: str, found: Arguments) -> None:
    from hakobune.oci.verbs import create

    create.create(root, _id(found), _order(found, detached=True))


def _run(root: str, found: Arguments) -> int:
    from hakobune.oci.verbs import create

    order = _order(found, detached=found.on("detach"))
    return create.run(root, _id(found), order, keep=found.on("keep"))


def _start(root: str, found: Arguments) -> None:
    from hakobune.oci.verbs import start

    start.start(root, _id(found))


def _state(root: str, found: Arguments) -> str:
    from hakobune.oci.verbs import control

    return control.state(root, _id(found))


def _kill(root: str, found: Arguments) -> None:
    from hakobune.oci.verbs import kill

    name = found.operands[1] if len(found.operands) > 1 else "TERM"
    kill.kill(root, _id(found), kill.signal_number(name), everyone=found.on("all"))


def _delete(root: str, found: Arguments) -> None:
    from hakobune.oci.verbs import delete

    delete.delete(root, _id(found), force=found.on("force"))


def _exec(root: str, found: Arguments) -> int:
    from hakobune.oci.verbs import execute

    if found.text("cgroup"):
        raise Unimplemented("--cgroup is not supported")
    order = execute.Order(
        tuple(found.operands[1:]), found.text("process"), found.text("pid-file"), found.text("console-socket"),
        found.on("detach"), found.on("tty"), found.text("cwd"), tuple(found.many("env")), found.text("user"),
        tuple(found.many("cap")), found.on("no-new-privs"), found.on("ignore-paused"),
        found.number("preserve-fds") or 0, tuple(found.many("additional-gids")), found.text("process-label"),
        found.text("apparmor"),
    )  # fmt: skip
    return execute.execute(root, _id(found), order)


def _list(root: str, found: Arguments) -> str:
    from hakobune.oci.verbs import control

    return control.list_all(root, found.text("format"), quiet=found.on("quiet"))


def _ps(root: str, found: Arguments) -> str:
    from hakobune.oci.verbs import control

    return control.ps(root, _id(found), found.text("format"), found.operands[1:])


def _pause(root: str, found: Arguments) -> None:
    from hakobune.oci.verbs import control

    control.pause(root, _id(found))


def _resume(root: str, found: Arguments) -> None:
    from hakobune.oci.verbs import control

    control.resume(root, _id(found))


def _update(root: str, found: Arguments) -> None:
    from hakobune.oci.verbs import control

    control.update_by_flags(root, _id(found), found)


def _events(root: str, found: Arguments) -> int:
    from hakobune.oci.verbs import events

    return events.events(root, _id(found), found.seconds("interval", 5.0), once=found.on("stats"))


def _checkpoint(root: str, found: Arguments) -> None:
    from hakobune.oci.verbs import criu

    order = criu.Order.of(found)
    criu.checkpoint(root, _id(found), order, leave=found.on("leave-running"), pre=found.on("pre-dump"))


def _restore(root: str, found: Arguments) -> int:
    from hakobune.oci.verbs import criu

    order = criu.Order.of(found)
    return criu.restore(root, _id(found), found.text("bundle", "."), order, pid_file=found.text("pid-file"),
                        detached=found.on("detach"))  # fmt: skip


def _spec(_root: str, found: Arguments) -> None:
    from hakobune.oci.verbs import spec

    spec.write(found.text("bundle", "."), without_root=found.on("rootless"))


def _features(_root: str, _found: Arguments) -> str:
    from hakobune.oci.verbs import features

    return features.features()


_FORMAT = {"format": VALUE}
VERBS = {
    "create": Verb(_CREATE, _create),
    "run": Verb(_RUN, _run),
    "start": Verb({}, _start),
    "state": Verb({}, _state),
    "kill": Verb({"all": SWITCH}, _kill, most=2),
    "delete": Verb({"force": SWITCH}, _delete, short=SHORT | {"f": "force"}),
    "exec": Verb(_EXEC, _exec, most=1 << 20, free=False),
    "list": Verb(_FORMAT | {"quiet": SWITCH}, _list, most=0),
    "ps": Verb(_FORMAT, _ps, most=1 << 20, free=False),
    "pause": Verb({}, _pause),
    "resume": Verb({}, _resume),
    "update": Verb(_UPDATE, _update),
    "events": Verb({"stats": SWITCH, "interval": VALUE}, _events),
    "checkpoint": Verb(_CHECKPOINT | {"criu": VALUE}, _checkpoint),
    "restore": Verb(_RESTORE | {"criu": VALUE}, _restore),
    "spec": Verb({"bundle": VALUE, "rootless": SWITCH}, _spec, most=0),
    "features": Verb({}, _features, most=0),
}  # fmt: skip


def check(name: str, verb: Verb, found: Arguments) -> None:
    """Raises InvalidArgument for operands too many."""
    if len(found.operands) > verb.most:
        raise InvalidArgument(f"{name}: at most {verb.most} argument(s) are taken, got {len(found.operands)}")


def usage(name: str = "") -> str:
    """Of the program, or of one verb."""
    if name:
        flags = " ".join(
            f"[--{flag}{'' if kind == SWITCH else ' VALUE'}]" for flag, kind in VERBS[name].flags.items()
        )
        return f"usage: hako-runtime {name} {flags} ID".replace("  ", " ")
    return (
        "usage: hako-runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug] [--rootless true|false|auto]"
        f" VERB [flags] ID\nverbs: {' '.join(VERBS)}\n`hako-runtime VERB --help` lists a verb's flags"
    )
