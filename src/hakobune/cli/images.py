"""`images`, `rmi`, `tag`, `history`, `image prune`."""

from __future__ import annotations

from .columns import ellipsis
from .command import Command, Context, each
from .failure import ApiFailure
from .filters import filters
from .flags import Values
from .http import query, quote
from .names import split_reference
from .prune import FORCE, image_lines, may, prune, report, space
from .records import Row, show
from .units import ago, human_size, local_time, table_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Cells = dict[str, Callable[[Any], str]]

_MADE_BY_WIDTH = 45
_HEADERS = {
    "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID", "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT", "Size": "SIZE", "Containers": "CONTAINERS", "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE", "VirtualSize": "SIZE",
}  # fmt: skip
_HISTORY_HEADERS = {"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT",
                    "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT"}  # fmt: skip


def _path(name: str, rest: str = "") -> str:
    return f"/images/{quote(name, safe='/:@')}{rest}"


def _digits(identity: str, whole: bool) -> str:
    return identity if whole else identity.removeprefix("sha256:")[:12]


def _images(context: Context, values: Values, arguments: list[str]) -> int:
    wanted = filters(values.many("filter")) or {}
    if arguments:
        wanted.setdefault("reference", {})[arguments[0]] = True
    where = "/images/json" + query(all=values.on("all") or None, filters=wanted or None)
    images = context.client.get(where)
    form, digests = values.text("format"), values.on("digests")
    columns = ["Repository", "Tag", *(["Digest"] if digests else []), "ID", "CreatedSince", "Size"]
    keys = _HEADERS if form not in ("", "table") else ("ID",) if values.on("quiet") else columns
    cells = {key: _CELLS[key] for key in keys if key in _CELLS}
    whole, named = values.on("no-trunc"), digests or ".Digest" in form
    rows = [row for image in images for row in _rows(image, cells, whole, named)]
    if values.on("quiet") and not form:
        context.say(*[row["ID"] for row in rows])
        return 0
    if form:
        rows = [dict(sorted(row.items())) for row in rows]  # as Docker prints them by {{json .}}
    show(context, rows, headers=_HEADERS, columns=columns, form=form)
    return 0


def _rows(image: Any, cells: Cells, whole: bool, digests: bool) -> list[Row]:
    """One row per name, with these cells; an image without any name has one row all the same."""
    by_name: dict[str, str] = {}
    for text in (image.get("RepoDigests") or []) if digests else []:
        repository, _, digest = text.partition("@")
        by_name[repository] = digest
    tags = [text for text in image.get("RepoTags") or [] if text != "<none>:<none>"]
    names = [text.rpartition(":")[::2] for text in tags]
    if not names:
        names = [(repository, "<none>") for repository in by_name] or [("<none>", "<none>")]
    shared = {"ID": _digits(image["Id"], whole), **{key: cell(image) for key, cell in cells.items()}}
    return [
        {**shared, "Repository": name, "Tag": tag, "Digest": by_name.get(name, "<none>")}
        for name, tag in names
    ]


def _size(image: Any) -> int:
    return image.get("Size") or 0


def _counted(image: Any, key: str) -> int | None:
    """None for what the engine has not counted."""
    count: int = image.get(key, -1)
    return None if count == -1 else count


def _containers(image: Any) -> str:
    count = _counted(image, "Containers")
    return "N/A" if count is None else str(count)


def _shared(image: Any) -> str:
    size = _counted(image, "SharedSize")
    return "N/A" if size is None else human_size(size, digits=3)


def _unique(image: Any) -> str:
    size = _counted(image, "SharedSize")
    return "N/A" if size is None else human_size(_size(image) - size, digits=3)


# made for the columns that are shown: all of them for 1,000 images would be 8 ms
_CELLS: Cells = {
    "Containers": _containers,
    "CreatedAt": lambda image: table_time(image["Created"]),
    "CreatedSince": lambda image: ago(image["Created"]) if image["Created"] > 0 else "N/A",
    "SharedSize": _shared,
    "Size": lambda image: human_size(_size(image), digits=3),
    "UniqueSize": _unique,
    "VirtualSize": lambda image: human_size(_size(image), digits=4),
}


def _rmi(context: Context, values: Values, arguments: list[str]) -> int:
    force = values.on("force")

    def act(name: str) -> str | None:
        options = query(force=force or None, noprune=values.on("no-prune") or None)
        try:
            gone = context.client.delete(_path(name, options)) or []
        except ApiFailure as err:
            if force and err.status == 404:
                context.warn(str(err))
                return None
            raise
        lines = [
            f"Deleted: {i['Deleted']}" if i.get("Deleted") else f"Untagged: {i['Untagged']}" for i in gone
        ]
        return "\n".join(lines) or None

    return each(context, arguments, act)


def _tag(context: Context, values: Values, arguments: list[str]) -> int:
    source, target = arguments
    name, tag = split_reference(target)
    context.client.post(_path(source, "/tag") + query(repo=name, tag=tag))
    return 0


def _history(context: Context, values: Values, arguments: list[str]) -> int:
    steps = context.client.get(_path(arguments[0], "/history"))
    whole, human = values.on("no-trunc"), values.on("human", True)
    if values.on("quiet"):
        context.say(*[step["Id"] if whole else _digits(step["Id"], False) for step in steps])
        return 0
    rows = [_history_row(step, whole, human) for step in steps]
    columns = ["ID", "CreatedSince" if human else "CreatedAt", "CreatedBy", "Size", "Comment"]
    show(context, rows, headers=_HISTORY_HEADERS, columns=columns, form=values.text("format"))
    return 0


def _history_row(step: Any, whole: bool, human: bool) -> Row:
    made_by = (step.get("CreatedBy") or "").replace("\t", " ")
    size = step.get("Size") or 0
    created = step.get("Created") or 0
    return {
        "Comment": step.get("Comment") or "",
        "CreatedAt": local_time(created * 10**9).replace(".000000000", ""),
        "CreatedBy": made_by if whole else ellipsis(made_by, _MADE_BY_WIDTH),
        "CreatedSince": (ago(created) if created > 0 else "N/A") if human else local_time(created * 10**9),
        "ID": _digits(step["Id"], whole),
        "Size": human_size(size, digits=3) if human else str(size),
    }


def _prune(context: Context, values: Values, arguments: list[str]) -> int:
    everything = values.on("all")
    what = (
        "all images without at least one container associated to them"
        if everything
        else "all dangling images"
    )
    may(context, values, f"This will remove {what}.")
    answer = prune(context, "/images", values, {"dangling": ["false" if everything else "true"]})
    report(context, "Deleted Images:", image_lines(answer))
    space(context, answer.get("SpaceReclaimed") or 0)
    return 0


_LIST = """
-a, --all            Also images that are only steps to others
    --digests        Show digests
-f, --filter filter  Only those that match (reference=hako/*, dangling=true, label=a=b, …)
    --format string  table, json, a template ({{.Repository}}), or "table TEMPLATE"
    --no-trunc       Show ids in full
-q, --quiet          Ids only
"""
_REMOVE = "-f, --force     Also when containers use it\n    --no-prune  Keep parents without a name\n"

COMMANDS = {
    "images": Command(
        "images [OPTIONS] [REPOSITORY[:TAG]]", "List images, newest first.", _images, flags=_LIST, most=1
    ),
    "ls": Command(
        "image ls [OPTIONS] [REPOSITORY[:TAG]]", "List images, newest first.", _images, flags=_LIST, most=1
    ),
    "rmi": Command(
        "rmi [OPTIONS] IMAGE [IMAGE...]",
        "Remove images, or names of images that have more than one.",
        _rmi,
        flags=_REMOVE,
        least=1,
        most=None,
    ),
    "rm": Command(
        "image rm [OPTIONS] IMAGE [IMAGE...]",
        "Remove images, or names of images that have more than one.",
        _rmi,
        flags=_REMOVE,
        least=1,
        most=None,
    ),
    "tag": Command(
        "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", "Give an image one more name.", _tag, least=2, most=2
    ),
    "history": Command(
        "history [OPTIONS] IMAGE",
        "Show the steps by which an image was made, newest first.",
        _history,
        flags="""
    --format string  table, json, a template ({{.CreatedBy}}), or "table TEMPLATE"
-H, --human          Sizes and times for people (on unless =false)
    --no-trunc       Show ids and commands in full
-q, --quiet          Ids only
""",
        least=1,
        most=1,
    ),
    "prune": Command(
        "image prune [OPTIONS]",
        "Remove images without a name, or all that no container uses.",
        _prune,
        flags="-a, --all  All that no container uses\n" + FORCE,
    ),
}
