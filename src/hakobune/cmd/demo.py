"""`hako demo`: wires a private engine, and its peers, to the story of one container."""

from __future__ import annotations

import os
import sys

from hakobune.cli.demo.story import tell
from hakobune.testing import peers
from hakobune.testing.engine import PrivateEngine

_HELP = """Usage:  hako demo

Tell the life of one container with real commands on a private engine in a temporary directory: an image made
of this machine's files, a run, an end with orphans, volumes, a crash of both daemons, and the times it took.
Ends with 0 when every claim was so. Leaves nothing behind, also when interrupted. Needs root."""


def run(words: list[str]) -> int:
    """Play the story; returns the exit code."""
    if words:
        print(_HELP)
        return 0 if words in (["--help"], ["-h"]) else 125
    if os.geteuid() != 0:
        print("hako demo: needs root (namespaces, mounts, network links)", file=sys.stderr)
        return 1
    hako = [sys.executable, "-I", "-m", "hakobune.cmd.hako"]
    return tell(PrivateEngine(), hako, [peers.dockerd(), peers.podman()])
