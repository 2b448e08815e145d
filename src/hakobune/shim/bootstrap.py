"""From a fresh fork of the zygote to a serving shim: wires the rooms together and runs the loop.

Imports: os, socket, sys; task, shim, linux.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hakobune.errors import FailedPrecondition, HakoError
from hakobune.failpoint import reach
from hakobune.linux import memfd, oom_score, sockets, syscalls
from hakobune.linux.sockets import Socket
from hakobune.shim import handover, renewal, successor, title
from hakobune.shim.experience import Experience
from hakobune.shim.following import follow
from hakobune.shim.publish import Publisher, encode
from hakobune.shim.rpc import Call, TaskServer
from hakobune.shim.side import SideServer
from hakobune.task.ahead import Ahead
from hakobune.task.loop import IN, Loop, complain
from hakobune.task.luggage import Luggage, Packed
from hakobune.task.process import Member
from hakobune.task.service import Service
from hakobune.version import VERSION
from hakobune.wire import side

LINGER_SECONDS = 0.05
LINGER_ROUNDS = 100
# without an event, before a shim goes to sleep; tests are impatient
REST_SECONDS = float(os.environ.get("HAKOBUNE_REST_SECONDS", "1"))
LONGEST_WAIT_SECONDS = 60.0
MOST_NAPS = 6  # short ones in a row, each of which doubles the wait
_LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Birth:
    """What the manager asked the zygote for."""

    namespace: str
    id: str
    bundle: str
    socket_path: str
    events_address: str
    zygote: str  # where a living shim gets a new process from; "" where the kernel is too old for it

    @classmethod
    def of(cls, words: Sequence[str], zygote: str) -> Birth:
        """From the five words of a request. Raises ValueError."""
        namespace, container_id, bundle, socket_path, events_address = words
        return cls(namespace, container_id, bundle, socket_path, events_address, zygote)

    @property
    def words(self) -> tuple[str, ...]:
        """The five again."""
        return self.namespace, self.id, self.bundle, self.socket_path, self.events_address


@dataclass(frozen=True, slots=True)
class Adoption:
    """A living shim that comes over: what it offers, its connection, the memfd of its state and its descriptors."""

    offer: handover.Offer
    channel: Socket
    fds: list[int]


class Shim:
    """One container's shim; the observer of its task service."""

    def __init__(
        self, birth: Birth, listener: Socket, *, naps: int = 0, ahead: Ahead | None = None,
        experience: Experience | None = None,
    ) -> None:  # fmt: skip
        self._birth = birth
        self._listener = listener
        self.loop = Loop()
        self._publisher = Publisher(self.loop, birth.events_address, birth.namespace)
        self._service = Service(self.loop, birth.id, birth.bundle, self)
        self._service.namespace = birth.namespace
        self._service.ahead = ahead
        self._service.execs.pages = experience.execs if experience is not None else None
        self._side = SideServer(
            self.loop, self._service, lambda fd, fields: follow(self._service, fd, fields)
        )
        self._service.on_side_path = self._listen_side
        self._rounds = 0
        self.loop.on_terminate = lambda: None  # a shim ends with its container, or when it is told to
        self._server = TaskServer(self.loop, self._service, listener, self._shutdown)
        self._server.on_renew = self._renew
        self._learn = experience.shims.learn if experience is not None else lambda: None
        self._naps = naps  # how often in a row a rest was short
        self._turns = 0
        self._ending = False
        self._expect_rest()

    def _listen_side(self, path: str) -> None:
        try:
            self._side.listen(path)
        except OSError as err:
            complain(f"listen on {path}", err)

    # --- what the service tells ---

    def event(self, topic: str, member: Member) -> None:
        """Publish; an end goes to the engine the short way, too."""
        self._publisher.publish(topic, *encode(topic, self._service, member))
        if topic == "/tasks/exit":
            life = member.life
            numbers = (life.pid, life.exit_status, life.exited_at)
            self._side.tell(side.EXITED, member.exec_id.encode(), *(b"%d" % number for number in numbers))

    def engine_present(self) -> bool:
        """Whether somebody will release the clients."""
        return self._side.engine_present

    def answer(self, member: Member) -> None:
        """Clients that wait for this end may know."""
        self._side.answer(member)

    # --- rest: to another process and back ---

    def _expect_rest(self) -> None:
        """Look again when there has been time for a rest: later each time that one was short."""
        self._turns = self.loop.turns
        self.loop.later(min(REST_SECONDS * 2.0**self._naps, LONGEST_WAIT_SECONDS), self._rest)

    def _rest(self) -> None:
        """Nothing has happened for a while: go over to a fresh fork, which sleeps until something does."""
        if self._ending:
            return
        if self._abandoned():
            self._shutdown()
            return
        quiet = self.loop.turns == self._turns and self._server.renewing is None
        if quiet and self.move(handover.ASLEEP):
            os._exit(handover.LEFT)
        self._expect_rest()

    def _abandoned(self) -> bool:
        """The container has ended and somebody has taken its directory away: nobody will say Shutdown any more."""
        init = self._service.init
        return (init is None or init.life.dead) and not os.path.lexists(self._birth.bundle)

    def move(self, mode: str) -> bool:
        """Go over to a fork of the zygote; True: it has taken over. False changes nothing."""
        if not self._birth.zygote or not self.movable:
            return False
        try:
            luggage = Luggage()
            packed = self._pack(luggage)
            return handover.offer(self._birth.zygote, self._offer(mode, luggage), packed, luggage)
        except (OSError, HakoError) as err:
            complain("go over to another process", err)
            self._naps += 1
            return False

    @property
    def movable(self) -> bool:
        """Whether nothing is being made, or is ending."""
        return not self._ending and self._service.movable and self._publisher.movable

    def _pack(self, luggage: Luggage) -> Packed:
        """All of it, as `restored` takes it. Raises FailedPrecondition: see `_polls`."""
        self._service.drop_workers_ahead()
        watch = self._service.oom
        return {
            "service": self._service.pack(luggage), "server": self._server.pack(luggage),
            "side": self._side.pack(luggage), "publisher": self._publisher.pack(),
            "oom": luggage.pack(watch.fd if watch is not None else -1), "naps": self._naps,
            "asleep_at": time.monotonic(), "release": VERSION,
        }  # fmt: skip

    def _polls(self, luggage: Luggage) -> dict[int, int]:
        """What wakes: all that is watched, and the ends of processes. Raises FailedPrecondition.

        A descriptor that nobody has packed is a client whose last bytes are on their way.
        """
        ours = (self.loop.pipe[0], self._publisher.fd)
        polls = {fd: events for fd, events in self.loop.interests.items() if fd not in ours}
        for member in self._service.members:
            if member.life.pid and not member.life.dead:
                polls[member.pidfd] = IN
        stray = [fd for fd in polls if fd not in luggage.fds]
        if stray:
            raise FailedPrecondition(f"descriptor {stray[0]} is still at work")
        return polls

    def _offer(self, mode: str, luggage: Luggage) -> handover.Offer:
        places = [(luggage.pack(fd), events) for fd, events in self._polls(luggage).items()]
        return handover.Offer(mode, self.loop.next_timer(), places, self._birth.words)

    @classmethod
    def restored(cls, birth: Birth, memory: int, luggage: Luggage) -> Shim:
        """Go on where another process stood. Raises HakoError, ValueError, KeyError, OSError; nothing is touched then."""
        packed = handover.document(memory)
        listener = sockets.adopt(luggage.take(packed["server"]["listener"]), sockets.STREAM)
        slept = time.monotonic() - packed["asleep_at"]
        naps = 0 if slept > LONGEST_WAIT_SECONDS else min(packed["naps"] + 1, MOST_NAPS)
        self = cls(birth, listener, naps=naps)
        self._service.unpack(packed["service"], luggage)
        self._server.unpack(packed["server"], luggage)
        self._side.unpack(packed["side"], luggage)
        self._publisher.unpack(packed["publisher"])
        if self._server.renewing is not None:
            self.loop.later(0, lambda: self._renewed(packed.get("release", "")))
        if packed["oom"] >= 0:
            os.close(luggage.take(packed["oom"]))  # the service has a watch of its own
        os.close(memory)
        return self

    # --- as newer code ---

    def _renew(self, call: Call, python: str, way: str) -> None:
        """Go on as newer code as soon as that can be. Raises InvalidArgument, FailedPrecondition."""
        if self._ending:
            raise FailedPrecondition("the shim is ending")
        renewal.Renewal(
            self, self.loop, call, python, way or (renewal.FORK if self._birth.zygote else renewal.EXEC)
        )

    def not_renewed(self) -> None:
        """It stays what it is."""
        self._server.renewing = None

    def _renewed(self, previous: str) -> None:
        """In the process, or program, that has gone on."""
        if (call := self._server.renewing) is not None:
            self._server.renewing = None
            renewal.done(call, previous)

    def came_back(self) -> None:
        """This is the code that was to be replaced."""
        if (call := self._server.renewing) is not None:
            self._server.renewing = None
            renewal.came_back(call)

    def write(self, luggage: Luggage) -> int:
        """A memfd for a program that this process becomes: with the numbers of descriptors, and the way back.

        Raises OSError, FailedPrecondition.
        """
        packed = self._pack(luggage)
        self._polls(luggage)
        return memfd.write({
            "format": handover.FORMAT, **packed, "fds": luggage.fds, "birth": self._birth.words,
            "zygote": self._birth.zygote, "back": sys.executable, "oom_score": oom_score.pack(),
        })  # fmt: skip

    def run_worker(
        self, work: Callable[[Socket], None], done: Callable[[int], None], keep: Sequence[int]
    ) -> Socket:
        """See Service. Raises OSError."""
        return self._service.run_worker(work, done, keep)

    # --- the end ---

    def _shutdown(self) -> None:
        """No task is left: stop listening at once, end when the last byte and event are out."""
        self._ending = True
        self.loop.later(LINGER_SECONDS, self._linger)
        self.loop.unwatch(self._listener.fileno())
        self._listener.close()
        self._side.close()
        try:
            os.unlink(self._birth.socket_path)
        except OSError:
            pass  # the manager has taken it away already
        reach("shim.shutdown")
        self._publisher.last()

    def _linger(self) -> None:
        if self._rounds == 0:
            self._learn()
        self._rounds += 1
        if self._rounds < LINGER_ROUNDS and not self._quiet():
            self.loop.later(LINGER_SECONDS, self._linger)
        else:
            self.loop.stop()

    def _quiet(self) -> bool:
        return self._publisher.idle and self._side.idle


def run(birth: Birth, listener: Socket, experience: Experience, ahead: Ahead | None = None) -> None:
    """The life of a shim's process, after the zygote's descriptors are closed. Returns at its end.

    `ahead` is the worker of its creation, when it has one.
    """
    _settle_in(birth)
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    reach("shim.born")
    _live(lambda: Shim(birth, listener, ahead=ahead, experience=experience))


def take_over(birth: Birth, adoption: Adoption) -> None:
    """The life of a process that another shim goes over to. Returns at its end."""
    offer, luggage = adoption.offer, Luggage(adoption.fds[1:])
    _settle_in(birth)
    if offer.mode == handover.AWAKE:
        try:
            shim = Shim.restored(birth, adoption.fds[0], luggage)
        except Exception as err:
            complain("become a shim", err)
            os._exit(handover.DECLINED)
        reach("shim.renew.restored")
        handover.take_over(adoption.channel)
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        _live(lambda: shim)
        return
    handover.take_over(adoption.channel)
    reach("shim.move.taken")
    handover.sleep([(luggage.fds[place], events) for place, events in offer.polls], offer.seconds)
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    reach("shim.move.woken")
    _live(lambda: Shim.restored(birth, adoption.fds[0], luggage))


def check(memory: int) -> None:
    """In a child of a shim: whether this code can go on from there. Raises whatever is in the way."""
    _resumed(memory)


def resume(memory: int, *, back: bool) -> None:
    """The life of a shim that was executed: of newer code, or `back` in the code that it came from. Returns at its end."""
    packed = handover.document(memory)
    try:
        shim = _resumed(memory)
    except Exception as err:
        complain("go on as a shim", err)
        if not back:
            line = successor.command(packed["back"], [*renewal.words(memory), renewal.BACK])
            os.execve(packed["back"], line, dict(os.environ))
        raise
    birth = Birth.of(packed["birth"], packed["zygote"])
    for fd in (memory, *packed["fds"]):
        os.close(fd)
    oom_score.unpack(packed.get("oom_score", []))
    if back:
        shim.came_back()
    _name()
    title.show_shim(birth.namespace, birth.id)
    successor.arrived([])
    reach("shim.renew.resumed")
    _live(lambda: shim)


def _resumed(memory: int) -> Shim:
    """From copies of the descriptors: the way back needs them."""
    packed = handover.document(memory)
    luggage = Luggage([os.dup(fd) for fd in packed["fds"]])
    return Shim.restored(Birth.of(packed["birth"], packed["zygote"]), os.dup(memory), luggage)


def _settle_in(birth: Birth) -> None:
    """Plain system calls only: this much is paid by every shim that sleeps."""
    os.setsid()
    _name()
    try:
        log = os.open(f"{birth.bundle}/shim.log", _LOG_FLAGS, 0o600)
    except OSError:
        return  # a full disk: what is to be told goes where the zygote's words go
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _name() -> None:
    name = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    os.write(name, b"hako-shim")
    os.close(name)


def _live(make: Callable[[], Shim]) -> None:
    try:
        make().loop.run()
    except BaseException as err:
        complain("the shim ends", err)
        sys.stderr.flush()
        raise
