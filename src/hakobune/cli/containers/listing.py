"""`ps`, `top` and `port`."""

from __future__ import annotations

from ..columns import align, ellipsis, short_id
from ..command import Command, Context
from ..failure import Failure
from ..filters import filters
from ..flags import Values
from ..http import query
from ..records import Row, show
from ..units import ago, human_size, table_time
from .names import path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_COMMAND_WIDTH = 20
_HEADERS = {
    "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "RunningFor": "CREATED", "Status": "STATUS",
    "Ports": "PORTS", "Names": "NAMES", "Size": "SIZE", "CreatedAt": "CREATED AT", "Labels": "LABELS",
    "LocalVolumes": "LOCAL VOLUMES", "Mounts": "MOUNTS", "Networks": "NETWORKS", "State": "STATE",
    "Platform": "PLATFORM",
}  # fmt: skip
_COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


def _ps(context: Context, values: Values, arguments: list[str]) -> int:
    last = 1 if values.on("latest") else values.whole("last", -1)
    form, whole = values.text("format"), values.on("no-trunc")
    sized = values.on("size") or ".Size" in form
    containers = context.client.get(
        "/containers/json"
        + query(
            all=True if values.on("all") else None,
            limit=last if last >= 0 else None,
            size=True if sized else None,
            filters=filters(values.many("filter")),
        )
    )
    if values.on("quiet") and not form:
        context.say(*[entry["Id"] if whole else short_id(entry["Id"]) for entry in containers])
        return 0
    columns = (*_COLUMNS, "Size") if values.on("size") else _COLUMNS
    show(context, [_row(entry, whole) for entry in containers], headers=_HEADERS, columns=columns, form=form)
    return 0


def _row(entry: Any, whole: bool) -> Row:
    labels = entry.get("Labels") or {}
    mounts = entry.get("Mounts") or []
    names = [name.removeprefix("/") for name in entry.get("Names") or []]
    command = entry.get("Command") or ""
    return {
        "Command": _quoted(command if whole else ellipsis(command, _COMMAND_WIDTH)),
        "CreatedAt": table_time(entry["Created"]),
        "ID": entry["Id"] if whole else short_id(entry["Id"]),
        "Image": _image(entry, whole),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "LocalVolumes": str(sum(1 for item in mounts if item.get("Driver") == "local")),
        "Mounts": ",".join(_mount(item, whole) for item in mounts),
        "Names": ",".join(names if whole else [name for name in names if "/" not in name]),
        "Networks": ",".join((entry.get("NetworkSettings") or {}).get("Networks") or {}),
        "Platform": "<nil>",
        "Ports": ports(entry.get("Ports") or []),
        "RunningFor": ago(entry["Created"]),
        "Size": _size(entry),
        "State": entry.get("State", ""),
        "Status": entry.get("Status", ""),
    }


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)


def _image(entry: Any, whole: bool) -> str:
    image = entry.get("Image") or ""
    if not image:
        return "<no image>"
    if whole:
        return str(image)
    identity = short_id(entry.get("ImageID") or "")
    if identity and image.removeprefix("sha256:").startswith(identity):
        return identity
    return str(image.partition("@")[0])


def _mount(item: Any, whole: bool) -> str:
    name = item.get("Name") or item.get("Source") or ""
    return name if whole else ellipsis(name, 15)


def _size(entry: Any) -> str:
    written = human_size(entry.get("SizeRw") or 0, digits=3)
    total = entry.get("SizeRootFs") or 0
    return f"{written} (virtual {human_size(total, digits=3)})" if total > 0 else written


def ports(entries: list[Any]) -> str:
    """`0.0.0.0:8080->80/tcp, 443/tcp`; neighbours of one address and protocol are joined to ranges."""
    order = sorted(
        entries,
        key=lambda port: (port["PrivatePort"], _host(port), port.get("PublicPort") or 0, port["Type"]),
    )
    ranges: dict[tuple[str, str], tuple[int, int]] = {}
    texts, mapped = [], []
    for port in order:
        inside, host = port["PrivatePort"], _host(port)
        if host and port.get("PublicPort") != inside:
            mapped.append(f"{host}:{port.get('PublicPort')}->{inside}/{port['Type']}")
            continue
        key = (host, port["Type"])
        first, last = ranges.get(key, (inside, inside))
        if inside > last + 1:
            texts.append(_range(key, first, last))
            first = inside
        ranges[key] = (first, inside)
    return ", ".join(texts + [_range(key, *ends) for key, ends in ranges.items()] + mapped)


def _host(port: Any) -> str:
    address = port.get("IP") or ""
    return f"[{address}]" if ":" in address else address


def _range(key: tuple[str, str], first: int, last: int) -> str:
    host, kind = key
    ends = str(first) if first == last else f"{first}-{last}"
    return f"{host}:{ends}->{ends}/{kind}" if host else f"{ends}/{kind}"


def _top(context: Context, values: Values, arguments: list[str]) -> int:
    name, *options = arguments
    answer = context.client.get(path(name, "/top") + query(ps_args=" ".join(options) or None))
    rows = [answer["Titles"], *(answer.get("Processes") or [])]
    context.say(*align(rows, least=20))
    return 0


def _port(context: Context, values: Values, arguments: list[str]) -> int:
    name, *wanted = arguments
    known = context.client.get(path(name, "/json"))["NetworkSettings"].get("Ports") or {}
    if not wanted:
        context.say(
            *sorted(f"{port} -> {_address(one)}" for port, all_ in known.items() for one in all_ or [])
        )
        return 0
    bindings = known.get(wanted[0] if "/" in wanted[0] else f"{wanted[0]}/tcp")
    if not bindings:
        raise Failure(f"Error: No public port '{wanted[0]}' published for {name}")
    context.say(*[_address(one) for one in bindings])
    return 0


def _address(binding: Any) -> str:
    address = binding["HostIp"]
    return f"{f'[{address}]' if ':' in address else address}:{binding['HostPort']}"


_LIST = """
-a, --all            Also those that do not run
-f, --filter filter  Only those that match (name=web, label=a=b, status=exited, …)
    --format string  table, json, a template ({{.Names}}), or "table TEMPLATE"
-n, --last int       The last N created
-l, --latest         The last one created
    --no-trunc       Show ids and commands in full
-q, --quiet          Ids only
-s, --size           Show what was written, and the size of it all
"""
_ABOUT = "List containers: those that run, or all with -a."

COMMANDS = {
    "ps": Command("ps [OPTIONS]", _ABOUT, _ps, flags=_LIST),
    "ls": Command("container ls [OPTIONS]", _ABOUT, _ps, flags=_LIST),
    "top": Command(
        "top CONTAINER [ps OPTIONS]",
        "Show the processes of a container, with the host's pids.",
        _top,
        least=1,
        most=None,
        interspersed=False,
    ),
    "port": Command(
        "port CONTAINER [PRIVATE_PORT[/PROTO]]",
        "Show where the ports of a container are published.",
        _port,
        least=1,
        most=2,
    ),
}
