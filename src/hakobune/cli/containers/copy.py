"""`cp`: files between this machine and a container, by the rules of docker's (and cp's) own.

What comes from a container is unpacked by descriptors inside the directory that was named, and no link in it leads
out (layers/apply). Who it belongs to is the one who asked, unless `--archive`.
"""

from __future__ import annotations

import base64
import json
import os
import posixpath
import stat
import sys
from collections.abc import Iterable, Iterator
from threading import Thread

from hakobune.errors import HakoError
from hakobune.layers import tar, walk
from hakobune.layers.apply import NONE, Unpacker
from hakobune.layers.pack import Packer

from ..command import Command, Context
from ..failure import ApiFailure, Failure
from ..flags import Values
from ..http import Response, query
from .names import path as container_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEADER = "x-docker-container-path-stat"
_DIRECTORY, _LINK = 1 << 31, 1 << 27  # Go's bits of a mode
_BLOCK = 1 << 18


def split(text: str) -> tuple[str, str]:
    """(container, path in it); no container for a path of this machine: absolute, or with a slash before the colon."""
    container, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")) or "/" in container:
        return "", text
    return container, path


def _copy(context: Context, values: Values, arguments: list[str]) -> int:
    (source, source_path), (target, target_path) = map(split, arguments)
    if source and target:
        raise Failure("copying between containers is not supported")
    if not source and not target:
        raise Failure("must specify at least one container source")
    if source:
        _out(context, values, source, source_path, target_path)
    else:
        _into(context, values, source_path, target, target_path)
    return 0


def _asks_for_directory(path: str) -> bool:
    return path.endswith(("/", "/.")) or path == "."


def _is_content(path: str) -> bool:
    """Whether what is in a directory is meant, not the directory."""
    return path.endswith("/.") or path == "."


# out of a container ---------------------------------------------------------------------------------


def _archive(container: str, path: str, **more: Any) -> str:
    return container_path(container, "/archive") + query(path=path, **more)


def _status(response: Response) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(response.headers.get(_HEADER, "")))
    return found


def _out(context: Context, values: Values, container: str, source: str, target: str) -> None:
    asked = source
    if values.on("follow-link"):
        status = _seen(context, container, source)
        if status and status["mode"] & _LINK:
            source = status["linkTarget"]
    if target != "-" and not os.path.isdir(os.path.dirname(os.path.abspath(target.rstrip("/") or "/"))):
        raise Failure(
            f'invalid output path: directory "{os.path.dirname(os.path.abspath(target))}" does not exist'
        )
    response = context.client.open("GET", _archive(container, source))
    if target == "-":
        for chunk in response.chunks():
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    is_directory = bool(_status(response)["mode"] & _DIRECTORY)
    root, name = _place(target, asked, is_directory=is_directory)
    try:
        _unpack(response.chunks(), root, name, own=not values.on("archive"))
    except (HakoError, OSError) as err:
        raise Failure(f"copy to {target}: {err}") from err


def _place(target: str, source: str, *, is_directory: bool) -> tuple[str, str]:
    """(directory of this machine, name in it): "" for what is in the source itself. Raises Failure."""
    if os.path.isdir(target):
        name = "" if _is_content(source) else posixpath.basename(posixpath.normpath("/" + source))
        return target, name
    if os.path.lexists(target.rstrip("/")):
        if is_directory or _asks_for_directory(target):
            raise Failure("cannot copy directory" if is_directory else f"not a directory: {target}")
    elif not is_directory and _asks_for_directory(target):
        raise Failure(f"no such directory: {target}")
    clean = os.path.abspath(target)
    return os.path.dirname(clean), os.path.basename(clean)


def _unpack(chunks: Iterator[bytes], root: str, name: str, *, own: bool) -> None:
    """An archive whose first member is what the others lie in. Raises HakoError, OSError."""
    reader = tar.Reader(chunks)
    first = None
    umask = os.umask(0)
    try:
        with Unpacker(root, whiteouts=NONE) as unpacker:
            for entry in reader:
                first = entry.name.rstrip("/") if first is None else first
                entry.name = _renamed(entry.name, first, name)
                if entry.kind == tar.HARD_LINK:
                    entry.link = _renamed(entry.link, first, name)
                if own:
                    entry.uid, entry.gid, entry.xattrs = os.geteuid(), os.getegid(), {}
                if entry.name:
                    unpacker.add(entry, reader.data())
            reader.drain()
            unpacker.finish()
    finally:
        os.umask(umask)


def _renamed(path: str, first: str, name: str) -> str:
    rest = path[len(first) :].strip("/")
    return "/".join(part for part in (name, rest) if part)


# into a container -----------------------------------------------------------------------------------


def _seen(context: Context, container: str, path: str) -> dict[str, Any] | None:
    """What is at `path` in the container; None for nothing. Raises ApiFailure for other troubles."""
    try:
        return _status(context.client.open("HEAD", _archive(container, path)))
    except ApiFailure as err:
        if err.status != 404:
            raise
        return None  # or no such container: what is asked for next will tell


def _into(context: Context, values: Values, source: str, container: str, target: str) -> None:
    there = _seen(context, container, target)
    if there and there["mode"] & _LINK:
        target = there["linkTarget"]
        there = _seen(context, container, target)
    into_directory = bool(there and there["mode"] & _DIRECTORY)
    if source == "-":
        if not into_directory:
            raise Failure(f'destination "{container}:{target}" must be a directory')
        _put(context, values, container, target, iter(lambda: sys.stdin.buffer.read(_BLOCK), b""))
        return
    status = _local(source, follow=values.on("follow-link"))
    clean = posixpath.normpath("/" + target.lstrip("/"))
    name = os.path.basename(os.path.abspath(source))
    if into_directory:
        directory, name = target, "." if _is_content(source) else name
    elif stat.S_ISDIR(status.st_mode) and there:
        raise Failure("cannot copy directory")
    elif not stat.S_ISDIR(status.st_mode) and _asks_for_directory(target):
        raise Failure("no such directory")
    else:
        directory, name = posixpath.split(clean)
    parts = _packed(source, name, follow=values.on("follow-link") or _asks_for_directory(source))
    _put(context, values, container, directory, parts)


def _local(source: str, *, follow: bool) -> os.stat_result:
    try:
        status = os.stat(source) if follow or _asks_for_directory(source) else os.lstat(source)
    except OSError as err:
        raise Failure(f"{source}: {(err.strerror or str(err)).lower()}") from err
    if _asks_for_directory(source) and not stat.S_ISDIR(status.st_mode):
        raise Failure(f"{source}: not a directory")
    return status


def _put(context: Context, values: Values, container: str, directory: str, parts: Iterable[bytes]) -> None:
    where = _archive(container, directory, noOverwriteDirNonDir=True, copyUIDGID=values.on("archive") or None)
    context.client.open("PUT", where, stream=parts, headers={"Content-Type": "application/x-tar"})


def _packed(source: str, name: str, *, follow: bool) -> Iterator[bytes]:
    """An archive of a file or directory under another name. Raises Failure."""
    reading, writing = os.pipe()
    failures: list[OSError] = []

    def work() -> None:
        try:
            with os.fdopen(writing, "wb") as out:
                _pack(source, name, out, follow=follow)
        except BrokenPipeError:
            pass  # the engine has heard enough
        except OSError as err:
            failures.append(err)

    packer = Thread(target=work, daemon=True)
    packer.start()
    with os.fdopen(reading, "rb", buffering=0) as parts:
        while part := parts.read(_BLOCK):
            yield part
    packer.join()
    if failures:
        raise Failure(f"copy {source}: {failures[0].strerror}")


def _pack(source: str, name: str, out: Any, *, follow: bool) -> None:
    clean = os.path.realpath(source) if follow else os.path.abspath(source)
    parent = os.open(os.path.dirname(clean), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    base = os.path.basename(clean) or "."
    found = walk.Found(parent, base, name, os.stat(base, dir_fd=parent, follow_symlinks=False))
    packer = Packer(out)
    packer.add(found, name)
    if stat.S_ISDIR(found.status.st_mode):
        top = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        for one in walk.walk(top, f"{name}/"):
            packer.add(one, one.path)
        os.close(top)
    packer.close()
    os.close(parent)


COMMANDS = {
    "cp": Command(
        "cp [OPTIONS] [CONTAINER:]SRC_PATH|- [CONTAINER:]DEST_PATH|-",
        "Copy files between this machine and a container, whether that runs or not. `-` is a tar archive, read or written.",
        _copy,
        flags="""
-a, --archive        Keep owners: here the container's, in there its user
-L, --follow-link    Copy what a link at SRC_PATH leads to
-q, --quiet          Accepted; nothing is said anyway
""",
        least=2,
        most=2,
    ),
}
