"""The suite for task.runtime's Protocol: what a shim counts on, whatever makes the container's processes.

`Held` is a container in the hands of a stand-in for the shim: it forks the workers, listens to what they say,
reaps and cleans up. `CHECKS` are functions of a `Make`; each holds for the runtime that is built in and for any
program with runc's command line. Root is needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import HakoError, Internal, InvalidArgument
from hakobune.linux import sockets, syscalls
from hakobune.linux.sockets import Socket
from hakobune.oci.init import messages
from hakobune.oci.init.child import Streams
from hakobune.task import runtimes, worker
from hakobune.task.runtime import GONE, STARTED, Creation, Program, Running, Runtime
from hakobune.testing.bundle import Bundle

SECONDS = 20.0
Make = Callable[..., "Held"]


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """What programs have made comes to us when they end, as to a shim."""
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 0)


@dataclass
class _Told:
    """What a worker has said of a process that it makes."""

    pid: int = 0
    cgroup: str = ""
    ready: bool = False


class Held:
    """One container of `bundle`; `output` is what it and its execs have written."""

    def __init__(self, bundle: Bundle, program: Program) -> None:
        self.bundle = bundle
        self.program = program
        self.runtime: Runtime = runtimes.of(program)
        self.pid = 0
        self._far: Socket | None = None
        self._pidfd = -1
        self._out = bundle.path / "output"

    @property
    def output(self) -> str:
        """All of it, by now."""
        return self._out.read_text() if self._out.exists() else ""

    @property
    def cgroup(self) -> Cgroup:
        """Where its config has put it."""
        return Cgroup.find(self.bundle.cgroup)

    def create(self) -> None:
        """Init is made, and waits. Raises the HakoError that was told; then nothing is left."""
        creation = Creation(self.bundle.id, str(self.bundle.path), self.bundle.mounts, self.program)
        with self._streams() as streams:
            self._far, told = self._work(
                lambda near: self.runtime.create(creation, near, streams, lambda: None), streams
            )
        self.pid = told.pid
        self._pidfd = os.pidfd_open(told.pid)

    def start(self) -> None:
        """Let init run. Raises the HakoError of an exec(2) that failed."""
        assert self._far is not None
        if self.runtime.gated:
            self._far.send(messages.START)
            self._hear_end(self._far)
            self.runtime.after(STARTED, self.bundle.id, str(self.bundle.path))
        else:
            pid, far = worker.start(lambda _near: self.runtime.start(self._running()))
            self._hear_end(far)
            _reap(pid)

    def exec(self, *args: str, **fields: Any) -> int:
        """One more process; its exit status (128 and more: a signal). Raises the HakoError that was told."""
        process = {**self.bundle.config()["process"], "args": list(args), **fields}
        with self._streams() as streams:

            def go(far: Socket) -> None:
                sockets.send(far, messages.START, streams.stdin, streams.stdout, streams.stderr)

            far, told = self._work(
                lambda near: self.runtime.exec(self._running(), json.dumps(process).encode(), near, lambda: None),
                streams, go,
            )  # fmt: skip
            far.close()
        return _reap(told.pid)

    def update(self, resources: Mapping[str, Any]) -> None:
        """New limits. Raises the HakoError that was told."""
        pid, far = worker.start(
            lambda _near: self.runtime.update(self._running(), json.dumps(resources).encode())
        )
        self._hear_end(far)
        _reap(pid)

    def wait(self) -> int:
        """Init's exit status; it has to end by itself. Raises TimeoutError."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if not poll.poll(SECONDS * 1000):
            raise TimeoutError(f"container {self.bundle.id} did not end")
        return _reap(self.pid)

    def remove(self) -> Sequence[str]:
        """End it and whatever is in its group, as a shim does; the lines of `after`."""
        if self._far is not None:
            self._far.close()
        self.cgroup.kill()
        if self.pid:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
        said = self.runtime.after(GONE, self.bundle.id, str(self.bundle.path))
        self.cgroup.delete(SECONDS, remove_empty_parents=True)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._far, self._pidfd, self.pid = None, -1, 0
        return said

    def _running(self) -> Running:
        return Running(self.bundle.id, str(self.bundle.path), self.cgroup, self.pid, self._pidfd)

    @contextlib.contextmanager
    def _streams(self) -> Iterator[Streams]:
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        out = os.open(self._out, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            yield Streams(null, out, out)
        finally:
            os.close(null)
            os.close(out)

    def _work(
        self, work: Callable[[Socket], None], streams: Streams, go: Callable[[Socket], None] | None = None
    ) -> tuple[Socket, _Told]:
        keep = [streams.stdin, streams.stdout, *([self._pidfd] if self._pidfd >= 0 else [])]
        pid, far = worker.start(work, keep)
        told = _Told()
        try:
            if go is not None:
                go(far)
            while not told.ready or not told.pid:
                self._hear(far, told)
        except BaseException:
            far.close()
            raise
        finally:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        return far, told

    def _hear(self, far: Socket, told: _Told) -> None:
        packet = _packet(far)
        kind = packet[:1]
        if kind == messages.PID:
            told.pid = int(packet[1:])
        elif kind == messages.READY:
            told.ready = True
        elif kind == messages.CGROUP:
            told.cgroup = packet[1:].decode().partition("\n")[0]
        elif kind == messages.FAILED:
            raise messages.failure(packet)
        else:
            raise Internal("a worker has ended without a word")

    def _hear_end(self, far: Socket) -> None:
        packet = _packet(far)
        far.close()
        if packet[:1] == messages.FAILED:
            raise messages.failure(packet)


def _packet(far: Socket) -> bytes:
    poll = select.poll()
    poll.register(far.fileno(), select.POLLIN)
    if not poll.poll(SECONDS * 1000):
        raise TimeoutError("a worker does not answer")
    return sockets.receive(far, messages.MAX_MESSAGE)[0]


def _reap(pid: int) -> int:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


def _until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not ready():
        assert time.monotonic() < end
        select.poll().poll(5)


def _directories(held: Held) -> list[str]:
    return [path for path in held.cgroup.directories() if os.path.exists(path)]


# --- checks ---------------------------------------------------------------------------------------


def _its_life(make: Make) -> None:
    """Nothing runs before start; the host's mounts stay as they are; the exit code is the program's."""
    before = Path("/proc/self/mountinfo").read_text()
    held = make("sh", "-c", "echo out; echo err >&2; exit 3")
    held.create()
    assert (held.output, _directories(held) != []) == ("", True)
    assert Path("/proc/self/mountinfo").read_text() == before
    held.start()
    assert held.wait() == 3
    assert held.output == "out\nerr\n"
    held.remove()
    assert _directories(held) == []
    assert Path("/proc/self/mountinfo").read_text() == before


def _is_child_of_ours(make: Make) -> None:
    """So that its end is known at once."""
    held = make("sleep", "60")
    held.create()
    held.start()
    fields = Path(f"/proc/{held.pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[1]) == os.getpid()
    held.cgroup.kill()
    assert held.wait() == 137


def _created_and_never_started(make: Make) -> None:
    held = make("sh", "-c", "echo ran")
    held.create()
    held.remove()
    assert (held.output, _directories(held)) == ("", [])


def _execs(make: Make) -> None:
    held = make("sleep", "60")
    held.create()
    held.start()
    assert (
        held.exec("sh", "-c", "echo $X in $PWD; exit 4", env=["PATH=/bin:/usr/bin", "X=y"], cwd="/tmp") == 4
    )
    assert held.output == "y in /tmp\n"
    assert held.exec("sh", "-c", "kill -TERM $$") == 143
    assert held.exec("true") == 0


def _an_exec_that_is_not_there(make: Make) -> None:
    held = make("sleep", "60")
    held.create()
    held.start()
    _refused(lambda: held.exec("nope"), "executable file not found in $PATH")
    assert held.exec("true") == 0


def _a_command_that_is_not_there(make: Make) -> None:
    """Told at creation or at start, in the words that Docker's clients look for; nothing is left."""
    held = make("nope")

    def both() -> None:
        held.create()
        held.start()

    _refused(both, "executable file not found in $PATH")
    held.remove()
    assert _directories(held) == []


def _a_config_that_is_none(make: Make) -> None:
    held = make("true")
    (held.bundle.path / "config.json").write_text("{")
    _refused(held.create, "")
    assert not list(Path("/sys/fs/cgroup").glob(f"*/hakotest-{os.getpid()}/{held.bundle.id}"))


def _new_limits(make: Make) -> None:
    held = make("sleep", "60", resources={"pids": {"limit": 50}})
    held.create()
    held.start()
    assert held.cgroup.stats()["pids"]["limit"] == 50
    held.update({"pids": {"limit": 60}})
    assert held.cgroup.stats()["pids"]["limit"] == 60


def _everyone_ends(make: Make) -> None:
    """What outlives init outside a pid namespace of its own ends with the group."""
    held = make("sh", "-c", "sleep 60 & exit 0")
    held.bundle.edit(linux={"namespaces": [{"type": kind} for kind in ("mount", "ipc", "uts")]})
    held.create()
    held.start()
    assert held.wait() == 0
    left = held.cgroup.pids()
    assert len(left) == 1
    held.remove()
    assert not os.path.exists(f"/proc/{left[0]}")
    assert _directories(held) == []


def _hooks_of_the_end(make: Make) -> None:
    """poststop once, when the container has gone, with its state on standard input."""
    held = make("true")
    told = held.bundle.path / "told"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat >>{told}; echo >>{told}"]}
    held.bundle.edit(hooks={"poststop": [hook]})
    held.create()
    held.start()
    held.wait()
    assert held.runtime.owes(GONE, str(held.bundle.path))
    assert not told.exists()
    assert list(held.remove()) == []
    lines = told.read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [held.bundle.id]
    held.remove()
    assert told.read_text().splitlines() == lines


def _refused(work: Callable[[], object], text: str) -> None:
    said: HakoError | None = None
    try:
        work()
    except HakoError as err:
        said = err
    assert said is not None, "was not refused"
    assert text in str(said), str(said)
    assert not text or isinstance(said, InvalidArgument), repr(said)


CHECKS: dict[str, Callable[[Make], None]] = {
    check.__name__.strip("_"): check
    for check in (_its_life, _is_child_of_ours, _created_and_never_started, _execs, _an_exec_that_is_not_there,
                  _a_command_that_is_not_there, _a_config_that_is_none, _new_limits, _everyone_ends, _hooks_of_the_end)
}  # fmt: skip
