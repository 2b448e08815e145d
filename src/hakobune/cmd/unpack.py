"""`python -m hakobune.cmd.unpack --target DIR < layer.tar[.gz|.bz2|.xz|.zst]`: one layer, one process.

A process of its own, so that a hostile archive meets nothing but this, and unpacking uses another core.
Prints one line of JSON: {"digest": "sha256:…", "size": N, "content": N}; digest and size are of the
uncompressed stream, content counts bytes of file data. On failure exit code 1 and
{"error": "…", "kind": "invalid" | "nospace" | "other"} on stderr.
"""

from __future__ import annotations

import argparse
import json
import sys

from hakobune.errors import HakoError, InvalidArgument, ResourceExhausted
from hakobune.layers.apply import OVERLAY, PLAIN, apply


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hako-unpack")
    parser.add_argument("--target", required=True, help="directory to unpack into")
    parser.add_argument("--whiteouts", choices=(OVERLAY, PLAIN), default=OVERLAY)
    parser.add_argument("--lower", action="append", default=[], help="layer below, top first; may repeat")
    parser.add_argument("--max-size", type=int, default=0, help="bytes of the uncompressed stream, 0: any")
    return parser


def _kind(err: Exception) -> str:
    if isinstance(err, InvalidArgument):
        return "invalid"
    return "nospace" if isinstance(err, ResourceExhausted) else "other"


def main(argv: list[str] | None = None) -> int:
    """Run once; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        done = apply(
            sys.stdin.buffer, args.target, whiteouts=args.whiteouts, lowers=args.lower, most=args.max_size
        )
    except (HakoError, OSError) as err:
        print(json.dumps({"error": str(err), "kind": _kind(err)}), file=sys.stderr)
        return 1
    print(json.dumps({"digest": done.digest, "size": done.size, "content": done.content}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
