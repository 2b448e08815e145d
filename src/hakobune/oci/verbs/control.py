"""The verbs on a container that stands: state, pause, resume, update, list, ps.

Each returns text or nothing, and raises HakoError. Imports: json, os; cgroups, oci.status.
"""

from __future__ import annotations

import json
import os
import sys

from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from hakobune.logs.json_file import rfc3339
from hakobune.oci.status import Container, Record, containers
from hakobune.oci.verbs.arguments import Arguments
from hakobune.record import Any

SIZES = ("memory", "memory-swap", "memory-reservation")  # flags of update in bytes, k, m, g
LIMITS = {  # flag of update -> (section, key)
    "memory": ("memory", "limit"), "memory-swap": ("memory", "swap"),
    "memory-reservation": ("memory", "reservation"), "cpu-share": ("cpu", "shares"),
    "cpu-quota": ("cpu", "quota"), "cpu-period": ("cpu", "period"), "pids-limit": ("pids", "limit"), "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"), "cpu-burst": ("cpu", "burst"), "cpu-idle": ("cpu", "idle"),
    "blkio-weight": ("blockIO", "weight"),
}  # fmt: skip


def found(root: str, container_id: str) -> tuple[Record, str, Cgroup]:
    container = Container(root, container_id)
    record = container.read()
    return record, container.status(record), Cgroup.find(record.cgroup)


def describe(record: Record, status: str) -> dict[str, Any]:
    """The state of runtime.md, with what runc adds."""
    return {
        "ociVersion": record.version,
        "id": record.id,
        "pid": 0 if status == "stopped" else record.pid,
        "status": status,
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": rfc3339(record.created),
        "annotations": record.annotations,
        "owner": record.owner,
    }


def state(root: str, container_id: str) -> str:
    """`state`: JSON."""
    record, status, _cgroup = found(root, container_id)
    return json.dumps(describe(record, status), indent=2)


def pause(root: str, container_id: str) -> None:
    """`pause`."""
    _record, status, cgroup = found(root, container_id)
    if status not in ("running", "created"):
        raise FailedPrecondition("container not running")
    cgroup.freeze()


def resume(root: str, container_id: str) -> None:
    """`resume`."""
    _record, status, cgroup = found(root, container_id)
    if status != "paused":
        raise FailedPrecondition("container not paused")
    cgroup.thaw()


def update(root: str, container_id: str, resources: dict[str, Any]) -> list[str]:
    """`update`: OCI linux.resources; the warnings."""
    _record, status, cgroup = found(root, container_id)
    if status == "stopped":
        raise FailedPrecondition("container not running")
    return cgroup.update(resources)


def update_by_flags(root: str, container_id: str, found: Arguments) -> None:
    """`update` as its flags say; the warnings go to stderr. Raises InvalidArgument, OSError, and as `update`."""
    resources: dict[str, Any] = {}
    if source := found.text("resources"):
        with sys.stdin if source == "-" else open(source) as file:
            resources = json.load(file)
    for flag in ("l3-cache-schema", "mem-bw-schema"):
        if found.text(flag):
            raise Unimplemented(f"--{flag} is not supported")
    for flag, (section, key) in LIMITS.items():
        value = found.size(flag) if flag in SIZES else found.number(flag)
        if value is not None:
            resources.setdefault(section, {})[key] = value
    for flag, key in (("cpuset-cpus", "cpus"), ("cpuset-mems", "mems")):
        if text := found.text(flag):
            resources.setdefault("cpu", {})[key] = text
    for warning in update(root, container_id, resources):
        print(f"warning: {warning}", file=sys.stderr)


def list_all(root: str, form: str, *, quiet: bool) -> str:
    """`list`: a table, or JSON. Raises InvalidArgument for another format."""
    if form not in ("", "table", "json"):
        raise InvalidArgument(f"invalid format option: {form!r}")
    rows = []
    for container in containers(root):
        try:
            record = container.read()
        except NotFound:
            continue  # deleted meanwhile
        rows.append(describe(record, container.status(record)))
    if quiet:
        return "\n".join(row["id"] for row in rows)
    if form == "json":
        return json.dumps(rows or None)
    table: list[tuple[str, ...]] = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
    table += [
        (row["id"], str(row["pid"]), row["status"], row["bundle"], row["created"], row["owner"])
        for row in rows
    ]
    return _columns(table)


def _columns(table: list[tuple[str, ...]]) -> str:
    widths = [max(10, *(len(row[column]) for row in table)) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table
    )


def ps(root: str, container_id: str, form: str, options: list[str]) -> str:
    """`ps`: JSON of pids, or those lines of the host's ps(1) that are the container's."""
    _record, _status, cgroup = found(root, container_id)
    pids = cgroup.pids()
    if form == "json":
        return json.dumps(pids)
    head, *lines = _capture(["ps", *(options or ["-ef"])])
    column = head.split().index("PID") if "PID" in head.split() else -1
    if column < 0:
        raise InvalidArgument("could not find PID field in ps output")
    mine = [line for line in lines if line.split()[column : column + 1] and int(line.split()[column]) in pids]
    return "\n".join([head, *mine])


def _capture(args: list[str]) -> list[str]:
    reading, writing = os.pipe()
    pid = os.posix_spawnp(args[0], args, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)])
    os.close(writing)
    with open(reading) as output:
        lines = output.read().splitlines()
    if os.waitpid(pid, 0)[1] or not lines:
        raise InvalidArgument(f"{' '.join(args)} failed")
    return lines
