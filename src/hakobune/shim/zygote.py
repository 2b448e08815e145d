"""The zygote: a warm, single-threaded fork server. Python's start-up is paid here, once.

It imports everything that a shim, its workers and init need, freezes the heap, and forks. It holds
no state that matters: killed, it leaves the shims running, and a new one serves the next. As the
subreaper of its shims it gets the init process of a shim that was killed, and ends that container.

Protocol (SOCK_SEQPACKET, 0600): a request packet, one answer packet.
  SHIM \\0 namespace \\0 id \\0 bundle \\0 socket path \\0 events address \\0 debug   ->  OK \\0 pid
  ADOPT … (a living shim that goes over to a new process: shim/handover.py)   ->  the new process answers
  PING                                                                        ->  OK \\0 pid \\0 version \\0 release
  UPGRADE \\0 interpreter (become that installation's; "": what stands in our place)   ->  OK \\0 … as PING, from the new program
  RETIRE (serve nobody new, end with the last shim)                           ->  OK
  or ERR \\0 message. The shim's socket is bound before the answer, so the manager can connect at once.
Imports: os, socket, select, signal; everything of the shim.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from hakobune.cgroups import layout
from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import FailedPrecondition, HakoError
from hakobune.failpoint import reach
from hakobune.linux import bare, memfd, oom_score, pidfd, sockets, syscalls
from hakobune.linux.sockets import Socket
from hakobune.oci import capabilities, known, seccomp_default
from hakobune.shim import bootstrap, handover, rehearsal, successor, title, understudy
from hakobune.shim.experience import Experience
from hakobune.shim.understudy import Understudy
from hakobune.task.loop import IN, Loop, Timer, complain
from hakobune.task.luggage import Packed
from hakobune.version import VERSION as RELEASE

VERSION = "1"  # of the protocol
FORMAT = 1  # of the document that an upgraded zygote goes on from
IDLE_SECONDS = 30.0
ALONE_SECONDS = 2.0  # how often a zygote without a manager looks whether one can still find it
AHEAD_SECONDS = 0.012  # after a birth: the container that is being made has the processor until then


@dataclass(frozen=True, slots=True)
class Upgrade:
    """One that is being checked: the child that runs the new program, and for whom."""

    pid: int
    asker: Socket
    python: str


class Zygote:
    """Owns the listening socket and the table of living shims."""

    def __init__(self, path: str, listener: Socket) -> None:
        self._path = path
        self._loop = Loop()
        self._loop.on_child = self._reap
        self._loop.on_terminate = self._retire
        self._listener = listener
        self._place = _place(path)
        self._managers: set[Socket] = set()
        self._shims: dict[int, bootstrap.Birth] = {}
        self._fallen: set[str] = (
            set()
        )  # bundles of shims of which one process was killed while another was there
        self._retiring = False
        self._watch: Timer | None = None
        self._understudy: Understudy | None = None
        self._experience = Experience()
        self._upgrade: Upgrade | None = None
        self._child: Callable[[], None] | None = None  # the life of this process, when it is a fork
        self._moving = path if pidfd.remembers_exits() else ""
        self._loop.watch(self._listener.fileno(), IN, lambda _events: self._accept())
        self._loop.later(IDLE_SECONDS, self._idle)
        self._loop.later(0, self._engage)

    def run(self) -> None:
        """Serve until retired or idle; in a fork, live the shim's life."""
        self._loop.run()
        if self._child is not None:
            self._child()
            os._exit(0)  # an interpreter that tidies up would first copy every page it shares with us

    def _accept(self) -> None:
        try:
            manager = sockets.accept(self._listener, sockets.SEQPACKET)
        except OSError as err:
            complain("accept a manager", err)
            return
        self._welcome(manager)

    def _welcome(self, manager: Socket) -> None:
        manager.setblocking(False)
        self._managers.add(manager)
        self._loop.watch(manager.fileno(), IN, lambda _events: self._request(manager))

    def _request(self, manager: Socket) -> None:
        try:
            packet, fds = sockets.receive(manager, 65536, handover.MOST + 1)
        except BlockingIOError:
            return
        except OSError:
            packet, fds = b"", []
        if not packet:
            self._part(manager)
            self._alone()
            self._loop.later(IDLE_SECONDS, self._idle)
            return
        if fds:
            self._adopt(manager, packet, fds)
            return
        try:
            answer = self._serve(manager, packet.decode().split("\0"))
        except (OSError, ValueError, HakoError) as err:
            answer = f"ERR\0{err}"
        if answer:
            self._answer(manager, answer)

    def _answer(self, manager: Socket, answer: str) -> None:
        try:
            manager.send(answer.encode())
        except OSError as err:
            complain("answer the manager", err)

    def _part(self, manager: Socket) -> None:
        self._loop.unwatch(manager.fileno())
        self._managers.discard(manager)
        manager.close()

    def _serve(self, manager: Socket, words: list[str]) -> str:
        """The answer; "" when there is none yet, or this process has become a shim."""
        if words[0] == "PING":
            return _here()
        if words[0] == handover.MOVE.decode() and not self._retiring:
            return handover.COME.decode()
        if words[0] == "RETIRE":
            self._retire()
            return "OK"
        if words[0] == "SHIM" and len(words) == 7 and not self._retiring:
            return self._fork(bootstrap.Birth.of(words[1:6], self._moving))
        if words[0] == "UPGRADE" and len(words) == 2 and not self._retiring:
            self._check(manager, successor.interpreter(words[1]))
            return ""
        return f"ERR\0request {words[0]!r} is not served"

    def _fork(self, birth: bootstrap.Birth) -> str:
        listener = _listen(birth.socket_path, sockets.STREAM)
        reach("zygote.shim.listening")
        try:
            pid = self._from_ahead(birth, listener) or os.fork()
        except OSError:
            listener.close()
            os.unlink(birth.socket_path)
            raise
        if pid:
            listener.close()
            self._shims[pid] = birth
            reach("zygote.shim.forked")
            return f"OK\0{pid}"
        self._become_shim(birth, [listener.fileno()])
        self._child = lambda: bootstrap.run(birth, listener, self._experience)
        return ""

    def _from_ahead(self, birth: bootstrap.Birth, listener: Socket) -> int:
        """Have the understudy be that shim: its pid, 0 when there is none."""
        waiting, self._understudy = self._understudy, None
        self._loop.later(AHEAD_SECONDS, self._engage)
        if waiting is None:
            return 0
        try:
            waiting.play(birth, listener)
        except OSError:
            waiting.channel.close()  # it was killed
            return 0
        return waiting.pid

    def _engage(self) -> None:
        """Have an understudy."""
        if self._understudy is not None or self._retiring:
            return
        ours, theirs = sockets.pair(sockets.SEQPACKET)
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            return  # the next shim will meet it again and tell
        if pid:
            theirs.close()
            self._understudy = Understudy(pid, ours)
            return
        self._leave([theirs.fileno()])
        self._child = lambda: understudy.wait(theirs, self._path, self._experience)

    def _dismiss(self) -> None:
        if self._understudy is not None:
            self._understudy.dismiss()
            self._understudy = None

    def _adopt(self, old: Socket, packet: bytes, fds: list[int]) -> None:
        """A living shim goes over to a fork of ours; whatever is wrong, the end of its connection tells it."""
        try:
            offer = handover.read_offer(packet.decode().split("\0"))
            birth = bootstrap.Birth.of(offer.birth, self._moving)
            self._fallen.discard(birth.bundle)  # who was killed then was not the shim: here it is
            pid = os.fork()
            if pid == 0:
                self._become_shim(birth, [old.fileno(), *fds])
                self._child = lambda: bootstrap.take_over(birth, bootstrap.Adoption(offer, old, fds))
                return
            self._shims[pid] = birth
            reach("zygote.adopt.forked")
        except (OSError, ValueError) as err:
            complain("adopt a shim", err)
        for fd in fds:
            os.close(fd)
        self._part(old)

    def _become_shim(self, birth: bootstrap.Birth, keep: list[int]) -> None:
        """In the child: leave, under the shim's name."""
        self._leave(keep)
        title.show_shim(birth.namespace, birth.id)

    def _leave(self, keep: list[int]) -> None:
        """In the child: close all of the zygote's; `run` goes on from here.

        The objects that held those descriptors stay as they are until os._exit: see Loop.abandon.
        """
        sockets.set_wakeup_fd(-1)
        first = 3
        for fd in sorted(keep):
            os.closerange(first, fd)
            first = fd + 1
        os.closerange(first, os.sysconf("SC_OPEN_MAX"))
        self._loop.abandon()

    # --- to another installation's program, in this process ---

    def _check(self, asker: Socket, python: str) -> None:
        """Run the new program on our state in a child; `_checked` goes on. Raises OSError, FailedPrecondition."""
        if self._upgrade is not None:
            raise FailedPrecondition("the zygote is being upgraded already")
        memory = memfd.write(self._pack(None))
        try:
            pid = os.fork()
            if pid == 0:
                sockets.set_wakeup_fd(-1)
                successor.check(python, self._words(memory), [memory])
        finally:
            os.close(memory)
        self._upgrade = Upgrade(pid, asker, python)

    def _checked(self, upgrade: Upgrade, status: int) -> None:
        self._upgrade = None
        reach("zygote.renew.checked")
        answer = f"ERR\0{upgrade.python} refuses: wait status {status}, see the zygote's log"
        if status == 0:
            try:
                self._become(upgrade)
            except OSError as err:
                answer = f"ERR\0{upgrade.python}: {err}"
        if upgrade.asker in self._managers:
            self._answer(upgrade.asker, answer)

    def _become(self, upgrade: Upgrade) -> None:
        """Whoever asked is answered by the new program. Raises OSError; does not return otherwise."""
        memory = memfd.write(self._pack(upgrade.asker))
        fds = [memory, self._listener.fileno(), *(manager.fileno() for manager in self._managers)]
        try:
            successor.execute(upgrade.python, self._words(memory), fds)
        finally:
            os.close(memory)

    def _words(self, memory: int) -> list[str]:
        return ["--socket", self._path, "--state", f"{memory}"]

    def _pack(self, asker: Socket | None) -> Packed:
        return {
            "format": FORMAT, "listener": self._listener.fileno(), "place": self._place, "fallen": sorted(self._fallen),
            "managers": [manager.fileno() for manager in self._managers],
            "asker": asker.fileno() if asker in self._managers and asker is not None else -1,
            "shims": [[pid, *birth.words] for pid, birth in self._shims.items()],
            "oom_score": oom_score.pack(),
        }  # fmt: skip

    @classmethod
    def resumed(cls, path: str, packed: Packed) -> Zygote:
        """Go on where another installation's zygote stood, in the same process. Raises OSError, KeyError, ValueError."""
        self = cls(path, sockets.adopt(packed["listener"], sockets.SEQPACKET))
        self._place = packed["place"][0], packed["place"][1]
        self._fallen.update(packed.get("fallen", ()))
        for pid, *words in packed["shims"]:
            self._shims[pid] = bootstrap.Birth.of(words, self._moving)
        for fd in packed["managers"]:
            manager = sockets.adopt(fd, sockets.SEQPACKET)
            self._welcome(manager)
            if fd == packed.get("asker"):
                self._answer(manager, _here())
        self._loop.later(0, self._reap)  # whose end was told to nobody
        return self

    # --- the end of shims, and ours ---

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            birth = self._shims.pop(pid, None)
            if self._upgrade is not None and pid == self._upgrade.pid:
                self._checked(self._upgrade, status)
            elif birth is not None:
                self._ended(birth, status)
        if self._retiring and not self._shims:
            self._loop.stop()
        elif not self._shims:
            self._loop.later(IDLE_SECONDS, self._idle)

    def _ended(self, birth: bootstrap.Birth, status: int) -> None:
        """One process of a shim has ended; the container goes with the last one, if one of them was killed.

        While a shim goes over there are two, and whose death counts shows when the other one ends as well: it
        LEFT for nobody, or has DECLINED what nobody has any more.
        """
        bundle = birth.bundle
        if status == 0:
            self._fallen.discard(bundle)
            return
        if status not in handover.IN_ORDER:
            self._fallen.add(bundle)
        if any(other.bundle == bundle for other in self._shims.values()):
            if status == handover.LEFT << 8:
                self._fallen.discard(bundle)
        elif bundle in self._fallen:
            self._fallen.discard(bundle)
            _bury(birth, status)

    def _retire(self) -> None:
        if not self._retiring:
            self._retiring = True
            self._loop.unwatch(self._listener.fileno())
            self._listener.close()
            if self._reachable():
                os.unlink(self._path)
            self._dismiss()
        if not self._shims:
            self._loop.later(0, self._loop.stop)

    def _alone(self) -> None:
        """Without a manager, and without a path that one could come by: nobody will any more."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._managers or self._retiring:
            return
        if self._reachable():
            self._watch = self._loop.later(ALONE_SECONDS, self._alone)
        else:
            self._retire()

    def _reachable(self) -> bool:
        """Whether our path still leads to us: somebody may have removed it, and another zygote be there."""
        return _place(self._path) == self._place

    def _idle(self) -> None:
        if not self._shims and not self._managers:
            self._retire()


def _bury(birth: bootstrap.Birth, status: int) -> None:
    """A shim was killed: its container ends too, and its exit is on disk for the manager to find."""
    if not os.path.lexists(birth.bundle):
        return  # its task has been deleted: there is nothing to record
    complain(f"shim of {birth.id} ended with wait status {status}", RuntimeError("its container is killed"))
    try:
        _end_cgroup(f"{birth.bundle}/cgroup")
        reach("zygote.bury.killed")
        path = f"{birth.bundle}/exit_status"
        if not os.path.exists(path):
            with open(path + ".new", "w") as file:
                file.write(f"137 {time.time_ns()}")
            os.rename(path + ".new", path)
            reach("zygote.bury.recorded")
    except (OSError, HakoError) as err:
        complain(f"end the container {birth.id}", err)


def _end_cgroup(path: str) -> None:
    """Kill what is in the cgroup that the file names; without the file there is no process yet."""
    try:
        with open(path) as file:
            cgroup = Cgroup.find(file.read())
    except FileNotFoundError:
        return
    cgroup.kill()


def _place(path: str) -> tuple[int, int]:
    """Which file is there; (0, 0) when there is none."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return 0, 0
    return found.st_dev, found.st_ino


def _listen(path: str, kind: int) -> Socket:
    """A listening unix socket (0600) in place of whatever stood at the path."""
    listener = sockets.unix(kind)
    if os.path.lexists(path):
        os.unlink(path)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    except OSError as err:
        listener.close()
        raise OSError(err.errno, err.strerror, path) from err
    finally:
        os.umask(before)
    listener.listen(64)
    listener.setblocking(False)
    return listener


def _here() -> str:
    return f"OK\0{os.getpid()}\0{VERSION}\0{RELEASE}"


def _remember() -> None:
    """What is found out once, and inherited by shims and their workers."""
    layout.detect()
    bare.make_ready()
    known.remember(seccomp_default.profile(capabilities.DEFAULT))


def check_shim(memory: int) -> None:
    """`bootstrap.check` with what the zygote's forks are born with."""
    _remember()
    bootstrap.check(memory)


def resume_shim(memory: int, *, back: bool) -> None:
    """`bootstrap.resume`, likewise: a shim that is nobody's fork. It shares no pages until it rests."""
    _remember()
    gc.disable()
    bootstrap.resume(memory, back=back)


def check(path: str, memory: int) -> None:
    """What a zygote of this installation needs in order to go on from that state. Raises whatever is in the way."""
    packed = _state(memory)
    for _pid, *words in packed["shims"]:
        bootstrap.Birth.of(words, "")
    successor.arrived([])
    _remember()
    rehearsal.rehearse(f"{path}.{os.getpid()}")


def _state(memory: int) -> Packed:
    packed = memfd.read(memory)
    if packed["format"] > FORMAT:
        raise FailedPrecondition(f"a zygote's state of format {packed['format']} is newer than {FORMAT}")
    return packed


def serve(path: str, memory: int = -1) -> None:
    """The whole life of the zygote's process, and, in its forks, of the shims'; `memory` holds its life so far."""
    path = os.path.abspath(path)
    packed = _state(memory) if memory >= 0 else None
    if packed is not None:
        successor.arrived([memory, packed["listener"], *packed["managers"]])
        os.close(memory)
        oom_score.unpack(packed.get("oom_score", []))
    os.chdir("/")  # shims live long: none may hold the directory that somebody started us in
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    _remember()
    try:
        rehearsal.rehearse(f"{path}.{os.getpid()}")
    except (HakoError, OSError) as err:  # shims would be larger, no worse
        complain("the rehearsal", err)
    zygote = (
        Zygote(path, _listen(path, sockets.SEQPACKET)) if packed is None else Zygote.resumed(path, packed)
    )
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.stdout.write("\n")
    sys.stdout.flush()
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 1)
    os.close(null)
    zygote.run()
