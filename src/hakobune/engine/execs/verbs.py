"""create, start, inspect, resize and the end of an exec.

A start that fails after the client's connection was taken is told on that connection, as Docker does: the
client then asks for the exit code, which is 127 or 126. Imports: containers, schema, wire.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Any

from hakobune.engine.containers import keeping
from hakobune.engine.containers.attach import parse_detach_keys
from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.model import Container
from hakobune.engine.containers.request import check_directory
from hakobune.engine.containers.rootfs import opened_of, read
from hakobune.engine.containers.spec import Identity, environment, process_document, security_options
from hakobune.engine.containers.start import exit_code, reason
from hakobune.engine.containers.users import resolve
from hakobune.engine.execs.model import Exec, Execs
from hakobune.engine.http.message import Request, Response, Taken, upgrade_head
from hakobune.engine.runtime import Ended, Streams
from hakobune.engine.schema.shape import checked, strings
from hakobune.errors import Conflict, HakoError, InvalidArgument, NotFound
from hakobune.oci import capabilities
from hakobune.wire import side, stdcopy

_LOST_SECONDS = 3.0
_LOOK_SECONDS = 0.02
_REFUSED = 126  # the exit code of an exec that could not even be described, as for an unknown user
LOST = 255  # the exit code when nobody saw the end

_MOST = 0xFFFF  # rows or columns of a terminal

_SHAPE: dict[str, tuple[type, Any]] = {
    "AttachStdin": (bool, False),
    "AttachStdout": (bool, False),
    "AttachStderr": (bool, False),
    "Tty": (bool, False),
    "Detach": (bool, False),
    "DetachKeys": (str, ""),
    "User": (str, ""),
    "WorkingDir": (str, ""),
    "Privileged": (bool, False),
    "ConsoleSize": (list, []),
}
_START_SHAPE: dict[str, tuple[type, Any]] = {
    "Detach": (bool, False),
    "Tty": (bool, False),
    "ConsoleSize": (list, []),
}


def create(execs: Execs, container: Container, body: Any) -> Exec:
    """A new exec; its process comes with the start. Raises Conflict, InvalidArgument."""
    if not container.state.running:
        raise Conflict(f"container {container.id} is not running")
    if container.state.status == "paused":
        raise Conflict(f"container {container.name} is paused, unpause the container before exec")
    config = checked(body, _SHAPE, "ExecConfig")
    config["Cmd"] = strings((body or {}).get("Cmd"), "ExecConfig.Cmd")
    config["Env"] = strings((body or {}).get("Env"), "ExecConfig.Env")
    if not config["Cmd"]:
        raise InvalidArgument("no exec command specified")
    if config["WorkingDir"]:
        check_directory(config["WorkingDir"])
    _size(config["ConsoleSize"], "ExecConfig")
    parse_detach_keys(config["DetachKeys"])
    one = Exec(secrets.token_hex(32), container.id, config)
    execs.add(one)
    container.execs[one.id] = one
    return one


async def start(deps: Deps, execs: Execs, one: Exec, request: Request) -> Response | Taken:
    """Run it, attached or not. Raises Conflict, InvalidArgument before the connection is taken."""
    body = checked(await request.json(), _START_SHAPE, "ExecStartConfig")
    size = _size(body["ConsoleSize"], "ExecStartConfig") or _size(one.config["ConsoleSize"], "ExecConfig")
    container = deps.store.get(one.container)
    if one.status == "exited":
        raise Conflict(f"exec process {one.id} has already run")
    if one.status != "created":
        raise Conflict(f"exec process {one.id} is already running")
    if not container.state.running:
        raise Conflict(f"container {container.id} is not running")
    if container.state.status == "paused":
        raise Conflict(f"container {container.id} is paused, unpause the container before exec")
    one.status = "starting"
    try:
        document = _document(container, one, size)
    except (HakoError, OSError) as err:
        failure = InvalidArgument(str(err))
        one.status, one.exit_code = "exited", _REFUSED
        if body["Detach"]:
            raise failure from err
        head = upgrade_head(request, one.tty)
        taken = request.connection.take()
        _tell_failure(taken, head, one, failure)
        return taken
    if body["Detach"]:
        await _run(deps, execs, container, one, document, None, b"")
        return Response(200)
    head = upgrade_head(request, one.tty)
    taken = request.connection.take()
    try:
        await _run(deps, execs, container, one, document, taken, head)
    except HakoError as err:
        _tell_failure(taken, b"" if one.attached else head, one, err)
    return taken


async def _run(
    deps: Deps,
    execs: Execs,
    container: Container,
    one: Exec,
    document: dict[str, Any],
    taken: Taken | None,
    head: bytes,
) -> None:
    config = one.config
    streams = _streams(one, attached=taken is not None)
    async with one.lock:
        execs.save_if_possible(one)
        try:
            if keeping.kept(deps, container):
                told = await keeping.expect(deps, container, one.id, streams)
                await deps.runtime.exec(container.id, one.id, document, told)
            elif not await _prepared(deps, container, one, streams):
                await deps.runtime.exec(container.id, one.id, document, streams)
            if taken is not None:
                await _attach(container, one, taken, head)
            one.pid = await deps.runtime.start(container.id, one.id)
        except HakoError as err:
            one.status, one.exit_code = "exited", exit_code(str(err))
            execs.save_if_possible(one)
            if container.side is not None and keeping.kept(deps, container):
                with contextlib.suppress(HakoError):
                    await container.side.release(one.id, one.exit_code)
            with contextlib.suppress(HakoError):
                await deps.runtime.forget_exec(container.id, one.id)
            raise InvalidArgument(
                f"OCI runtime exec failed: exec failed: unable to start container process: {reason(err)}"
            ) from err
        one.status = "running"
        execs.save_if_possible(one)
    if taken is not None:
        taken.sock.close()
    words = " ".join(config["Cmd"])
    deps.tell(container, f"exec_start: {words}", execID=one.id)


def prepare(deps: Deps, container: Container, one: Exec) -> None:
    """Tell the manager of an exec before its client asks to start it: most do so at once.

    Only a guess: whatever is wrong with it, or has changed by then, is done again by the start.
    """
    if one.tty or keeping.kept(deps, container):
        return  # the size of its terminal comes with the start

    async def work() -> None:
        document = _document(container, one, None)
        await deps.runtime.exec(container.id, one.id, document, _streams(one, attached=True))

    one.prepared = asyncio.create_task(work())
    one.prepared.add_done_callback(lambda task: task.cancelled() or task.exception())
    one.prepared_for = container.state.pid


async def _prepared(deps: Deps, container: Container, one: Exec, streams: Streams) -> bool:
    """Whether the manager knows this exec as it is to be started; it is made to forget another one."""
    if one.prepared is None:
        return False
    try:
        await one.prepared
    except (HakoError, OSError):
        return False
    if one.prepared_for != container.state.pid:
        return False  # that life of the container is over
    if streams == _streams(one, attached=True):
        return True
    await deps.runtime.forget_exec(container.id, one.id)
    return False


def _streams(one: Exec, *, attached: bool) -> Streams:
    stdin = "attach:?once=1" if one.config["AttachStdin"] and attached else ""
    output = "attach:" if attached else ""
    return Streams(stdin, output, "" if one.tty else output, one.tty)


async def _attach(container: Container, one: Exec, taken: Taken, head: bytes) -> None:
    """The connection goes to the shim before the process runs."""
    if container.side is None:
        raise Conflict(f"container {container.id} is not running")
    config = one.config
    wanted = 0 if one.tty else side.FRAMED
    for name, bit in (
        ("AttachStdin", side.STDIN),
        ("AttachStdout", side.STDOUT),
        ("AttachStderr", side.STDERR),
    ):
        wanted |= bit if config[name] else 0
    keys = parse_detach_keys(config["DetachKeys"])
    await container.side.attach(one.id, wanted, head, taken.early, keys, taken.sock)
    one.attached = True


def _tell_failure(taken: Taken, head: bytes, one: Exec, err: HakoError) -> None:
    """On the client's own connection; `head` is empty when the shim has written it already."""
    text = f"{err}\r\n".encode()
    try:
        taken.sock.send(head + (text if one.tty else stdcopy.frame("stdout", text)))
    except OSError:
        pass
    finally:
        taken.sock.close()


def _size(given: list[Any], where: str) -> tuple[int, int] | None:
    """(rows, columns) of a ConsoleSize; None when it says nothing. Raises InvalidArgument."""
    if not all(type(number) is int and 0 <= number <= _MOST for number in given) or len(given) not in (0, 2):
        raise InvalidArgument(
            f"invalid JSON: {where}.ConsoleSize: two numbers, rows and columns, are needed, got {given!r:.60}"
        )
    return (given[0], given[1]) if len(given) == 2 and all(given) else None


def _document(container: Container, one: Exec, size: tuple[int, int] | None) -> dict[str, Any]:
    """The OCI Process. The user is looked up in the running container's own files."""
    config, host = one.config, container.host
    user = config["User"] or container.config["User"]
    identity = Identity()
    if user not in ("", "0", "root") or host["GroupAdd"]:
        with opened_of(container.state.pid) as root:
            identity = resolve(
                user, read(root, "/etc/passwd"), read(root, "/etc/group"), host["GroupAdd"] or ()
            )
    privileged = bool(config["Privileged"] or host["Privileged"])
    caps = capabilities.tweak(host["CapAdd"] or (), host["CapDrop"] or (), privileged=privileged)
    given = {variable.partition("=")[0] for variable in config["Env"]}
    inherited = [variable for variable in container.config["Env"] if variable.partition("=")[0] not in given]
    document = {"oomScoreAdj": container.host["OomScoreAdj"]} | process_document(
        args=config["Cmd"],
        env=environment(inherited + config["Env"], container.config["Hostname"], tty=one.tty),
        cwd=config["WorkingDir"] or container.config["WorkingDir"] or "/",
        tty=one.tty,
        identity=identity,
        caps=caps,
        size=size or (0, 0),
    )
    security = security_options(host["SecurityOpt"] or ())
    document["noNewPrivileges"] = security.get("no-new-privileges", "false") != "false"
    return document


async def ended(deps: Deps, execs: Execs, container: Container, end: Ended) -> None:
    """An exec's process has ended: recorded, then its clients are released, then it is forgotten below."""
    try:
        one = execs.get(end.process)
    except HakoError:  # of an engine that died before it had recorded it: its clients wait all the same
        await _let_go(deps, container, end)
        return
    await keeping.drain(deps, container, one.id)
    async with one.lock:
        if one.status != "running":
            return
        one.status, one.exit_code, one.pid = "exited", end.exit_code, 0
        execs.save_if_possible(one)
    deps.tell(container, "exec_die", execID=one.id, exitCode=str(end.exit_code))
    await _let_go(deps, container, end)


async def _let_go(deps: Deps, container: Container, end: Ended) -> None:
    if container.side is not None:
        with contextlib.suppress(HakoError):
            await container.side.release(end.process, end.exit_code)
    with contextlib.suppress(HakoError):
        await deps.runtime.forget_exec(container.id, end.process)


async def resize(deps: Deps, one: Exec, rows: int, columns: int) -> None:
    """The window size of its terminal; before the start, the one that it starts with.

    Clients ask as soon as they are attached, which is before the process runs: that start is waited for.
    Raises InvalidArgument, and Conflict when it has ended.
    """
    if not (0 < rows <= _MOST and 0 < columns <= _MOST):
        raise InvalidArgument(f"invalid size: {rows} rows and {columns} columns")
    if one.status == "created":
        one.config["ConsoleSize"] = [rows, columns]
        return
    async with one.lock:
        if one.status != "running":
            raise Conflict(f"exec process {one.id} is not running")
    await deps.runtime.resize(one.container, rows, columns, one.id)


async def catch_up(deps: Deps, execs: Execs, container: Container) -> None:
    """Execs that ended while no engine, or no manager, was there; those whose start was cut."""
    for one in execs.of(container.id):
        if one.status not in ("starting", "running"):
            continue
        async with one.lock:
            cut, pid = one.status == "starting", one.pid
            container.execs[one.id] = one
            try:
                standing = await deps.runtime.process_standing(container.id, one.id)
            except NotFound:
                standing = None
            one.status = "running"
            if standing is not None and standing.status in ("running", "paused"):
                one.pid = standing.pid
                execs.save_if_possible(one)
                continue
        if cut and standing is not None and standing.status == "created":
            standing = None
        code = standing.exit_code if standing is not None else LOST
        await ended(deps, execs, container, Ended(container.id, one.id, pid, code, 0))


async def inspect(container: Container, one: Exec) -> dict[str, Any]:
    """The document of GET /exec/{id}/json."""
    if one.status == "running":
        await asyncio.sleep(_LOOK_SECONDS)  # its client may have seen the end of the shim before us
    for _ in range(int(_LOST_SECONDS / _LOOK_SECONDS)):
        if one.status != "running" or not (container.side is None or container.side.closed):
            break  # else its shim was killed, and how it ended is not on record yet
        await asyncio.sleep(_LOOK_SECONDS)
    config = one.config
    return {
        "ID": one.id,
        "Running": one.status == "running",
        "ExitCode": one.exit_code,
        "ProcessConfig": {
            "tty": one.tty,
            "entrypoint": config["Cmd"][0],
            "arguments": config["Cmd"][1:],
            "privileged": config["Privileged"],
            "user": config["User"],
        },
        "OpenStdin": config["AttachStdin"],
        "OpenStderr": config["AttachStderr"],
        "OpenStdout": config["AttachStdout"],
        "CanRemove": one.status == "exited",
        "ContainerID": container.id,
        "DetachKeys": config["DetachKeys"],
        "Pid": one.pid,
    }
