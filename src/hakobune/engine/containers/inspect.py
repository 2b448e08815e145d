"""GET /containers/{id}/json: everything the engine knows about one container, in Docker's shape."""

from __future__ import annotations

import os
from typing import Any

from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.model import Container, MountPoint
from hakobune.engine.containers.request import command
from hakobune.engine.containers.spec import MASKED, READONLY
from hakobune.engine.runtimes import DEFAULT
from hakobune.engine.schema.times import rfc3339


async def inspect(deps: Deps, container: Container, *, size: bool = False) -> dict[str, Any]:
    """The document; with `size` also the bytes written (SizeRw) and those of the image (SizeRootFs)."""
    args = command(container.config)
    directory = deps.directory(container)
    files = {
        key: f"{directory}/{name}" if os.path.exists(f"{directory}/{name}") else ""
        for key, name in (
            ("HostnamePath", "hostname"),
            ("HostsPath", "hosts"),
            ("ResolvConfPath", "resolv.conf"),
        )
    }
    document: dict[str, Any] = {
        "Id": container.id,
        "Created": rfc3339(container.created),
        "Path": args[0] if args else "",
        "Args": args[1:],
        "State": _state(container),
        "Image": container.image,
        **files,
        "LogPath": deps.log_path(container),
        "Name": f"/{container.name}",
        "RestartCount": container.restart_count,
        "Driver": "overlayfs",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": sorted(container.execs) or None,
        "HostConfig": _host(container),
        "GraphDriver": {"Data": None, "Name": "overlayfs"},
        "Mounts": [mount_document(mount) for mount in container.mounts],
        "Config": config_document(container),
        "NetworkSettings": network_settings(container),
    }
    if size:
        written = await deps.runtime.usage(container.id)
        document |= {"SizeRw": written, "SizeRootFs": container.size + written}
    return document


def _state(container: Container) -> dict[str, Any]:
    state = container.state
    return {
        "Status": state.status,
        "Running": state.running or state.status == "restarting",
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": rfc3339(state.started_at),
        "FinishedAt": rfc3339(state.finished_at),
    }


def _host(container: Container) -> dict[str, Any]:
    host = dict(container.host)
    host["RestartPolicy"] = {"Name": "no", "MaximumRetryCount": 0} | host["RestartPolicy"]
    host["MaskedPaths"] = host["MaskedPaths"] if host["MaskedPaths"] is not None else list(MASKED)
    host["ReadonlyPaths"] = host["ReadonlyPaths"] if host["ReadonlyPaths"] is not None else list(READONLY)
    if host["Privileged"]:
        host["MaskedPaths"] = host["ReadonlyPaths"] = None
    host["Runtime"] = host["Runtime"] or DEFAULT  # of a release that did not write it down
    host["IpcMode"] = host["IpcMode"] or "private"
    host["ShmSize"] = host["ShmSize"] or 64 << 20
    return host


def config_document(container: Container) -> dict[str, Any]:
    """Config, without what nobody set."""
    optional = (
        "Shell",
        "OnBuild",
        "StopTimeout",
        "Healthcheck",
        "ExposedPorts",
        "NetworkDisabled",
        "StopSignal",
    )
    return {
        key: value
        for key, value in container.config.items()
        if key not in optional or value or key == "OnBuild"
    }


def mount_document(mount: MountPoint) -> dict[str, Any]:
    """One entry of Mounts."""
    document: dict[str, Any] = {"Type": mount.type}
    if mount.name:
        document["Name"] = mount.name
    document |= {"Source": mount.source, "Destination": mount.target}
    if mount.type == "volume":
        document["Driver"] = "local"
    propagation = mount.propagation or ("rprivate" if mount.type == "bind" else "")
    return document | {"Mode": mount.mode, "RW": not mount.read_only, "Propagation": propagation}


def network_settings(container: Container) -> dict[str, Any]:
    """NetworkSettings: what the network said at the start; empty endpoints while it does not run."""
    network = container.network
    networks = network.get("Networks")
    if networks is None:
        networks = {name: _idle_endpoint() for name in _names(container)}
    first: dict[str, Any] = (
        next(iter(networks.values()), {}) if container.host["NetworkMode"] in ("bridge", "default") else {}
    )
    return {
        "Bridge": "",
        "SandboxID": container.id if network else "",
        "SandboxKey": network.get("SandboxKey", ""),
        "Ports": network.get("Ports") or {},
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": first.get("EndpointID", ""),
        "Gateway": first.get("Gateway", ""),
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": first.get("IPAddress", ""),
        "IPPrefixLen": first.get("IPPrefixLen", 0),
        "IPv6Gateway": "",
        "MacAddress": first.get("MacAddress", ""),
        "Networks": networks,
    }


def _names(container: Container) -> list[str]:
    mode = container.host["NetworkMode"]
    if mode.startswith("container:"):
        return []
    return list(dict.fromkeys([mode, *container.endpoints]))


def _idle_endpoint() -> dict[str, Any]:
    empty = dict.fromkeys(
        ("NetworkID", "EndpointID", "Gateway", "IPAddress", "MacAddress", "IPv6Gateway"), ""
    )
    return {"IPAMConfig": None, "Links": None, "Aliases": None, **empty, "IPPrefixLen": 0}
