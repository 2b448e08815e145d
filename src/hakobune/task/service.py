"""The task service: one container's init and execs, from Create to Delete.

Speaks plain values; `shim/rpc.py` translates from and to ttrpc, `shim/side.py` hands in clients'
connections. It never blocks: what takes time is done by a worker and comes back over its channel.

The order at the end of a process is the promise of the whole engine:
  1. reaped, and for init everything else in the container killed;
  2. the exit status is on disk (init);
  3. its output is read to the end, and every exec's exit is told before init's;
  4. the exit is published and the RPC waiters are answered;
  5. when the engine says that it knows (RELEASE), or there is none, clients' connections are answered.
Imports: os, time, oci, cgroups, task.*.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from hakobune.cgroups import metrics
from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import AlreadyExists, FailedPrecondition, HakoError, Internal, InvalidArgument, NotFound
from hakobune.failpoint import reach
from hakobune.linux import pidfd, sockets
from hakobune.linux import syscalls as sys
from hakobune.linux.sockets import Socket
from hakobune.oci.init import messages
from hakobune.oci.init.child import Streams
from hakobune.spec.mount import Mount
from hakobune.task import oom, runtimes, worker
from hakobune.task.ahead import Ahead
from hakobune.task.exec_workers import ExecWorkers
from hakobune.task.lifecycle import Event, Life, exit_status
from hakobune.task.loop import IN, Loop, Timer, complain
from hakobune.task.luggage import Luggage, Packed, data, text
from hakobune.task.process import Member, Reply, Spec
from hakobune.task.runtime import GONE, STARTED, Creation, Program, Running, Runtime
from hakobune.task.stdio import Log, Stdio, open_log

DRAIN_SECONDS = 2.0  # how long output may still come from a pipe whose processes are all dead
RELEASE_SECONDS = 5.0  # how long an engine may take to record an exit before clients are answered anyway

MOST_LINES = 0xFFFF  # struct winsize has 16 bits for rows and for columns

SIGKILL = 9
NEVER_RAN = 255  # the exit status of a process that could not be made


class Observer(Protocol):
    """Who is told. `event` publishes; `exited` says that clients of a process may be answered."""

    def event(self, topic: str, member: Member) -> None: ...
    def engine_present(self) -> bool: ...
    def answer(self, member: Member) -> None: ...


class Service:
    """Owns the processes of one container. All methods run in the loop's thread."""

    def __init__(self, loop: Loop, container_id: str, bundle: str, observer: Observer) -> None:
        self.id = container_id
        self.bundle = bundle
        self.rootfs: Sequence[Mount] = ()
        self.side_path = ""
        self.namespace = ""  # containerd's
        self.cgroup: Cgroup | None = None
        self.oom: oom.Watch | None = None
        self.ahead: Ahead | None = None  # a worker for the creation
        self.program = Program()  # the runtime of this container
        self.limit = 0  # seconds that the container may run, 0 for ever
        self.expires: Timer | None = None  # its end by that limit, once it runs
        self._loop = loop
        self._observer = observer
        self._members: dict[str, Member] = {}
        self._by_pid: dict[int, Member] = {}
        self._workers: dict[int, Callable[[int], None]] = {}
        self.execs = ExecWorkers(loop, self, self._worker_ended)
        self._early: dict[int, tuple[int, int]] = {}  # exits of pids that no worker has told yet
        self.on_side_path: Callable[[str], None] = lambda _path: None
        self.children = (
            -1
        )  # whose ends are collected: all of this process, or 0 for those in its process group
        loop.on_child = self.reap

    # --- to another process and back ---

    @property
    def movable(self) -> bool:
        """Whether all that there is can be packed: nothing is being made, nothing is ending."""
        init = self.init
        return (
            init is not None
            and init.life.state in ("created", "running", "paused")
            and not self._workers
            and all(member.settled for member in self._members.values())
        )

    def drop_workers_ahead(self) -> None:
        """What was begun for execs that are not started yet is begun again when they are."""
        self.execs.drop_spare()
        for member in self._members.values():
            self.execs.drop(member)

    def pack(self, luggage: Luggage) -> Packed:
        """All of it, for another process, when it is `movable`."""
        return {
            "side_path": self.side_path, "program": self.program.pack(), "cgroup": self.cgroup.path if self.cgroup is not None else "",
            "oom_seen": self.oom.seen if self.oom is not None else 0, "limit": self.limit,
            "expires": self._loop.left(self.expires),
            "members": [self._pack_member(member, luggage) for member in self._members.values()],
        }  # fmt: skip

    def _pack_member(self, member: Member, luggage: Luggage) -> Packed:
        assert member.stdio is not None
        spec, life = member.spec, member.life
        channel = member.channel.fileno() if member.channel is not None else -1
        return {
            "spec": [spec.exec_id, spec.terminal, spec.stdin, spec.stdout, spec.stderr, text(spec.process)],
            "kind": life.kind, "state": life.state, "pid": life.pid, "exit_status": life.exit_status,
            "exited_at": life.exited_at, "ready": member.ready, "told": member.told,
            "released": member.released, "worker": member.worker, "pidfd": luggage.pack(member.pidfd),
            "channel": luggage.pack(channel), "deadline": self._loop.left(member.deadline),
            "stdio": member.stdio.pack(luggage),
        }  # fmt: skip

    def unpack(self, packed: Packed, luggage: Luggage) -> None:
        """Go on where another process stood; `self` is new. What we have not made ends by its pidfd."""
        self.side_path, self.limit = packed["side_path"], packed["limit"]
        self.program = Program(*packed.get("program", ()))
        for one in packed["members"]:
            self._unpack_member(one, luggage)
        if packed["cgroup"]:
            self.cgroup = Cgroup.find(packed["cgroup"])
            self.oom = oom.Watch(self._loop, self.cgroup, self._out_of_memory, packed["oom_seen"])
        if packed["expires"] is not None:
            self.expires = self._loop.later(packed["expires"], self._expire)
        self._loop.later(0, self.reap)  # who has ended while nobody listened for SIGCHLD

    def _unpack_member(self, packed: Packed, luggage: Luggage) -> None:
        exec_id, terminal, stdin, stdout, stderr, process = packed["spec"]
        spec = Spec(exec_id, terminal, stdin, stdout, stderr, data(process))
        member = self._add(spec, packed["kind"], None)
        life = member.life
        life.state, life.pid = packed["state"], packed["pid"]
        life.exit_status, life.exited_at = packed["exit_status"], packed["exited_at"]
        member.ready, member.told, member.released = packed["ready"], packed["told"], packed["released"]
        member.worker, member.worker_ended = packed["worker"], packed["worker"] != 0
        member.pidfd = luggage.take(packed["pidfd"])
        assert member.stdio is not None
        member.stdio.unpack(packed["stdio"], luggage)
        if packed["channel"] >= 0:
            self._listen(member, sockets.adopt(luggage.take(packed["channel"]), sockets.SEQPACKET))
        if packed["deadline"] is not None:
            self.deadline(member, packed["deadline"])
        if life.pid and not life.dead:
            self._by_pid[life.pid] = member
            self._loop.watch(member.pidfd, IN, lambda _events: self._adopted_ended(member))

    def deadline(self, member: Member, seconds: float) -> None:
        """Until its clients are answered without an engine."""
        member.deadline = self._loop.later(seconds, lambda: self.release(member))

    def _adopted_ended(self, member: Member) -> None:
        """Somebody else reaps what another process of this shim has made; or we did, just now."""
        pid = member.life.pid
        if self._by_pid.get(pid) is not member:
            self._loop.unwatch(member.pidfd)
            return
        status = pidfd.wait_status(member.pidfd, pid)
        if status is not None:
            self._loop.unwatch(member.pidfd)
            del self._by_pid[pid]
            self._exited(member, status, time.time_ns())

    # --- looking up ---

    def member(self, exec_id: str = "") -> Member:
        """The init ("") or an exec. Raises NotFound."""
        found = self._members.get(exec_id)
        if found is None:
            what = f"exec {exec_id!r}" if exec_id else "task"
            raise NotFound(f"{what} of container {self.id!r} not found")
        return found

    @property
    def init(self) -> Member | None:
        """The init process, once it was asked for."""
        return self._members.get("")

    @property
    def members(self) -> Sequence[Member]:
        """Init and the execs."""
        return tuple(self._members.values())

    def pids(self) -> list[int]:
        """All processes in the container's cgroup; our workers on their way into it are none of its own."""
        return (
            [pid for pid in self.cgroup.pids() if pid not in self._workers] if self.cgroup is not None else []
        )

    # --- create and exec ---

    def create(self, spec: Spec, rootfs: Sequence[Mount], program: Program, reply: Reply) -> None:
        """Make the init process; answered with its pid when it waits for Start."""
        if "" in self._members:
            raise AlreadyExists(f"task {self.id!r} already exists")
        self.rootfs, self.program = rootfs, program
        member = self._add(spec, "container", reply)

        self._launch(member, Creation(self.id, self.bundle, rootfs, program), open_log(spec.stdout))
        reach("shim.create.launched")

    def exec(self, spec: Spec) -> None:
        """Remember an exec; its process is made by `start`. Raises AlreadyExists, FailedPrecondition.

        Most are started at once, so a worker begins to read what is needed before it is asked for.
        """
        if spec.exec_id in self._members:
            raise AlreadyExists(f"exec {spec.exec_id!r} already exists")
        init = self.member()
        if init.life.state not in ("running", "created"):
            raise FailedPrecondition(f"container {self.id!r} is {init.life.state}, not running")
        member = self._add(spec, "exec process", None)
        self._observer.event("/tasks/exec-added", member)
        self._loop.later(0, lambda: self._begin_exec(member))  # after the answer

    def _begin_exec(self, member: Member) -> None:
        if self._members.get(member.exec_id) is member:
            self.execs.begin(member)

    def _add(self, spec: Spec, kind: str, reply: Reply | None) -> Member:
        member = Member(spec, Life(kind))
        member.pending = reply
        self._members[spec.exec_id] = member
        member.stdio = Stdio(
            self._loop,
            terminal=spec.terminal,
            stdin=spec.stdin,
            stdout=spec.stdout,
            stderr=spec.stderr,
            spill=self.bundle,
            on_drained=lambda: self._settle(member),
            owner=(self.id, self.namespace),
        )
        return member

    def _launch(self, member: Member, creation: Creation, log: Log | None = None) -> None:
        """Have a worker begin, and listen to what it and the new process say."""
        stdio = member.stdio
        assert stdio is not None
        try:
            streams = stdio.make(log)
            member.worker, channel = self._creator(creation, streams)
        except OSError as err:
            self._cannot_prepare(member, err)
            return
        stdio.made()
        self._workers[member.worker] = lambda _status: self._worker_ended(member)
        self._listen(member, channel)

    def _creator(self, creation: Creation, streams: Streams | None) -> tuple[int, Socket]:
        """The worker that was forked ahead, or a new one: (its pid, its channel). Raises OSError."""
        ahead, self.ahead = self.ahead, None
        if ahead is not None:
            try:
                ahead.begin(creation, streams)
                return ahead.pid, ahead.channel
            except OSError:
                ahead.drop()
        keep = (streams.stdin, streams.stdout, streams.stderr) if streams is not None else ()
        runtime = runtimes.of(creation.program)
        return worker.start(lambda near: runtime.create(creation, near, streams, lambda: None), keep)

    def _listen(self, member: Member, channel: Socket) -> None:
        member.channel = channel
        self._loop.watch(channel.fileno(), IN, lambda _events: self._heard(member))

    def running(self) -> Running:
        """For a runtime. Raises NotFound when there is no process."""
        init = self.member()
        if self.cgroup is None:
            raise NotFound(f"task {self.id!r} has no process")
        return Running(self.id, self.bundle, self.cgroup, init.life.pid, init.pidfd)

    @property
    def may_have_spare(self) -> bool:
        """Whether a worker may wait in its group: not where that counts processes, of which the container may have all."""
        running = self.init is not None and self.init.life.state == "running"
        return running and self.cgroup is not None and "pids" not in self.cgroup.unified_controllers

    def collect(self, pid: int, done: Callable[[int], None]) -> None:
        """`done(wait status)` when that child, a worker, has ended."""
        self._workers[pid] = done

    # --- what the worker and the new process say ---

    def _heard(self, member: Member) -> None:
        """Take one message, if there is one."""
        channel = member.channel
        if channel is None:
            return
        try:
            packet, rights = sockets.receive(channel, messages.MAX_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            packet, rights = b"", []
        if packet[:1] == messages.CGROUP:
            self._learn_cgroup(packet)
        elif packet[:1] == messages.PID:
            self._learn_pid(member, packet)
        elif packet and not member.life.pid and not member.worker_ended:
            member.early.append((packet, rights))  # the process was faster than the worker that tells its pid
        else:
            self._take_early(member)
            self._told(member, packet, rights)

    def _told(self, member: Member, packet: bytes, rights: list[int]) -> None:
        """READY, FAILED or the end, after the pid."""
        if member.channel is None:
            return  # a failure told before has closed it
        if packet[:1] == messages.READY and member.life.pid:
            self._ready(member, packet, rights)
            return
        for fd in rights:
            os.close(fd)
        if packet[:1] == messages.FAILED:
            member.failure = messages.failure(packet)
        self._channel_done(member)

    def _take_early(self, member: Member) -> None:
        early, member.early = member.early, []
        for packet, rights in early:
            self._told(member, packet, rights)

    def _worker_ended(self, member: Member) -> None:
        """Everything that the worker said is in the channel by now."""
        if not member.life.pid:
            self._hear_out(member)
        member.worker_ended = True
        self._take_early(member)

    def _hear_out(self, member: Member) -> None:
        """What a dead process said is still in its channel."""
        poll = select.poll()
        while member.channel is not None:
            poll.register(member.channel, select.POLLIN)
            if not poll.poll(0):
                return  # its worker still holds the channel; the end comes through the loop
            self._heard(member)

    def _learn_cgroup(self, packet: bytes) -> None:
        path, limit, side = packet[1:].decode().split("\n", 2)
        self.cgroup = Cgroup.find(path)
        self._write("cgroup", path)
        reach("shim.create.cgroup")
        self.limit = int(limit)
        self.oom = oom.Watch(self._loop, self.cgroup, self._out_of_memory)
        if side:
            self.side_path = side
            self.on_side_path(side)

    def _learn_pid(self, member: Member, packet: bytes) -> None:
        pid = int(packet[1:])
        member.life.pid = pid
        self._by_pid[pid] = member
        try:
            member.pidfd = sys.pidfd_open(pid)
        except OSError:
            pass  # it has ended already; its exit is in _early
        if not member.exec_id:
            self._write("init.pid", f"{pid}")
            reach("shim.create.pid")
        self._take_early(member)
        early = self._early.pop(pid, None)
        if not self._launching():
            self._early.clear()
        if early is not None:
            self._by_pid.pop(pid, None)
            self._exited(member, *early)

    def _launching(self) -> bool:
        """Whether a worker may still tell a pid that we do not know."""
        return any(member.worker and not member.life.pid for member in self._members.values())

    def _ready(self, member: Member, packet: bytes, rights: list[int]) -> None:
        """All is made: init waits for START and its Create is answered, an exec goes on by itself."""
        for warning in packet[1:].decode("utf-8", "replace").split("\n"):
            if warning:
                complain("warning", UserWarning(warning))
        if rights and member.stdio is not None:
            member.stdio.console(rights[0])
        member.ready = True
        if member.life.allows(Event.MADE):
            member.life.feed(Event.MADE)
        if member.exec_id:
            return  # it goes on by itself; the end of the channel tells that exec(2) has succeeded
        reply, member.pending = member.pending, None
        self._observer.event("/tasks/create", member)
        reach("shim.create.ready")
        if reply is not None:
            reply.done(member.life.pid)

    def _channel_done(self, member: Member) -> None:
        """The end of the channel: exec(2) succeeded, or the process failed before it."""
        self._hang_up(member)
        if not member.ready and member.failure is None:
            member.failure = Internal(f"the {member.life.kind} ended before it was ready")
        if member.failure is None:
            if member.pending is not None and member.exec_id:
                self._started(member)
            elif member.pending is not None:
                self._settle_with_runtime(STARTED, lambda: self._started(member))
        elif member.life.pid and not member.life.dead:
            # Refused when it is reaped, so that nothing is left by then.
            with contextlib.suppress(NotFound):
                self._signal(member, SIGKILL)
        else:
            self._refuse(member)

    def _hang_up(self, member: Member) -> None:
        if member.channel is not None:
            self._loop.unwatch(member.channel.fileno())
            member.channel.close()
            member.channel = None

    def _refuse(self, member: Member) -> None:
        """A Create or Start has failed: forget what never was ready, then answer."""
        reply, member.pending = member.pending, None
        if not member.ready:
            self._forget(member)
        if reply is not None and member.failure is not None:
            reply.failed(member.failure)
        if member.ready:
            self._settle(member)

    def _forget(self, member: Member) -> None:
        """Nothing of it stays; who waits for its end is answered, with a status if it had none."""
        self._members.pop(member.exec_id, None)
        self.execs.drop(member)
        self._close_pidfd(member)
        if member.stdio is not None:
            member.stdio.close()
        if not member.exec_id and self.cgroup is not None:
            self._drop_cgroup()
            self.cgroup = None
        if not member.life.dead:
            member.life.exited(NEVER_RAN, time.time_ns())
        waiters, member.waiters = member.waiters, []
        for waiter in waiters:
            waiter(member.life)

    def _close_pidfd(self, member: Member) -> None:
        if member.pidfd >= 0:
            self._loop.unwatch(member.pidfd)  # it is watched when somebody else reaps the process
            os.close(member.pidfd)
            member.pidfd = -1

    # --- start ---

    def start(self, exec_id: str, reply: Reply) -> None:
        """Let init, or make an exec, run; answered with the pid after a successful exec(2)."""
        member = self.member(exec_id)
        if member.pending is not None:
            raise FailedPrecondition(f"the {member.life.kind} is being started already")
        if exec_id:
            self._start_exec(member, reply)
            return
        runtime = runtimes.of(self.program)
        if member.life.state != "created" or (runtime.gated and member.channel is None):
            raise FailedPrecondition(f"cannot start a {member.life.state} container")
        member.pending = reply
        if runtime.gated:
            self._send_start(member)
        else:
            self._have_started(member, runtime)

    def _start_exec(self, member: Member, reply: Reply) -> None:
        init = self.member()
        if member.life.state != "creating":
            raise FailedPrecondition(f"cannot start a {member.life.state} exec process")
        if init.life.state != "running":
            raise FailedPrecondition(f"container {self.id!r} is {init.life.state}, not running")
        member.pending = reply
        stdio = member.stdio
        assert stdio is not None
        try:
            channel = self.execs.take(member)
            streams = stdio.make(open_log(member.spec.stdout))
        except OSError as err:
            self._cannot_prepare(member, err)
            return
        try:
            if streams is None:
                channel.send(messages.start_exec(stdio.size))
            else:
                sockets.send(channel, messages.START, streams.stdin, streams.stdout, streams.stderr)
        except OSError:
            pass  # it has ended; what it said before is in the channel
        stdio.made()
        self._listen(member, channel)

    def _cannot_prepare(self, member: Member, err: OSError) -> None:
        member.failure = Internal(f"cannot prepare {member.life.kind}: {messages.describe(err)}")
        self._refuse(member)

    def _send_start(self, member: Member) -> None:
        assert member.channel is not None
        try:
            member.channel.send(messages.START)
            reach("shim.start.sent")
        except OSError:
            pass  # it has died; the end of the channel tells

    def _have_started(self, member: Member, runtime: Runtime) -> None:
        """By a worker, whose channel tells as init's would."""
        self._hang_up(member)  # what made it has said everything
        container = self.running()
        try:
            channel = self.run_worker(lambda _near: runtime.start(container), lambda _status: None)
        except OSError as err:
            member.pending = None
            raise Internal(f"cannot start the container: {messages.describe(err)}") from err
        self._listen(member, channel)

    def _out_of_memory(self) -> None:
        if self.init is not None:
            self._observer.event("/tasks/oom", self.init)

    def _started(self, member: Member) -> None:
        if member.life.allows(Event.STARTED):
            member.life.feed(Event.STARTED)
        if self.limit and not member.exec_id and not member.life.dead:
            self.expires = self._loop.later(self.limit, self._expire)
        reply, member.pending = member.pending, None
        self._observer.event("/tasks/exec-started" if member.exec_id else "/tasks/start", member)
        reach("shim.start.told")
        if reply is not None:
            reply.done(member.life.pid)
        self._settle(member)

    # --- the end of processes ---

    def reap(self) -> None:
        """Collect every child that has ended: workers, init, execs, and orphans that came to us."""
        now = time.time_ns()
        while True:
            try:
                pid, status = os.waitpid(self.children, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            done = self._workers.pop(pid, None)
            if done is not None:
                done(status)
            elif (member := self._by_pid.pop(pid, None)) is not None:
                self._exited(member, status, now)
            elif self._launching():
                self._early[pid] = (status, now)

    def follow(self, work: Callable[[Socket], None], keep: Sequence[int], sign: int) -> None:
        """A worker that may outlive us; `sign` is closed when init's output is complete, or now. Raises OSError."""
        _pid, channel = worker.start(work, keep)
        channel.close()  # it has nothing to say
        stdio = self.member().stdio
        if stdio is None or stdio.drained:
            os.close(sign)
        else:
            stdio.followers.append(sign)

    def run_worker(
        self, work: Callable[[Socket], None], done: Callable[[int], None], keep: Sequence[int] = ()
    ) -> Socket:
        """A worker of another room of the shim; `done(wait status)` when it has ended. Raises OSError."""
        pid, channel = worker.start(work, keep)
        self._workers[pid] = done
        return channel

    def _exited(self, member: Member, wait_status: int, at: int) -> None:
        member.life.exited(exit_status(wait_status), at)
        self._hear_out(member)
        if not member.ready:
            if member.channel is None and self._members.get(member.exec_id) is member:
                self._refuse(member)
            return
        if member.exec_id:
            self.execs.expect_another()
        else:
            self._init_exited(member)
        if member.failure is not None and member.pending is not None:
            self._refuse(member)
        if member.deadline is None and not member.told:
            member.deadline = self._loop.later(DRAIN_SECONDS, lambda: self._too_late(member))
        self._settle(member)

    def _expire(self) -> None:
        """Its time is over."""
        complain("time limit", TimeoutError(f"the container has run for {self.limit} s and is killed"))
        self._kill_everyone(SIGKILL)

    def _init_exited(self, member: Member) -> None:
        """Init's end is the container's: nothing in its cgroup survives, whatever namespaces it shared."""
        assert self.cgroup is not None
        self.drop_workers_ahead()
        if self.expires is not None:
            self.expires.cancel()
        try:
            if self.oom is not None:
                self.oom.look()
            self.cgroup.kill()
        except (OSError, HakoError) as err:
            complain("kill what is left", err)
        reach("shim.exit.reaped")
        self._write("exit_status", f"{member.life.exit_status} {member.life.exited_at}")
        reach("shim.exit.recorded")

    def _too_late(self, member: Member) -> None:
        """Somebody outside the container holds its pipes: the exit is not kept back for that."""
        if member.stdio is not None:
            member.stdio.give_up()
        self._settle(member, force=True)

    def _settle(self, member: Member, *, force: bool = False) -> None:
        """Tell the exit once everything that comes before it has happened."""
        if member.told or not member.life.dead or member.pending is not None:
            return
        if member.stdio is not None and not member.stdio.drained:
            return
        if (
            not member.exec_id
            and not force
            and any(other.exec_id and other.life.pid and not other.told for other in self._members.values())
        ):
            return
        member.told = True
        if member.deadline is not None:
            member.deadline.cancel()
        self._tell(member)
        init = self.init
        if member.exec_id and init is not None:
            self._settle(init)

    def _tell(self, member: Member) -> None:
        self._observer.event("/tasks/exit", member)
        reach("shim.exit.told")
        waiters, member.waiters = member.waiters, []
        for waiter in waiters:
            waiter(member.life)
        if self._observer.engine_present():
            self.deadline(member, RELEASE_SECONDS)
        else:
            self.release(member)

    def release(self, member: Member) -> None:
        """Answer the clients of a process whose exit is known above. Idempotent."""
        if member.released or not member.told:
            return
        member.released = True
        if member.deadline is not None:
            member.deadline.cancel()
        if member.stdio is not None:
            member.stdio.answer()
        self._observer.answer(member)
        reach("shim.exit.answered")

    def engine_gone(self) -> None:
        """Nobody is left who could release: do it ourselves."""
        for member in list(self._members.values()):
            self.release(member)

    # --- the other verbs ---

    def wait(self, exec_id: str, waiter: Callable[[Life], None]) -> None:
        """Call `waiter` at the exit, or now when it has been told."""
        member = self.member(exec_id)
        if member.told:
            waiter(member.life)
        else:
            member.waiters.append(waiter)

    def kill(self, exec_id: str, signal: int, *, everyone: bool) -> None:
        """Send a signal. Raises NotFound when the process has ended or was never made."""
        member = self.member(exec_id)
        if member.life.dead or member.pidfd < 0:
            raise NotFound("process already finished" if member.life.dead else "process is not running")
        if everyone and self.cgroup is not None:
            self._kill_everyone(signal)
            return
        self._signal(member, signal)
        if signal == SIGKILL and member.life.state == "paused":
            self._thaw()

    def _signal(self, member: Member, signal: int) -> None:
        if member.pidfd < 0:
            raise NotFound("process already finished")  # it was reaped before we knew its pid
        try:
            sys.pidfd_send_signal(member.pidfd, signal)
        except ProcessLookupError as err:
            raise NotFound("process already finished") from err
        except OSError as err:
            raise FailedPrecondition(f"signal {signal}: {messages.describe(err)}") from err

    def _kill_everyone(self, signal: int) -> None:
        assert self.cgroup is not None
        if signal == SIGKILL:
            self.cgroup.kill()
            return
        for pid in self.cgroup.pids():
            try:
                os.kill(pid, signal)
            except ProcessLookupError:
                continue

    def pause(self) -> None:
        """Freeze the cgroup. Raises FailedPrecondition."""
        member = self.member()
        if member.life.state != "running" or self.cgroup is None:
            raise FailedPrecondition(f"cannot pause a {member.life.state} container")
        self.cgroup.freeze()
        member.life.feed(Event.PAUSED)
        self._observer.event("/tasks/paused", member)

    def resume(self) -> None:
        """Thaw it again. Raises FailedPrecondition."""
        member = self.member()
        if member.life.state != "paused":
            raise FailedPrecondition(f"cannot resume a {member.life.state} container")
        self._thaw()
        member.life.feed(Event.RESUMED)
        self._observer.event("/tasks/resumed", member)

    def _thaw(self) -> None:
        if self.cgroup is not None:
            self.cgroup.thaw()

    def resize(self, exec_id: str, rows: int, columns: int) -> None:
        """A new window size, also for a terminal that is still to come. Raises NotFound, InvalidArgument."""
        if not (0 <= rows <= MOST_LINES and 0 <= columns <= MOST_LINES):
            raise InvalidArgument(f"resize: {rows} rows and {columns} columns are no size of a terminal")
        stdio = self.member(exec_id).stdio
        if stdio is not None:
            try:
                stdio.resize(rows, columns)
            except OSError as err:
                raise FailedPrecondition(f"resize: {messages.describe(err)}") from err

    def close_stdin(self, exec_id: str) -> None:
        """No more input. Raises NotFound."""
        stdio = self.member(exec_id).stdio
        if stdio is not None:
            stdio.close_stdin()

    def update(self, resources: bytes, reply: Reply) -> None:
        """New limits, OCI linux.resources as JSON: parsed and written by a worker."""
        runtime, container = runtimes.of(self.program), self.running()

        def work(near: Socket) -> None:
            runtime.update(container, resources)
            near.send(messages.READY)

        channel = self.run_worker(work, lambda _status: self._updated(channel, reply))

    def _updated(self, channel: Socket, reply: Reply) -> None:
        try:
            packet = channel.recv(messages.MAX_MESSAGE)
        except OSError:
            packet = b""
        channel.close()
        if packet[:1] == messages.READY:
            reply.done()
        else:
            reply.failed(messages.failure(packet) if packet else Internal("the update's worker died"))

    def stats(self, reply: Reply) -> None:
        """The cgroup's counters as (type, message)."""
        if self.cgroup is None:
            raise NotFound(f"task {self.id!r} has no process")
        reply.done(*metrics.encode(self.cgroup.stats()))

    def delete(self, exec_id: str) -> Life:
        """Forget a stopped process, and with init its cgroup. Raises NotFound, FailedPrecondition."""
        member = self.member(exec_id)
        under_way = member.worker and not member.life.dead
        if not member.life.allows(Event.DELETED) or under_way:
            raise FailedPrecondition(f"cannot delete a {member.life.state} {member.life.kind}")
        member.told = True
        self.release(member)
        if not exec_id and self.cgroup is not None:
            self._drop_cgroup()
        reach("shim.delete.cgroup")
        member.life.feed(Event.DELETED)
        del self._members[exec_id]
        self.execs.drop(member)
        self._close_pidfd(member)
        if member.stdio is not None:
            member.stdio.close()
        if not exec_id:
            self._observer.event("/tasks/delete", member)
            reach("shim.delete.told")
        return member.life

    def after_stop(self, done: Callable[[], None]) -> None:
        """When a container has gone: what its runtime does then; then `done()`."""
        if self._members:
            done()
        else:
            self._settle_with_runtime(GONE, done)

    def _settle_with_runtime(self, event: str, done: Callable[[], None]) -> None:
        """What the runtime does at this event, if it has anything to do, in a worker; then `done()`."""
        runtime = runtimes.of(self.program)
        if not runtime.owes(event, self.bundle):
            done()
            return

        def work(_near: Socket) -> None:
            for failed in runtime.after(event, self.id, self.bundle):
                complain(event, RuntimeError(failed))

        def ended(_status: int) -> None:
            channel.close()
            done()

        channel = self.run_worker(work, ended)

    def _drop_cgroup(self) -> None:
        assert self.cgroup is not None
        if self.oom is not None:
            self.oom.close()
        try:
            self.cgroup.kill()
            self.cgroup.delete(remove_empty_parents=True)
        except (OSError, HakoError) as err:
            complain(f"remove cgroup {self.cgroup.path}", err)

    def _write(self, name: str, text: str) -> None:
        """A file of the bundle, whole or not at all. A full or read-only disk is told, not fatal."""
        path = f"{self.bundle}/{name}"
        try:
            fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, text.encode())
            finally:
                os.close(fd)
            os.rename(path + ".new", path)
        except OSError as err:
            complain(f"write {path}", err)
