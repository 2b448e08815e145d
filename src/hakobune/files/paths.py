"""A client's path in a container: cleaned as text, walked by the kernel inside the root.

`/` or `/.` at the end asks for a directory, and follows a link to one; else the last component is not followed.
"""

from __future__ import annotations

import os
import posixpath
import stat
from dataclasses import dataclass
from typing import Any

from hakobune.errors import InvalidArgument
from hakobune.layers.walk import Found
from hakobune.logs.json_file import rfc3339
from hakobune.oci.rootfs import safepath

_LINKS = 255  # as many as the client's own library follows
# Go's os.FileMode, which the API speaks: its own bits for the kind of a file, and for what chmod calls s, s and t
_GO_KINDS = {
    stat.S_IFDIR: 1 << 31, stat.S_IFLNK: 1 << 27, stat.S_IFBLK: 1 << 26, stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25, stat.S_IFSOCK: 1 << 24,
}  # fmt: skip
_GO_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


@dataclass(frozen=True, slots=True)
class Located:
    """`clean` is the path without its end, `base` the name that an archive of it begins with."""

    found: Found
    clean: str
    base: str


def cleaned(path: str) -> tuple[str, bool]:
    """(absolute path without `.` and `..`, whether a directory is asked for). Raises InvalidArgument."""
    if not path or "\0" in path:
        raise InvalidArgument("Path cannot be empty" if not path else f"invalid path: {path!r}")
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return clean, path.endswith(("/", "/.")) or path == "."


def locate(root: int, path: str) -> Located:
    """The file that is meant; `found.parent` stays open. Raises OSError (as lstat does), InvalidArgument."""
    clean, directory = cleaned(path)
    if clean == "/" or directory:
        fd = safepath.open_path(root, clean, os.O_RDONLY | os.O_DIRECTORY)
        base = (
            "/"
            if clean == "/"
            else ("." if path.endswith("/.") or path == "." else posixpath.basename(clean))
        )
        return Located(Found(fd, ".", base, os.fstat(fd)), clean, base)
    above, name = posixpath.split(clean)
    parent = safepath.open_path(root, above, os.O_PATH | os.O_DIRECTORY)
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    return Located(Found(parent, name, name, status), clean, name)


def describe(root: int, located: Located) -> dict[str, Any]:
    """The document of the header X-Docker-Container-Path-Stat."""
    status = located.found.status
    target = followed(root, located.clean) if stat.S_ISLNK(status.st_mode) else ""
    return {
        "name": posixpath.basename(located.clean) or "/",
        "size": status.st_size,
        "mode": go_mode(status.st_mode),
        "mtime": rfc3339(status.st_mtime_ns),
        "linkTarget": target,
    }


def go_mode(mode: int) -> int:
    """A mode of stat(2) in Go's bits."""
    bits = sum(go for bit, go in _GO_BITS.items() if mode & bit)
    return (mode & 0o777) | bits | _GO_KINDS.get(stat.S_IFMT(mode), 0)


def followed(root: int, path: str) -> str:
    """Where a path leads, as a path inside: as far as its links go, also when what they lead to is not there.

    Told to the client, who asks again with it; nothing is opened by it. Raises InvalidArgument for a circle.
    """
    left = [part for part in reversed(path.split("/")) if part]
    done: list[str] = []
    links = 0
    while left:
        part = left.pop()
        if part in (".", ".."):
            del done[len(done) - (part == "..") :]
            continue
        link = _link(root, "/".join([*done, part]))
        if link is None:
            done.append(part)
            continue
        links += 1
        if links > _LINKS:
            raise InvalidArgument(f"too many links in {path}")
        if link.startswith("/"):
            done.clear()
        left += [one for one in reversed(link.split("/")) if one]
    return "/" + "/".join(done)


def _link(root: int, path: str) -> str | None:
    """What the link at `path` says; None when it is none."""
    try:
        fd = safepath.open_path(root, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return os.readlink("", dir_fd=fd)
    except OSError:
        return None
    finally:
        os.close(fd)
