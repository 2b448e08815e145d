"""What a file is filled with: bytes, holes between them, extended attributes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from hakobune.errors import InvalidArgument
from hakobune.layers import tar

# overlayfs's own, with which an image could reach into other layers
_PRIVATE_XATTRS = ("trusted.overlay.", "user.overlay.")


def write_all(fd: int, data: bytes) -> None:
    """Where the descriptor is. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_sparse(fd: int, entry: tar.Entry, data: Iterator[bytes]) -> None:
    """Pieces at their offsets; what lies between stays a hole. Raises InvalidArgument when data are missing, OSError."""
    pending = memoryview(b"")
    for offset, length in entry.segments or ():
        os.lseek(fd, offset, os.SEEK_SET)
        while length:
            if not pending:
                pending = memoryview(next(data, b""))
                if not pending:
                    raise InvalidArgument(f"tar archive: {entry.name!r} has too little data")
            part, pending = pending[:length], pending[length:]
            write_all(fd, bytes(part))
            length -= len(part)
    os.ftruncate(fd, entry.size)


def set_xattrs(target: int | str, xattrs: dict[str, bytes]) -> None:
    """On a descriptor, or on a path that is not followed; what the file system does not take is left out. Raises OSError,
    InvalidArgument."""
    for name, value in xattrs.items():
        if name.startswith(_PRIVATE_XATTRS):
            continue
        if "\0" in name:
            raise InvalidArgument(f"tar archive: attribute name {name!r} holds a NUL")
        try:
            if isinstance(target, int):
                os.setxattr(target, name, value)
            else:
                os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as err:
            if err.errno not in (errno.ENOTSUP, errno.EPERM):
                raise
