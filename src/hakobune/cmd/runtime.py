"""hako-runtime: our OCI runtime, with the command line of runc.

Verbs after which a process of ours is in a container execute the interpreter again first, from a copy that cannot be
written (linux/sealed.py). A container must not get its hands on the installation.
"""

from __future__ import annotations

import os
import sys

from hakobune.errors import HakoError, InvalidArgument, Unimplemented
from hakobune.linux import sealed
from hakobune.oci.verbs import table
from hakobune.oci.verbs.arguments import SWITCH, Arguments, parse

NO_SUCH_VERB = 3  # runc's exit status for it
_ENTERING = frozenset(("create", "run", "exec"))


def _seal(name: str) -> None:
    """Become the sealed copy, isolated, when that is needed. Raises OSError: nobody enters unsealed."""
    if name in _ENTERING and not sealed.is_sealed():
        apart = [] if sys.flags.isolated else ["-I"]
        os.execve(sealed.copy(), [sys.executable, *apart, *sys.orig_argv[1:]], os.environ)


def _complain(found: Arguments | None, err: Exception) -> None:
    """One line on stderr and, with --log, one in the log that callers read the reason from."""
    import json
    import time

    from hakobune.logs.json_file import rfc3339
    from hakobune.oci.init.messages import describe

    text = describe(err)
    print(f"hako-runtime: {text}", file=sys.stderr)
    if found is not None and (path := found.text("log")):
        stamp = rfc3339(time.time_ns())
        line = f'time="{stamp}" level=error msg={json.dumps(text)}'
        if found.text("log-format") == "json":
            line = json.dumps({"level": "error", "msg": text, "time": stamp})
        with open(path, "a") as log:
            log.write(line + "\n")


def _root(found: Arguments) -> str:
    """Where containers are remembered: for a user other than root it is below XDG_RUNTIME_DIR."""
    base = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return found.text("root", os.environ.get("HAKO_RUNTIME_ROOT", f"{base}/hako-runtime"))


def _version() -> str:
    from hakobune.oci.verbs.spec import VERSION as SPEC
    from hakobune.version import VERSION

    return f"hako-runtime version {VERSION}\nspec: {SPEC}"


def _perform(found: Arguments, name: str, words: list[str]) -> table.Result:
    verb = table.VERBS[name]
    given = parse(words, {**verb.flags, "help": SWITCH}, verb.short, interspersed=verb.free)
    if given.on("help"):
        return table.usage(name)
    if found.on("systemd-cgroup"):
        raise Unimplemented("--systemd-cgroup is not supported: control groups are made in the file system")
    if found.text("log-format", "text") not in ("text", "json"):
        raise InvalidArgument(f"invalid log-format: {found.text('log-format')!r}")
    table.check(name, verb, given)
    if "criu" in verb.flags and found.text("criu") and not given.text("criu"):
        given.add("criu", found.text("criu"))
    return verb.call(_root(found), given)


def main() -> None:
    """Run one verb; exits with its status, 1 for a failure (255 for exec)."""
    found: Arguments | None = None
    name = ""
    try:
        found = parse(sys.argv[1:], table.GLOBAL, table.SHORT)
        name, *words = found.operands or [""]
        _seal(name)
        if found.on("version"):
            result: table.Result = _version()
        elif found.on("help") or name in ("", "help"):
            result = table.usage()
        elif name not in table.VERBS:
            print(f"hako-runtime: no such verb: {name}\n{table.usage()}", file=sys.stderr)
            sys.exit(NO_SUCH_VERB)
        else:
            result = _perform(found, name, words)
    except (HakoError, OSError, ValueError) as err:
        _complain(found, err)
        sys.exit(255 if name == "exec" else 1)
    if isinstance(result, str):
        print(result)
    sys.exit(result if isinstance(result, int) else 0)


if __name__ == "__main__":
    main()
