"""What a program hands to the one that it becomes by exec(2): a memfd with text, and descriptors that stay open.

Source: man 2 memfd_create, man 2 execve. Imports: os, json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any


def write(document: dict[str, Any]) -> int:
    """A memfd (close-on-exec) that holds the document as JSON. Raises OSError."""
    memory = os.memfd_create("hakobune", os.MFD_CLOEXEC)
    view = memoryview(json.dumps(document).encode())
    while view:
        view = view[os.write(memory, view) :]
    return memory


def read(memory: int) -> dict[str, Any]:
    """What is in the memfd. Raises ValueError, OSError."""
    document: dict[str, Any] = json.loads(os.pread(memory, os.fstat(memory).st_size, 0))
    return document


def keep(fds: Iterable[int], kept: bool) -> None:
    """Whether the next program gets them, by the same numbers. Raises OSError."""
    for fd in fds:
        os.set_inheritable(fd, kept)
