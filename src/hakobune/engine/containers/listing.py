"""GET /containers/json: which containers, and one line for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hakobune.engine.containers.deps import Deps, now
from hakobune.engine.containers.inspect import mount_document, network_settings
from hakobune.engine.containers.model import Container
from hakobune.engine.containers.request import command, parse_port
from hakobune.engine.schema.filters import Filters
from hakobune.engine.schema.times import elapsed
from hakobune.errors import InvalidArgument

FILTERS = (
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network",
    "publish", "since", "status", "volume",
)  # fmt: skip
STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")


async def listing(
    deps: Deps, *, every: bool, limit: int, size: bool, filters: Filters
) -> list[dict[str, Any]]:
    """Newest first. Raises InvalidArgument for filters that say nothing."""
    filters.check(FILTERS)
    for status in filters.get("status"):
        if status not in STATUSES:
            raise InvalidArgument(f"invalid filter 'status={status}'")
    every = every or limit > 0 or "status" in filters or "exited" in filters
    bounds = {
        name: [deps.store.get(value).created for value in filters.get(name)] for name in ("before", "since")
    }
    chosen = [
        container
        for container in sorted(deps.store, key=lambda one: one.created, reverse=True)
        if (every or container.state.running)
        and all(container.created < bound for bound in bounds["before"])
        and all(container.created > bound for bound in bounds["since"])
        and _fits(container, filters)
    ]
    lines = [summary(container) for container in chosen[: limit if limit > 0 else None]]
    if size:
        for line in lines:
            line["SizeRw"] = await deps.runtime.usage(line["Id"])
            line["SizeRootFs"] = line["SizeRw"] + deps.store.get(line["Id"]).size
    return lines


def _names(container: Container, wanted: str) -> bool:
    return wanted.lstrip("/") in container.name or wanted.strip("^$").lstrip("/") == container.name


_TESTS: Mapping[str, Callable[[Container, str], bool]] = {
    "id": lambda one, value: one.id.startswith(value),
    "name": _names,
    "status": lambda one, value: one.state.status == value,
    "exited": lambda one, value: one.state.status == "exited" and str(one.state.exit_code) == value,
    "ancestor": lambda one, value: (
        value in (one.image_name, one.image, one.image.removeprefix("sha256:"))
        or f"{value}:latest" == one.image_name
        or one.image_name == f"{value}:latest"
        or (len(value) >= 6 and one.image.removeprefix("sha256:").startswith(value.removeprefix("sha256:")))
    ),
    "network": lambda one, value: any(
        value == name or value == (endpoint or {}).get("NetworkID")
        for name, endpoint in network_settings(one)["Networks"].items()
    ),
    "volume": lambda one, value: any(value in (mount.name, mount.target, mount.source) for mount in one.mounts),
    "publish": lambda one, value: value.partition("/")[0] in {
        port.partition("/")[0] for port in one.host["PortBindings"]
    } | {str(binding["HostPort"]) for bindings in (one.network.get("Ports") or {}).values() for binding in bindings or ()},
    "expose": lambda one, value: value.partition("/")[0] in {
        port.partition("/")[0] for port in one.config["ExposedPorts"] or ()
    },
    "health": lambda one, value: value == "none",
    "is-task": lambda one, value: value.lower() in ("false", "0"),
    "isolation": lambda one, value: value in ("", "default"),
}  # fmt: skip


def _fits(container: Container, filters: Filters) -> bool:
    if not filters.labels(container.config["Labels"]):
        return False
    return all(
        any(test(container, value) for value in filters.get(name))
        for name, test in _TESTS.items()
        if name in filters
    )


def status_text(container: Container) -> str:
    """The STATUS column: `Up 5 minutes`, `Exited (0) 2 hours ago`."""
    state, at = container.state, now()
    if state.status == "created":
        return "Created"
    if state.status == "restarting":
        return f"Restarting ({state.exit_code}) {elapsed(at - state.finished_at)} ago"
    if state.running:
        return f"Up {elapsed(at - state.started_at)}{' (Paused)' if state.status == 'paused' else ''}"
    if state.status == "removing":
        return "Removal In Progress"
    if state.status == "dead":
        return "Dead"
    return f"Exited ({state.exit_code}) {elapsed(at - state.finished_at)} ago"


def _ports(container: Container) -> list[dict[str, Any]]:
    found = []
    published = (container.network.get("Ports") or {}) if container.state.running else {}
    for port in dict.fromkeys([*(container.config["ExposedPorts"] or ()), *published]):
        number, protocol = parse_port(port)
        bindings = published.get(f"{number}/{protocol}") or ()
        if not bindings and container.state.running:
            found.append({"PrivatePort": number, "Type": protocol})
        found += [
            {"IP": one["HostIp"], "PrivatePort": number, "PublicPort": int(one["HostPort"]), "Type": protocol}
            for one in bindings
        ]
    return found


def summary(container: Container) -> dict[str, Any]:
    """One container's line."""
    return {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": container.image_name,
        "ImageID": container.image,
        "Command": " ".join(command(container.config)),
        "Created": container.created // 1_000_000_000,
        "Ports": _ports(container),
        "Labels": container.config["Labels"],
        "State": container.state.status,
        "Status": status_text(container),
        "HostConfig": {"NetworkMode": container.host["NetworkMode"]},
        "NetworkSettings": {"Networks": network_settings(container)["Networks"]},
        "Mounts": [mount_document(mount) for mount in container.mounts],
    }
