"""Starting a container: network, files, spec, task, and the clients that wait for its first byte.

The order is a promise: clients that attached before the start are in the shim's hands before the process runs,
so not a byte is missed. Whatever fails takes back what was done before it. Imports: the room's own modules.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from hakobune.engine.containers import files, keeping, lifecycle, request, rootfs, users
from hakobune.engine.containers.deps import Deps, now
from hakobune.engine.containers.model import Container, Waiter
from hakobune.engine.containers.spec import NEW, Identity, Surroundings, build
from hakobune.engine.containers.wait import hand_over, lend
from hakobune.engine.http.message import Taken
from hakobune.engine.runtime import Ended, Streams
from hakobune.errors import HakoError, InvalidArgument, NotFound
from hakobune.failpoint import reach
from hakobune.net.model import Attachment, Endpoint, EndpointState, PortBinding, Wanted
from hakobune.shim.client import Side

_identities: dict[tuple[str, str, tuple[str, ...]], Identity] = {}
_MOST_IDENTITIES = 4096


async def start(deps: Deps, container: Container) -> None:
    """Start it. Raises NotModified when it runs, InvalidArgument when its command cannot be executed."""
    async with container.lock:
        lifecycle.may_start(container.state.status)
        if container.restart is not None:
            container.restart.cancel()
            container.restart = None
        container.manually_stopped = False
        await launch(deps, container)


async def launch(deps: Deps, container: Container) -> None:
    """Make it run; the caller holds the lock and has asked the lifecycle."""
    try:
        pid = await _launch(deps, container)
    except (HakoError, OSError) as err:
        failure = (
            err if isinstance(err, HakoError) else HakoError(f"{err.filename or 'start'}: {err.strerror}")
        )
        await _failed(deps, container, failure)
        raise translated(failure) from err
    except BaseException:
        await _failed(deps, container, HakoError("the start was interrupted"))
        raise
    reach("engine.start.started")
    state = container.state
    state.status, state.pid, state.started_at = "running", pid, now()
    state.exit_code, state.error, state.oom_killed, state.finished_at = 0, "", False, 0
    container.ended.clear()
    deps.store.save_at_last(container)
    deps.tell(container, "start")
    reach("engine.start.recorded")


async def _launch(deps: Deps, container: Container) -> int:
    if not container.rootfs:
        container.rootfs = await deps.runtime.rootfs(container.id)
    kind = deps.runtimes.of(container.host["Runtime"])
    _check_sources(container)
    identity = identify(container)
    attachment = await _attach(deps, container)
    reach("engine.start.network")
    await deps.turns.take()
    spec = build(container, _surroundings(deps, container, identity, attachment))
    reach("engine.start.files")
    streams = wanted_streams(deps, container)
    told = streams if kind.own else await keeping.begin(deps, container, streams)
    await deps.runtime.create(container.id, container.image_name, spec, container.rootfs, told, kind)
    reach("engine.start.created")
    container.side = await side_of(deps, container)
    reach("engine.start.side")
    await _hand_over(container, container.side)
    reach("engine.start.handed")
    return await deps.runtime.start(container.id)


def _check_sources(container: Container) -> None:
    """Directories of the host that have gone since: made again for --volume, missed for --mount."""
    for point in container.mounts:
        if point.type == "bind" and not os.path.lexists(point.source):
            if any(bind.startswith(f"{point.source}:") for bind in container.host["Binds"] or ()):
                os.makedirs(point.source, mode=0o755)
                continue
            raise InvalidArgument(
                f'invalid mount config for type "bind": bind source path does not exist: {point.source}'
            )


def identify(container: Container) -> Identity:
    """Who its process is. A snapshot nobody wrote to yet is its image, so images are asked only once."""
    key = (container.chain, container.config["User"], tuple(container.host["GroupAdd"] or ()))
    fresh = not container.state.started_at
    if fresh and key in _identities:
        return _identities[key]
    with rootfs.opened(container.rootfs) as root:
        passwd, group = rootfs.read(root, "/etc/passwd"), rootfs.read(root, "/etc/group")
    identity = users.resolve(key[1], passwd, group, key[2])
    if fresh:
        if len(_identities) >= _MOST_IDENTITIES:
            _identities.clear()
        _identities[key] = identity
    return identity


# --- network ---


async def _attach(deps: Deps, container: Container) -> Attachment | None:
    """Its place in the networks; None when it has another container's."""
    mode = container.host["NetworkMode"]
    if mode.startswith("container:"):
        container.network = {}
        return None
    attached = container.networked
    attachment = await deps.networks.attach(container.id, wanted(container)) if attached else _alone(deps)
    container.network = settings(attachment)
    return attachment


def _alone(deps: Deps) -> Attachment:
    """`--network none`: the runtime makes the namespace, and there is nothing in it to give back."""
    state = EndpointState(deps.networks.get("none").id, secrets.token_hex(32), "", 0, "", "")
    return Attachment(NEW, {"none": state})


def wanted(container: Container) -> Wanted:
    """What it asks of the network, out of its configuration."""
    host = container.host
    mode = host["NetworkMode"]
    names = dict.fromkeys(([] if mode in ("host", "none") else [mode]) + list(container.endpoints))
    return Wanted(
        mode=mode,
        name=container.name,
        endpoints=tuple(
            endpoint_of(name, container.endpoints.get(name) or {}, container)
            for name in names
            if name not in ("host", "none")
        ),
        ports=() if mode in ("host", "none") else tuple(port_bindings(container)),
    )


def endpoint_of(network: str, given: Mapping[str, Any], container: Container) -> Endpoint:
    """A wish for an endpoint out of the API's EndpointSettings."""
    ipam = given.get("IPAMConfig") or {}
    return Endpoint(
        network=network,
        aliases=(container.name, container.short_id, *(given.get("Aliases") or ())),
        ipv4=ipam.get("IPv4Address") or "",
        mac=given.get("MacAddress") or "",
    )


def port_bindings(container: Container) -> list[PortBinding]:
    """-p and -P. Raises InvalidArgument."""
    found = []
    for port, bindings in container.host["PortBindings"].items():
        number, protocol = request.parse_port(port)
        for binding in bindings or [{}]:
            host_port = str(binding.get("HostPort") or "0").partition("-")[0]
            if not host_port.isdigit() or int(host_port) > 65535:
                raise InvalidArgument(f'invalid port specification: "{binding.get("HostPort")}"')
            found.append(PortBinding(number, protocol, binding.get("HostIp") or "", int(host_port)))
    if container.host["PublishAllPorts"]:
        named = {(binding.container_port, binding.protocol) for binding in found}
        exposed = [request.parse_port(port) for port in container.config["ExposedPorts"] or ()]
        found += [
            PortBinding(number, protocol, "", 0)
            for number, protocol in exposed
            if (number, protocol) not in named
        ]
    return found


def settings(attachment: Attachment) -> dict[str, Any]:
    """NetworkSettings of the Docker API, as far as the network decides them."""
    networks = {
        name: {
            "IPAMConfig": None,
            "Links": None,
            "Aliases": list(state.aliases) or None,
            "MacAddress": state.mac,
            "DriverOpts": None,
            "GwPriority": 0,
            "NetworkID": state.network_id,
            "EndpointID": state.endpoint_id,
            "Gateway": state.gateway,
            "IPAddress": state.ip,
            "IPPrefixLen": state.prefix_len,
            "IPv6Gateway": "",
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
            "DNSNames": list(state.aliases) or None,
        }
        for name, state in attachment.endpoints.items()
    }
    ports = {
        port: [{"HostIp": ip, "HostPort": str(number)} for ip, number in bindings] or None
        for port, bindings in attachment.ports.items()
    }
    return {"Networks": networks, "Ports": ports, "SandboxKey": attachment.netns_path.removeprefix(NEW)}


# --- what is around the process ---


def _surroundings(
    deps: Deps, container: Container, identity: Identity, attachment: Attachment | None
) -> Surroundings:
    joined = {kind: path for kind in _JOINABLE if (path := _joined(deps, container, kind))}
    other = container.host["NetworkMode"].partition(":")[2]
    if attachment is None:
        owner = _running(deps, other, "network")
        netns = f"/proc/{owner.state.pid}/ns/net"
        directory = deps.directory(owner)
        names = ("hostname", "hosts", "resolv.conf")
        lent = {
            f"/etc/{name}": f"{directory}/{name}" for name in names if os.path.exists(f"{directory}/{name}")
        }
    else:
        netns = attachment.netns_path
        lent = _files(deps, container, attachment)
    program = not deps.runtimes.of(container.host["Runtime"]).built_in
    return Surroundings(identity, netns, lent, deps.side_path(container), joined, program=program)


def _files(deps: Deps, container: Container, attachment: Attachment) -> dict[str, str]:
    endpoints = list(attachment.endpoints.values())
    with contextlib.suppress(OSError), open("/etc/resolv.conf") as file:
        text = file.read()
        asked = {**container.host, "Dns": container.host["Dns"] or list(deps.dns)}
        resolv = files.resolv_conf(text, asked, isolated=bool(attachment.netns_path))
        gateway = next((state.gateway for state in endpoints if state.gateway), "127.0.0.1")
        addresses = [(state.ip, ()) for state in endpoints if state.ip]
        return files.write(deps.directory(container), container, addresses, gateway, resolv)
    resolv = files.resolv_conf("", container.host, isolated=True)
    return files.write(deps.directory(container), container, [], "127.0.0.1", resolv)


_JOINABLE = {"pid": "PidMode", "ipc": "IpcMode", "uts": "UTSMode", "cgroup": "CgroupnsMode"}


def _joined(deps: Deps, container: Container, kind: str) -> str:
    """`host`, the path of another container's namespace, or nothing for one of its own."""
    mode = container.host[_JOINABLE[kind]]
    if kind == "cgroup" and not mode:
        mode = _default_cgroup_mode(container)
    if mode == "host":
        return "host"
    if mode.startswith("container:"):
        return f"/proc/{_running(deps, mode.partition(':')[2], kind).state.pid}/ns/{kind}"
    if mode not in ("", "private", "shareable", "none"):
        raise InvalidArgument(f"invalid {kind} mode: {mode}")
    return ""


def _default_cgroup_mode(container: Container) -> str:
    """As Docker: on cgroup v1 the host's, and for privileged containers; private on v2."""
    unified = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    return "private" if unified and not container.host["Privileged"] else "host"


def _running(deps: Deps, reference: str, kind: str) -> Container:
    owner = deps.store.get(reference)
    if not owner.state.running:
        raise InvalidArgument(
            f"cannot join {kind} namespace of a non running container: container {owner.name} is {owner.state.status}"
        )
    return owner


async def side_of(deps: Deps, container: Container) -> Side:
    """A connection to whoever has its streams: its shim, or a keeper. Raises Unavailable."""
    if keeping.kept(deps, container):
        return await keeping.connect(deps, container, wanted_streams(deps, container))
    found = await Side.connect(deps.side_path(container))

    def exited(exec_id: str, pid: int, status: int, at: int) -> None:
        deps.hear(Ended(container.id, exec_id or container.id, pid, status, at))

    found.on_exited = exited
    return found


def wanted_streams(deps: Deps, container: Container) -> Streams:
    """Of init, as our own shim is told."""
    config = container.config
    output = "attach:"
    if path := deps.log_path(container):
        options = {**deps.log_options, **container.host["LogConfig"]["Config"]}
        most, number = request.size(options.get("max-size", "-1")), options.get("max-file", "1")
        output = f"json-file://{path}?max-size={most}&max-file={number}"
    stdin = ""
    if config["OpenStdin"]:
        stdin = "attach:?once=1" if config["StdinOnce"] else "attach:"
    return Streams(stdin, output, "" if container.tty else output, container.tty)


async def _hand_over(container: Container, side: Side) -> None:
    """The clients that came before the shim."""
    waiting, container.waiting = container.waiting, []
    waiters, container.waiters = container.waiters, []
    for client in waiting:
        await side.attach(
            "", client.flags, client.head, client.taken.early, client.detach_keys, client.taken.sock
        )
        client.taken.sock.close()
    for waiter in waiters:
        await hand_over(side, lend(container, waiter.taken.sock, waiter.condition), waiter.head)
        waiter.taken.sock.close()


# --- failure ---


async def _failed(deps: Deps, container: Container, err: HakoError) -> None:
    """Take back everything; what stays is the record of what went wrong."""
    if container.side is not None:
        with contextlib.suppress(HakoError):
            for returned in await container.side.reclaim():
                container.waiters.append(Waiter(Taken(returned, b""), "removed", b""))
        container.side.close()
        container.side = None
    with contextlib.suppress(HakoError):
        await deps.runtime.delete(container.id)
    deps.drop_side(container)
    keeping.drop(deps, container)
    for lent in container.lent:
        lent.waiter.taken.sock.close()
    container.lent.clear()
    with contextlib.suppress(HakoError, OSError):
        await deps.networks.detach(container.id)
    for client in container.waiting:
        client.taken.sock.close()
    container.waiting.clear()
    container.network = {}
    state = container.state
    state.status = "exited" if state.started_at else "created"
    state.exit_code, state.error, state.pid, state.finished_at = exit_code(str(err)), str(err), 0, now()
    container.ended.set()
    deps.store.save_at_last(container)
    deps.tell(container, "die", exitCode=str(state.exit_code), execDuration="0")


_NOT_FOUND = (
    "executable file not found",
    "no such file or directory",
    "system cannot find the file specified",
)
_NOT_EXECUTABLE = ("permission denied", "is a directory", "exec format error")


def exit_code(text: str) -> int:
    """What shells give a command that cannot be run: 127 not found, 126 not executable, else 128."""
    lowered = text.lower()
    if any(words in lowered for words in _NOT_FOUND):
        return 127
    return 126 if any(words in lowered for words in _NOT_EXECUTABLE) else 128


def reason(err: HakoError) -> str:
    """What is wrong with a command, without the words that runtimes and shims put before it."""
    return str(err).rpartition("unable to start container process: ")[2].removesuffix(": unknown")


def translated(err: HakoError) -> HakoError:
    """A start's failure with the words around it that clients know; 400 when the command is at fault."""
    said = reason(err)
    if said.startswith(('exec: "', "exec ")):
        return InvalidArgument(
            "failed to create task for container: failed to create shim task: OCI runtime create failed: "
            f"unable to start container process: {said}"
        )
    if isinstance(err, NotFound) and "snapshot" in str(err):
        return HakoError(f"the container's file system is gone: {err}")
    return err


def environment_of(container: Container) -> Sequence[str]:
    """Its variables as asked for."""
    return [str(variable) for variable in container.config["Env"]]
