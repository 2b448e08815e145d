"""`python -m hakobune.cmd.verify DIRECTORY < layer`: whether a directory is what the layer unpacks to.

A process of its own, as with cmd/unpack.py. Prints a JSON list of sentences about what differs, at most
layers/verify.MOST of them; with exit code 1 one line of JSON on stderr: {"error": "…"}.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import islice

from hakobune.errors import HakoError
from hakobune.layers.verify import MOST, differences


def main() -> int:
    """Run once; returns the exit code."""
    try:
        directory = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        print(json.dumps(list(islice(differences(sys.stdin.buffer, directory), MOST))))
    except (HakoError, OSError) as err:
        print(json.dumps({"error": str(err)}), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
