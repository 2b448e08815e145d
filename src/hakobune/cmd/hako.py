"""`hako`: the command that people type. Loads nothing that the verb at hand does not need."""

from __future__ import annotations

import sys

from hakobune.cli import app
from hakobune.cli.command import Context


def _demo(context: Context, words: list[str]) -> int:
    from hakobune.cmd.demo import run

    return run(words)


def main() -> int:
    """The entry point: returns the exit code."""
    return app.main(extra={"demo": ("The life of one container, told by real commands (root)", _demo)})


if __name__ == "__main__":
    sys.exit(main())
