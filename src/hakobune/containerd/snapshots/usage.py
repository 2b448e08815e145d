"""What a tree of files takes on the disk. Imports: os."""

from __future__ import annotations

import contextlib
import os


def disk_usage(directory: str) -> tuple[int, int]:
    """(bytes on the disk, inodes) of a tree; hard links count once. Blocks."""
    size = 0
    seen: set[tuple[int, int]] = set()
    todo = [directory]
    while todo:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        found = entry.stat(follow_symlinks=False)
                        if (found.st_dev, found.st_ino) not in seen:
                            seen.add((found.st_dev, found.st_ino))
                            size += found.st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            todo.append(entry.path)
    return size, len(seen) + 1
