"""hako-zygote: `python -I -m hakobune.cmd.zygote --socket PATH`; started by hako-containerd.

First it executes itself again through a read-only clone of the mount that holds its interpreter:
what a container could reach by /proc/<pid>/exe of a process of ours cannot be written (the answer to
CVE-2019-5736, once for each zygote instead of once for each container).
"""

from __future__ import annotations

import os
import sys

from hakobune.linux import oom_score, sealed, syscalls
from hakobune.shim import renewal, successor, title, zygote

_SEALED = "--sealed"
_ROOM = " " * 160  # so that a shim's own title fits over our arguments


def _seal() -> None:
    """exec(2) the interpreter through a detached read-only mount; from a copy where none may be made. Raises OSError."""
    try:
        program = _clone(os.path.realpath(sys.executable))
    except OSError:
        program = sealed.copy()
    arguments = [sys.executable, "-I", "-m", "hakobune.cmd.zygote", *sys.argv[1:], _SEALED, _ROOM]
    os.execve(program, arguments, dict(os.environ))


def _clone(binary: str) -> int:
    tree = syscalls.open_tree(-100, os.path.dirname(binary))
    try:
        syscalls.mount_setattr(tree, attr_set=syscalls.MOUNT_ATTR_RDONLY)
        return os.open(os.path.basename(binary), os.O_RDONLY | os.O_CLOEXEC, dir_fd=tree)
    finally:
        os.close(tree)


def _value(flag: str) -> str:
    """The word after a flag; "" without it."""
    return sys.argv[sys.argv.index(flag) + 1] if flag in sys.argv[1:-1] else ""


def main() -> None:
    """Serve at the path after `--socket`; the descriptor after `--state` holds what a zygote before us knew.

    With `--shim DESCRIPTOR` this is no zygote: a shim that is renewed without one goes on here.
    """
    path, memory, shim = _value("--socket"), int(_value("--state") or -1), int(_value(renewal.SHIM) or -1)
    if not path and shim < 0:
        sys.exit("usage: hako-zygote --socket PATH")
    if _SEALED not in sys.argv:
        _seal()
    if successor.CHECK in sys.argv:
        zygote.check(path, memory) if path else zygote.check_shim(shim)
        return
    oom_score.protect(oom_score.SHIM)  # shims inherit it, workers and containers do not
    title.remember()
    if path:
        zygote.serve(path, memory)
    else:
        zygote.resume_shim(shim, back=renewal.BACK in sys.argv)


if __name__ == "__main__":
    main()
