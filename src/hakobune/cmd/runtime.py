"""hako-runtime: our OCI runtime, with the command line of runc.

The verbs which make processes are imported when they are asked for: `state` and `kill` are called far more often.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from hakobune.errors import HakoError, InvalidArgument
from hakobune.logs.json_file import rfc3339
from hakobune.oci.init.messages import describe
from hakobune.oci.verbs import control, delete, spec
from hakobune.oci.verbs.arguments import MANY, SWITCH, VALUE, Arguments, parse
from hakobune.version import VERSION

USAGE = """usage: hako-runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug] VERB [flags] ID
verbs: create start state kill delete run exec list ps pause resume update events spec features"""
_GLOBAL = {"root": VALUE, "log": VALUE, "log-format": VALUE, "criu": VALUE, "rootless": VALUE,
           "debug": SWITCH, "systemd-cgroup": SWITCH, "version": SWITCH, "help": SWITCH}  # fmt: skip
_CREATE = {"bundle": VALUE, "console-socket": VALUE, "pid-file": VALUE, "preserve-fds": VALUE,
           "no-pivot": SWITCH, "no-new-keyring": SWITCH, "detach": SWITCH, "keep": SWITCH, "no-subreaper": SWITCH}  # fmt: skip
_EXEC = {"console-socket": VALUE, "cwd": VALUE, "env": MANY, "tty": SWITCH, "user": VALUE, "process": VALUE,
         "detach": SWITCH, "pid-file": VALUE, "process-label": VALUE, "apparmor": VALUE, "cap": MANY, "cgroup": VALUE,
         "no-new-privs": SWITCH, "preserve-fds": VALUE, "ignore-paused": SWITCH, "additional-gids": MANY}  # fmt: skip
Verb = Callable[[str, Arguments], int | str | None]


def _create(root: str, found: Arguments, *, run: bool) -> int:
    from hakobune.oci.verbs import create

    detached = not run or found.on("detach")
    order = create.Order(
        found.text("bundle", "."), found.text("pid-file"), found.text("console-socket"),
        found.number("preserve-fds") or 0, detached,
    )  # fmt: skip
    if run:
        return create.run(root, _id(found), order, keep=found.on("keep"))
    create.create(root, _id(found), order)
    return 0


def _start(root: str, found: Arguments) -> None:
    from hakobune.oci.verbs import start

    start.start(root, _id(found))


def _features(_root: str, _found: Arguments) -> str:
    from hakobune.oci.verbs import features

    return features.features()


def _exec(root: str, found: Arguments) -> int:
    from hakobune.oci.verbs import execute

    order = execute.Order(
        tuple(found.operands[1:]), found.text("process"), found.text("pid-file"), found.text("console-socket"),
        found.on("detach"), found.on("tty"), found.text("cwd"), tuple(found.many("env")), found.text("user"),
        tuple(found.many("cap")), found.on("no-new-privs"), found.on("ignore-paused"),
        found.number("preserve-fds") or 0,
    )  # fmt: skip
    return execute.execute(root, found.operand(0, "container ID"), order)


def _update(root: str, found: Arguments) -> None:
    resources: dict[str, Any] = {}
    if source := found.text("resources"):
        with sys.stdin if source == "-" else open(source) as file:
            resources = json.load(file)
    for flag, (section, key) in control.LIMITS.items():
        if (value := found.number(flag)) is not None:
            resources.setdefault(section, {})[key] = value
    for flag, key in (("cpuset-cpus", "cpus"), ("cpuset-mems", "mems")):
        if text := found.text(flag):
            resources.setdefault("cpu", {})[key] = text
    for warning in control.update(root, _id(found), resources):
        print(f"warning: {warning}", file=sys.stderr)


def _id(found: Arguments) -> str:
    return found.operand(0, "container ID")


_FORMAT = {"format": VALUE}
VERBS: dict[str, tuple[dict[str, str], Verb]] = {
    "create": (_CREATE, lambda root, a: _create(root, a, run=False)),
    "run": (_CREATE, lambda root, a: _create(root, a, run=True)),
    "start": ({}, _start),
    "state": ({}, lambda root, a: control.state(root, _id(a))),
    "kill": ({"all": SWITCH}, lambda root, a: control.kill(
        root, _id(a), control.signal_number(a.operands[1] if len(a.operands) > 1 else "TERM"), everyone=a.on("all"))),
    "delete": ({"force": SWITCH}, lambda root, a: delete.delete(root, _id(a), force=a.on("force"))),
    "exec": (_EXEC, _exec),
    "list": (_FORMAT | {"quiet": SWITCH}, lambda root, a: control.list_all(root, a.text("format"), quiet=a.on("quiet"))),
    "ps": (_FORMAT, lambda root, a: control.ps(root, _id(a), a.text("format"), a.operands[1:])),
    "pause": ({}, lambda root, a: control.pause(root, _id(a))),
    "resume": ({}, lambda root, a: control.resume(root, _id(a))),
    "update": (dict.fromkeys((*control.LIMITS, "resources", "cpuset-cpus", "cpuset-mems"), VALUE), _update),
    "events": ({"stats": SWITCH, "interval": VALUE}, lambda root, a: control.events(
        root, _id(a), float(a.text("interval", "5").rstrip("s")), once=a.on("stats"))),
    "spec": ({"bundle": VALUE, "rootless": SWITCH}, lambda _root, a: spec.write(a.text("bundle", "."))),
    "features": ({}, _features),
}  # fmt: skip
_SHORT = {"b": "bundle", "d": "detach", "t": "tty", "u": "user", "e": "env", "p": "process", "c": "cap", "g": "additional-gids",
          "f": "format", "q": "quiet", "a": "all", "r": "resources", "v": "version", "h": "help"}  # fmt: skip


def _complain(found: Arguments | None, err: Exception) -> None:
    """One line on stderr and, with --log, one in the log that callers read the reason from."""
    text = describe(err)
    print(f"hako-runtime: {text}", file=sys.stderr)
    if found is not None and (path := found.text("log")):
        stamp = rfc3339(time.time_ns())
        line = f'time="{stamp}" level=error msg={json.dumps(text)}'
        if found.text("log-format") == "json":
            line = json.dumps({"level": "error", "msg": text, "time": stamp})
        with open(path, "a") as log:
            log.write(line + "\n")


def main() -> None:
    """Run one verb; exits with its status, 1 for a failure (255 for exec)."""
    found: Arguments | None = None
    name = ""
    try:
        found = parse(sys.argv[1:], _GLOBAL, _SHORT)
        if found.on("version"):
            print(f"hako-runtime version {VERSION}\nspec: {spec.VERSION}")
            return
        if found.on("help") or not found.operands:
            print(USAGE)
            return
        name, *words = found.operands
        if name not in VERBS:
            raise InvalidArgument(f"no such verb: {name}\n{USAGE}")
        flags, verb = VERBS[name]
        short = _SHORT | {"f": "force"} if name == "delete" else _SHORT
        root = found.text("root", os.environ.get("HAKO_RUNTIME_ROOT", "/run/hako-runtime"))
        result = verb(root, parse(words, flags, short, interspersed=name not in ("exec", "ps")))
    except (HakoError, OSError, ValueError) as err:
        _complain(found, err)
        sys.exit(255 if name == "exec" else 1)
    if isinstance(result, str):
        print(result)
    sys.exit(result if isinstance(result, int) else 0)


if __name__ == "__main__":
    main()
