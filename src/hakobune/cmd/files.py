"""`python -m hakobune.cmd.files VERB VIEW [PATH] [OWNER] [keep]`: a container's files, for hakod.

VIEW is files/view.py's JSON. Verbs, and what goes to stdout:
  export                 everything as a tar archive
  stat PATH              one line of JSON
  read PATH              that line, then a tar archive
  write PATH OWNER KEEP  stdin is a tar archive; OWNER is `uid:gid` or empty, KEEP is `keep` or empty
  changes UPPER          one line of JSON for each change: [path, kind]; the view shows what is below
With exit code 1 the last line on stderr is {"kind": a class of errors.py, "error": "…"}.
"""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import sys

from hakobune.errors import HakoError
from hakobune.files import paths, reading, writing
from hakobune.files.view import View, enter, parse
from hakobune.linux.syscalls import PR_SET_PDEATHSIG, prctl

_BUFFER = 1 << 18
_KINDS = {
    errno.ENOENT: "NotFound", errno.ENOTDIR: "NotFound", errno.ENOSPC: "ResourceExhausted",
    errno.EDQUOT: "ResourceExhausted", errno.EROFS: "InvalidArgument",
}  # fmt: skip


def main() -> int:
    """Run once; returns the exit code."""
    verb, view, *rest = sys.argv[1:]
    # when an engine is killed, nobody goes on writing to what the next one starts
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        _run(verb, parse(view), rest)
        sys.stdout.buffer.flush()
    except HakoError as err:
        return _fail(type(err).__name__, str(err))
    except BrokenPipeError:
        return _fail("Cancelled", "nobody reads any more")
    except OSError as err:
        name = f"{err.filename}: " if err.filename else ""
        return _fail(_KINDS.get(err.errno or 0, "Internal"), f"{name}{(err.strerror or str(err)).lower()}")
    return 0


def _run(verb: str, view: View, rest: list[str]) -> None:
    out = io.BufferedWriter(io.FileIO(1, "wb", closefd=False), _BUFFER)
    if verb == "changes":
        _changes(view, rest[0])
        return
    root = enter(view)
    if verb == "export":
        out.write(b"{}\n")
        out.flush()
        reading.pack_root(root, out)
        out.flush()
        return
    if verb == "write":
        path, owner, keep = rest
        pair = owner.split(":")
        manner = writing.Manner((int(pair[0]), int(pair[1])) if owner else None, keep == "keep")
        writing.unpack(root, view.at, path, sys.stdin.buffer, view.volumes, manner)
        return
    located = paths.locate(root, rest[0])
    out.write(json.dumps(paths.describe(root, located)).encode() + b"\n")
    out.flush()
    if verb == "read":
        reading.pack_path(located, out)
        out.flush()


def _changes(view: View, upper: str) -> None:
    lower = enter(view) if view.mounts else -1
    directory = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for path, kind in reading.changes(directory, lower):
        sys.stdout.write(json.dumps([path, kind]) + "\n")
    sys.stdout.flush()


def _fail(kind: str, text: str) -> int:
    sys.stderr.write(json.dumps({"kind": kind, "error": text}) + "\n")
    return 1


if __name__ == "__main__":
    code = main()
    sys.stdout = sys.stderr  # what was left unsaid for want of a reader is not tried again
    os._exit(code)
