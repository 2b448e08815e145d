"""`volume …`."""

from __future__ import annotations

from .command import Command, Context, each
from .failure import ApiFailure
from .filters import filters
from .flags import Values
from .http import query, quote
from .prune import FORCE, may, prune, report, space
from .records import Row, show
from .units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEADERS = {
    "Driver": "DRIVER", "Name": "VOLUME NAME", "Labels": "LABELS", "Links": "LINKS", "Mountpoint": "MOUNTPOINT",
    "Scope": "SCOPE", "Size": "SIZE", "Availability": "AVAILABILITY", "Group": "GROUP", "Status": "STATUS",
}  # fmt: skip


def _ls(context: Context, values: Values, arguments: list[str]) -> int:
    answer = context.client.get("/volumes" + query(filters=filters(values.many("filter"))))
    volumes = sorted(answer.get("Volumes") or [], key=lambda volume: str(volume["Name"]))
    form = values.text("format")
    if values.on("quiet") and not form:
        context.say(*[volume["Name"] for volume in volumes])
        return 0
    show(context, [_row(v) for v in volumes], headers=_HEADERS, columns=("Driver", "Name"), form=form)
    return 0


def _row(volume: Any) -> Row:
    usage = volume.get("UsageData")
    labels = volume.get("Labels") or {}
    return {
        "Availability": "N/A",
        "Driver": volume["Driver"],
        "Group": "N/A",
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Links": str(usage["RefCount"]) if usage else "N/A",
        "Mountpoint": volume["Mountpoint"],
        "Name": volume["Name"],
        "Scope": volume["Scope"],
        "Size": human_size(usage["Size"]) if usage else "N/A",
        "Status": "N/A",
    }


def _create(context: Context, values: Values, arguments: list[str]) -> int:
    body = {
        "Name": arguments[0] if arguments else values.text("name"),
        "Driver": values.text("driver", "local"),
        "DriverOpts": values.pairs("opt"),
        "Labels": values.pairs("label"),
    }
    context.say(context.client.post("/volumes/create", body)["Name"])
    return 0


def _rm(context: Context, values: Values, arguments: list[str]) -> int:
    force = values.on("force")

    def act(name: str) -> str:
        try:
            context.client.delete(f"/volumes/{quote(name)}" + query(force=force or None))
        except ApiFailure as err:
            if not force or err.status != 404:
                raise
        return name

    return each(context, arguments, act)


def _prune(context: Context, values: Values, arguments: list[str]) -> int:
    everything = values.on("all")
    which = "all local" if everything else "anonymous local"
    may(context, values, f"This will remove {which} volumes not used by at least one container.")
    answer = prune(context, "/volumes", values, {"all": ["true"]} if everything else None)
    report(context, "Deleted Volumes:", answer.get("VolumesDeleted") or [])
    space(context, answer.get("SpaceReclaimed") or 0)
    return 0


COMMANDS = {
    "create": Command(
        "volume create [OPTIONS] [VOLUME]",
        "Make a volume; without a name it gets one.",
        _create,
        flags="""
-d, --driver string  Driver that keeps it (local)
    --label list     Attach a label (KEY=VALUE)
    --name string    Its name; better given as the argument
-o, --opt list       Option of the driver (KEY=VALUE)
""",
        most=1,
    ),
    "ls": Command(
        "volume ls [OPTIONS]",
        "List volumes.",
        _ls,
        flags="""
-f, --filter filter  Only those that match (name=x, dangling=true, label=a=b, driver=local)
    --format string  table, json, a template ({{.Name}}), or "table TEMPLATE"
-q, --quiet          Names only
""",
    ),
    "rm": Command(
        "volume rm [OPTIONS] VOLUME [VOLUME...]",
        "Remove volumes and what is in them. One that a container uses stays.",
        _rm,
        flags="-f, --force  Do not mind what is not there",
        least=1,
        most=None,
    ),
    "prune": Command(
        "volume prune [OPTIONS]",
        "Remove nameless volumes that no container uses; with -a those with names too.",
        _prune,
        flags="-a, --all  Also volumes with a name of their own\n" + FORCE,
    ),
}
