"""The runtime of a name, and what is owed to a bundle whose shim has gone. Imports: task.builtin, task.external."""

from __future__ import annotations

from collections.abc import Sequence

from hakobune.task.builtin import Builtin
from hakobune.task.external import External, recorded
from hakobune.task.runtime import GONE, Program, Runtime


def of(program: Program) -> Runtime:
    """Built in, or a program."""
    return External(program) if program.name else Builtin()


def after(container_id: str, bundle: str) -> Sequence[str]:
    """The container of a bundle has ended without its shim: see Runtime.after."""
    return of(recorded(bundle) or Program()).after(GONE, container_id, bundle)
