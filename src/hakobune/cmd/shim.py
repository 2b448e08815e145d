"""containerd-shim-hako-v1: what a containerd starts (runtime v2), `start`, `delete` or `-v`, and ends again.

`upgrade` is for a user: everything of ours under such a containerd goes on as this program's code (shim/upgrading.py).

`start` finds the zygote of this user and this containerd, or starts one, and lets it fork the shim; no
program of ours stays but the zygote. The three start protocols differ in the input and the output only:
  containerd 1.6        argv                                   -> the address as plain text
  containerd 1.7-2.2    argv, options as an Any on stdin       -> JSON {version, address, protocol}
  from 2.3              BootstrapParams on stdin               -> the same JSON, which it takes for a result
They are told apart by MAX_SHIM_VERSION and by what stdin holds. Imports: os; shim.starting, wire, cgroups.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time

from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import HakoError
from hakobune.shim import starting, upgrading
from hakobune.version import VERSION
from hakobune.wire import pb

NAME = "io.containerd.hako.v1"
STATE = "/run/hakobune/s"
_FLAGS = ("namespace", "id", "address", "publish-binary", "bundle", "socket")


def _arguments(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Go's flags: -name value, -name=value, one or two dashes; (flags, the rest)."""
    flags, rest = {}, list(words)
    while rest and rest[0].startswith("-"):
        name, equals, value = rest.pop(0).lstrip("-").partition("=")
        if name in ("v", "info", "debug"):
            flags[name] = "true"
        elif name in _FLAGS:
            flags[name] = value if equals or not rest else rest.pop(0)
        else:
            raise HakoError(f"flag provided but not defined: -{name}")
    return flags, rest


def _start(flags: dict[str, str]) -> None:
    bundle = flags.get("bundle") or os.getcwd()
    raw = b"" if sys.stdin.isatty() else sys.stdin.buffer.read(1 << 20)
    asked = starting.read(raw, flags, os.environ)
    key = hashlib.sha256(f"{asked.address}\0{asked.namespace}\0{asked.id}".encode()).hexdigest()
    home = os.environ.get("HAKO_SHIM_STATE", STATE)
    os.makedirs(home, mode=0o700, exist_ok=True)
    path = os.path.join(home, key[:20])
    owner = hashlib.sha256(f"{os.geteuid()}\0{asked.address}".encode()).hexdigest()[:12]
    with starting.zygote(os.path.join(home, f"z-{owner}")) as manager:
        starting.fork(manager, asked, bundle, path)
    address = f"unix://{path}"
    with open(os.path.join(bundle, "address"), "w") as file:
        file.write(address)
    sys.stdout.buffer.write(starting.answer(asked, address))


def _delete(flags: dict[str, str]) -> None:
    """The shim is gone: end what is left, answer a DeleteResponse (pid 1, exit_status 2, exited_at 3)."""
    from hakobune.task import runtimes  # not for `start`, which has to be quick

    bundle = flags.get("bundle") or os.getcwd()
    status, at = 137, time.time_ns()
    try:
        with open(f"{bundle}/cgroup") as file:
            group = Cgroup.find(file.read())
        group.kill()
        group.delete(remove_empty_parents=True)
    except FileNotFoundError:
        pass
    for failed in runtimes.after(flags.get("id", ""), bundle):
        print(failed, file=sys.stderr)
    try:
        with open(f"{bundle}/exit_status") as file:
            status, at = (int(word) for word in file.read().split())
    except (FileNotFoundError, ValueError):
        pass
    stamp = pb.field(1, at // 1_000_000_000) + pb.field(2, at % 1_000_000_000)
    sys.stdout.buffer.write(pb.field(2, status) + pb.message(3, stamp))


def main() -> None:
    """Exits 0, or 1 with a line on stderr."""
    try:
        flags, rest = _arguments(sys.argv[1:])
        if "v" in flags:
            print(
                f"{os.path.basename(sys.argv[0])}:\n  Version:  {VERSION}\n  Revision: \n  Runtime:  {NAME}"
            )
        elif "info" in flags:  # RuntimeInfo: name 1, version 2 {version 1}
            sys.stdout.buffer.write(pb.field(1, NAME) + pb.message(2, pb.field(1, VERSION)))
        elif rest[:1] == ["start"]:
            _start(flags)
        elif rest[:1] == ["delete"]:
            _delete(flags)
        elif rest[:1] == ["upgrade"]:
            for record in upgrading.upgrade(os.environ.get("HAKO_SHIM_STATE", STATE)):
                print(json.dumps(record), flush=True)
        else:
            raise HakoError(f"action {' '.join(rest)!r} is not one of start, delete, upgrade")
    except (HakoError, OSError, ValueError) as err:
        print(f"{type(err).__name__}: {err}" if not isinstance(err, HakoError) else err, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
