"""`hako`: global options, then a verb; failures become one sentence and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping

from hakobune.version import VERSION

from .command import Context
from .failure import Failure
from .flags import BadFlags, Parser, read_table
from .verbs import find, overview

_GLOBAL = """
-H, --host string        The engine
-v, --version            Print the version and end
-D, --debug              Accepted, does nothing
-l, --log-level string   Accepted, does nothing
    --config string      Accepted, does nothing
    --help               Show help
"""
_INTERRUPTED = 130
Extra = Mapping[str, tuple[str, Callable[[Context, list[str]], int]]]


def main(argv: list[str] | None = None, extra: Extra | None = None) -> int:
    """Run one command line and return the exit code.

    `extra` are verbs that the program itself adds: name to (line for the help, function of context and words).
    """
    try:
        code = _run(sys.argv[1:] if argv is None else argv, extra or {})
        sys.stdout.flush()
    except Failure as err:
        code = _tell(err)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has enough; the interpreter must not try to flush once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 141
    return code


def _tell(err: Failure) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if str(err):
        sys.stderr.write(f"{err}\n")
    return err.code


def _run(words: list[str], extra: Extra) -> int:
    try:
        options, rest = Parser(read_table(_GLOBAL), interspersed=False).parse(words)
    except BadFlags as err:
        raise Failure(
            f"{err}\n\nUsage:  hako [OPTIONS] COMMAND [ARG...]\n\nRun 'hako --help' for more information",
            err.code,
        ) from err
    more = {name: about for name, (about, _) in extra.items()}
    if options.on("version"):
        sys.stdout.write(f"Hakobune version {VERSION}\n")
        return 0
    if not rest or options.on("help") or rest == ["help"]:
        sys.stdout.write(overview(more) + "\n")
        return 0
    context = Context(options.text("host"))
    if rest[0] == "help":
        rest = [*rest[1:], "--help"]
    if rest[0] in extra:
        return extra[rest[0]][1](context, rest[1:])
    command, arguments, page = find(rest)
    if command is None:
        sys.stdout.write(page + "\n")
        return 0
    return command.execute(context, arguments)
