"""`exec`: one more process in a running container. Imports: json, os; oci.init, oci.status."""

from __future__ import annotations

import json
import os

from hakobune.errors import FailedPrecondition, InvalidArgument
from hakobune.linux.sockets import Socket
from hakobune.oci.init import execs
from hakobune.oci.init.child import Streams, socket_gate
from hakobune.oci.status import Container, Record
from hakobune.oci.verbs import launch
from hakobune.record import Any, dataclass


@dataclass(frozen=True, slots=True)
class Order:
    """The flags of exec. `process_file` is a runtime-spec Process; else init's own, with `args` and changes."""

    args: tuple[str, ...]
    process_file: str = ""
    pid_file: str = ""
    console_socket: str = ""
    detached: bool = False
    terminal: bool = False
    cwd: str = ""
    env: tuple[str, ...] = ()
    user: str = ""
    caps: tuple[str, ...] = ()
    no_new_privileges: bool = False
    ignore_paused: bool = False
    preserve: int = 0
    groups: tuple[str, ...] = ()
    label: str = ""
    profile: str = ""


def execute(root: str, container_id: str, order: Order) -> int:
    """Run it; its exit status, or 0 at once when detached. Raises HakoError, OSError."""
    container = Container(root, container_id)
    record = container.read()
    status = container.status(record)
    if status == "paused" and not order.ignore_paused:
        raise FailedPrecondition("cannot exec in a paused container (use --ignore-paused to override)")
    if status not in ("running", "paused", "created"):
        raise FailedPrecondition(f"cannot exec in a {status} container")
    process = _process(record, order)
    if process.get("terminal") and order.detached and not order.console_socket:
        raise InvalidArgument("cannot allocate tty if the runtime will detach without setting console socket")
    launched = _launch(record, process, order)
    if order.console_socket and launched.console >= 0:
        launch.send_console(order.console_socket, launched.console)
    launch.write_pid(order.pid_file, launched.pid)
    launch.begin(launched.far)
    return (
        0
        if order.detached
        else launch.forward(launched.pid, -1 if order.console_socket else launched.console)
    )


def _launch(record: Record, process: dict[str, Any], order: Order) -> launch.Launched:
    streams = None if process.get("terminal") else Streams(0, 1, 2)

    def work(near: Socket) -> None:
        raw = json.dumps(process).encode()
        request = execs.ExecRequest(
            record.bundle, raw, record.pid, near, socket_gate(near), preserve=order.preserve
        )
        execs.exec_process(execs.prepare_exec(request, record.id), streams)

    return launch.launch(work)


def _process(record: Record, order: Order) -> dict[str, Any]:
    """The Process document of this exec."""
    if order.process_file:
        with open(order.process_file) as file:
            process: dict[str, Any] = dict(json.load(file))
        if process.get("capabilities") is None:  # as with runc: init's
            process["capabilities"] = _of_init(record).get("capabilities")
        return process
    process = _of_init(record)
    if not order.args:
        raise InvalidArgument("process args cannot be empty")
    process |= {"args": list(order.args), "terminal": order.terminal}
    process.pop("consoleSize", None)
    process["env"] = [*process.get("env", []), *order.env]
    if order.cwd:
        process["cwd"] = order.cwd
    if order.user:
        # Its groups stay init's unless others are named, as with runc: nobody comes to group 0 unasked.
        uid, _, gid = order.user.partition(":")
        numbers = {"uid": uid, **({"gid": gid} if gid else {})}
        process["user"] = process.get("user", {}) | {
            name: _number("--user", text) for name, text in numbers.items()
        }
    if order.groups:
        user = process.setdefault("user", {})
        user["additionalGids"] = [*user.get("additionalGids", []),
                                  *(_number("--additional-gids", text) for text in order.groups)]  # fmt: skip
    if order.label:
        process["selinuxLabel"] = order.label
    if order.profile:
        process["apparmorProfile"] = order.profile
    if order.no_new_privileges:
        process["noNewPrivileges"] = True
    sets = process.setdefault("capabilities", {})
    for name in ("bounding", "effective", "permitted"):
        sets[name] = [*sets.get(name, []), *order.caps]
    return process


def _of_init(record: Record) -> dict[str, Any]:
    with open(os.path.join(record.bundle, "config.json")) as file:
        process: dict[str, Any] = json.load(file)["process"]
    return process


def _number(flag: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise InvalidArgument(f"{flag}: {text!r:.60} is not a number")
    return int(text)
