"""`python -m hakobune.cmd.pack (--upper DIR | --old DIR --new DIR) [--gzip] > layer.tar`: what changed, as a layer.

A process of its own, as with cmd/unpack.py. The layer goes to stdout, and then one line of JSON to stderr:
{"digest": "sha256:…"} of the uncompressed stream; or, with exit code 1, {"error": "…"}.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from typing import IO, Any

from hakobune.layers.gzipping import Gzip
from hakobune.layers.pack import Packer


class _Hashed:
    """Passes on what is written and counts it into a digest."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self._out.write(data)
        return len(data)


def main(argv: list[str] | None = None) -> int:
    """Run once; returns the exit code."""
    parser = argparse.ArgumentParser(prog="hako-pack")
    parser.add_argument("--upper", help="an overlay's upper directory")
    parser.add_argument("--old")
    parser.add_argument("--new")
    parser.add_argument("--newest", type=int, default=-1, help="latest modification time that is told")
    parser.add_argument("--gzip", action="store_true")
    args = parser.parse_args(argv)
    out: Any = sys.stdout.buffer
    if args.gzip:
        out = Gzip(out)
    hashed: Any = _Hashed(out)
    try:
        packer = Packer(hashed, args.newest)
        if args.upper:
            packer.upper(args.upper)
        elif args.old and args.new:
            packer.changes(args.old, args.new)
        packer.close()
        if args.gzip:
            out.close()
        sys.stdout.buffer.flush()
    except OSError as err:
        print(json.dumps({"error": str(err)}), file=sys.stderr)
        return 1
    print(json.dumps({"digest": f"sha256:{hashed.digest.hexdigest()}"}), file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
