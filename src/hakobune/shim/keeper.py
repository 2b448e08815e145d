"""The keeper: what our shim does with streams, beside a shim that is another's. One process for each such container.

It makes FIFOs for that shim, writes the log, serves the side socket, and outlives the daemons. What it cannot know by
itself is how a process ended: the engine tells that with RELEASE, and clients wait until one does. A keeper that was
killed is replaced by the engine: FIFOs stay, and what is in them too, because the shim has them open.
It ends when the container has ended and the clients have all they were owed, or when nobody can find it any more.
Imports: os; shim.side, task, wire.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hakobune.errors import NotFound
from hakobune.linux.sockets import Socket
from hakobune.shim.following import follow
from hakobune.shim.side import SideServer
from hakobune.task import worker
from hakobune.task.lifecycle import Life
from hakobune.task.loop import Loop
from hakobune.task.process import Member, Spec
from hakobune.task.stdio import Stdio, open_log
from hakobune.wire import side

DRAIN_SECONDS = 2.0  # how long output may still come when the process has ended
LOOK_SECONDS = 5.0
_LINGER_SECONDS = 0.05
_LINGER_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Order:
    """One container: where its side socket and its FIFOs are to be, where its log, and which streams init has."""

    id: str
    side: str
    directory: str
    log: str  # a URI of task.stdio; "attach:" for none
    stdin: str  # "", "attach:" or "attach:?once=1"
    terminal: bool


class Keeper:
    """Serves until `loop.run` returns."""

    def __init__(self, order: Order) -> None:
        """Make everything and listen. Raises OSError."""
        self._order = order
        self.loop = Loop()
        self.loop.on_child = _reap
        self.loop.on_terminate = lambda: None  # it ends with its container
        self._members: dict[str, Member] = {}
        self._rounds = 0
        self._side = SideServer(self.loop, self, lambda fd, fields: follow(self, fd, fields))
        self._side.verbs |= {
            side.EXPECT: self._expected,
            side.DRAIN: self._drain,
            side.RELEASE: self._release,
        }
        os.makedirs(order.directory, mode=0o700, exist_ok=True)
        self._expect("", order.log, order.stdin, terminal=order.terminal)
        for exec_id in _found(order.directory):  # of a keeper before us
            self._expect(exec_id, "attach:", "", terminal=False)
        self._side.listen(order.side)
        self.loop.later(LOOK_SECONDS, self._look)

    # --- processes ---

    @property
    def init(self) -> Member | None:
        """Of the container."""
        return self._members.get("")

    def member(self, exec_id: str = "") -> Member:
        """Raises NotFound."""
        found = self._members.get(exec_id)
        if found is None:
            raise NotFound(f"exec {exec_id!r} of container {self._order.id!r} not found")
        return found

    def follow(self, work: Callable[[Socket], None], keep: Sequence[int], sign: int) -> None:
        """See task.service."""
        _pid, channel = worker.start(work, keep)
        channel.close()
        stdio = self.member().stdio
        if stdio is None or stdio.drained:
            os.close(sign)
        else:
            stdio.followers.append(sign)

    def _expect(self, exec_id: str, output: str, stdin: str, *, terminal: bool) -> None:
        paths = [side.fifo(self._order.directory, exec_id, name) for name in ("stdin", "stdout", "stderr")]
        paths = [paths[0] if stdin else "", paths[1], "" if terminal else paths[2]]
        for path in filter(None, paths):
            with contextlib.suppress(FileExistsError):
                os.mkfifo(path, 0o600)
        spec = Spec(exec_id, terminal, stdin, output, output)
        member = Member(spec, Life("exec process" if exec_id else "container"))
        member.stdio = Stdio(
            self.loop, terminal=terminal, stdin=stdin, stdout=output, stderr=output,
            spill=self._order.directory, on_drained=lambda: self._drained(member),
        )  # fmt: skip
        member.stdio.on_input_end = lambda: self._side.tell(side.INPUT_ENDED, exec_id.encode())
        member.stdio.join(open_log(output), *paths)
        self._members[exec_id] = member

    # --- what only keepers are asked ---

    def _expected(self, _engine: Socket, fields: list[bytes], _fd: int) -> None:
        exec_id, terminal, stdin = fields
        self._expect(exec_id.decode(), "attach:", "attach:?once=1" if stdin else "", terminal=bool(terminal))

    def _drain(self, _engine: Socket, fields: list[bytes], _fd: int) -> None:
        member = self.member(fields[0].decode())
        assert member.stdio is not None
        if member.stdio.drained:
            self.loop.later(0, lambda: self._tell_drained(member))
        else:
            member.deadline = self.loop.later(DRAIN_SECONDS, member.stdio.give_up)

    def _drained(self, member: Member) -> None:
        if member.deadline is not None:
            member.deadline.cancel()
            self._tell_drained(member)

    def _tell_drained(self, member: Member) -> None:
        self._side.tell(side.DRAINED, member.exec_id.encode())

    def _release(self, _engine: Socket, fields: list[bytes], _fd: int) -> None:
        member = self.member(fields[0].decode())
        if not member.life.dead:
            member.life.exited(int(fields[1]), time.time_ns())
        self.release(member)

    def release(self, member: Member) -> None:
        """Its end is on record: its clients get theirs."""
        if member.released:
            return
        member.released = True
        assert member.stdio is not None
        member.stdio.give_up()
        member.stdio.answer()
        self._side.answer(member)
        for stream in ("stdin", "stdout", "stderr"):
            with contextlib.suppress(OSError):
                os.unlink(side.fifo(self._order.directory, member.exec_id, stream))
        if member.exec_id:
            member.stdio.close()
            del self._members[member.exec_id]
        else:
            self._linger()

    def engine_gone(self) -> None:
        """Nobody knows of an end any more, until there is one again."""

    # --- the end ---

    def _look(self) -> None:
        """Whoever takes our socket's path away needs us no more."""
        if not self._side.engine_present and not os.path.lexists(self._order.side):
            self.loop.stop()
        self.loop.later(LOOK_SECONDS, self._look)

    def _linger(self) -> None:
        self._rounds += 1
        if self._rounds < _LINGER_ROUNDS and (self._side.engine_present or not self._side.idle):
            self.loop.later(_LINGER_SECONDS, self._linger)
        else:
            self.loop.stop()

    def run(self) -> None:
        """To the end of the container; nothing of ours is left then."""
        self.loop.run()
        self._side.close()
        with contextlib.suppress(OSError):
            os.rmdir(self._order.directory)


def _found(directory: str) -> list[str]:
    """Execs whose FIFOs are there."""
    ends = [name.removesuffix("-stdout") for name in os.listdir(directory) if name.endswith("-stdout")]
    return [name for name in ends if name != "init"]


def _reap() -> None:
    """Workers end."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
