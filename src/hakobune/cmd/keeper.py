"""hako-keeper: `python -I -m hakobune.cmd.keeper ID SIDE DIRECTORY LOG STDIN TERMINAL`; started by hakod.

Prints an empty line as soon as the FIFOs are there and the side socket listens. It is nobody's child then: what
hakod starts it with kills its children when it is tidied up, and a keeper outlives every hakod. See shim/keeper.py.
"""

from __future__ import annotations

import os
import sys

from hakobune.linux import oom_score
from hakobune.shim.keeper import Keeper, Order


def main() -> None:
    """Serve one container."""
    if len(sys.argv) != 7:
        sys.exit("usage: hako-keeper ID SIDE DIRECTORY LOG STDIN TERMINAL")
    if os.fork():
        os._exit(0)
    container_id, side, directory, log, stdin, terminal = sys.argv[1:]
    oom_score.protect(oom_score.SHIM)
    os.umask(0o077)
    keeper = Keeper(Order(container_id, side, directory, log, stdin, bool(terminal)))
    sys.stdout.write("\n")
    sys.stdout.flush()
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 1)
    os.close(null)
    keeper.run()


if __name__ == "__main__":
    main()
