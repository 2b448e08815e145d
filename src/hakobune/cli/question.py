"""Asking before something is thrown away."""

from __future__ import annotations

import sys

from .command import Context


def sure(context: Context, warning: str) -> bool:
    """Show what would happen and ask; anything but y is no. No is also what an empty input says."""
    sys.stdout.write(f"{warning}\nAre you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
