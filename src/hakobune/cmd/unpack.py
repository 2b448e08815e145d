"""`python -m hakobune.cmd.unpack --target DIR < layer.tar[.gz|.bz2|.xz|.zst]`: one layer, one process.

A process of its own, so that a hostile archive meets nothing but this, and unpacking uses another core.
With --growing FD the file on stdin is still being written: lines on FD say how many bytes are good, "end" that all are.
With --lowers FD the layers below are told on FD, when they are known: a directory's path a line, top first, then "end".
Prints one line of JSON: {"digest": "sha256:…", "size": N, "content": N}; digest and size are of the
uncompressed stream, content counts bytes of file data. On failure exit code 1 and
{"error": "…", "kind": "invalid" | "nospace" | "other"} on stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from io import RawIOBase
from typing import BinaryIO, cast

from hakobune.errors import HakoError, InvalidArgument, ResourceExhausted
from hakobune.layers.apply import OVERLAY, PLAIN, apply


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hako-unpack")
    parser.add_argument("--target", required=True, help="directory to unpack into")
    parser.add_argument("--whiteouts", choices=(OVERLAY, PLAIN), default=OVERLAY)
    parser.add_argument("--lowers", type=int, default=-1, help="descriptor that tells the layers below")
    parser.add_argument("--growing", type=int, default=-1, help="descriptor that tells how far the file is")
    parser.add_argument("--max-size", type=int, default=0, help="bytes of the uncompressed stream, 0: any")
    return parser


def _kind(err: Exception) -> str:
    if isinstance(err, InvalidArgument):
        return "invalid"
    return "nospace" if isinstance(err, ResourceExhausted) else "other"


def _source(growing: int) -> BinaryIO:
    return sys.stdin.buffer if growing < 0 else cast("BinaryIO", Growing(0, open(growing, "rb", buffering=0)))


class Growing:
    """A file that is read while it is written, no further than lines on a pipe say: an offset each, "end" for all of it."""

    def __init__(self, file: int, lines: RawIOBase) -> None:
        self._file = file
        self._lines = lines
        self._pending = b""
        self._at = 0
        self._good = 0
        self._whole = False

    def read(self, most: int) -> bytes:
        """1 to `most` bytes, none at the end. Raises InvalidArgument when the writer gives up, OSError."""
        while not self._whole and self._at >= self._good:
            self._listen()
        data = os.read(self._file, most if self._whole else min(most, self._good - self._at))
        self._at += len(data)
        return data

    def _listen(self) -> None:
        said = self._lines.read(4096)
        if not said:
            raise InvalidArgument("the layer did not come to its end")
        *lines, self._pending = (self._pending + said).split(b"\n")
        if lines and lines[-1] == b"end":
            self._whole = True
        elif lines:
            self._good = int(lines[-1])


def _lowers(told: int) -> list[str]:
    if told < 0:
        return []
    with open(told, encoding="utf-8", errors="surrogateescape") as file:
        *found, end = file.read().split("\n")[:-1] or [""]
    if end != "end":
        raise InvalidArgument("the layers below did not come to their end")
    return found


def main(argv: list[str] | None = None) -> int:
    """Run once; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        done = apply(
            _source(args.growing),
            args.target,
            whiteouts=args.whiteouts,
            lowers=lambda: _lowers(args.lowers),
            most=args.max_size,
        )
    except (HakoError, OSError) as err:
        print(json.dumps({"error": str(err), "kind": _kind(err)}), file=sys.stderr)
        return 1
    print(json.dumps({"digest": done.digest, "size": done.size, "content": done.content}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
