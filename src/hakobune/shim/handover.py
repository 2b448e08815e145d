"""A living shim goes over to a new process: a fork of the zygote that gets its state and its descriptors.

Why: a shim at rest should cost what a bare fork costs (`sleep` builds none of the shim's objects until something
happens), and a new zygote's fork runs the new code. The container does not notice: pipes, pty, listening
sockets and connections are the same open files, and what has not been read waits in the kernel.

  old shim -> zygote   MOVE; COME for an answer   a zygote that is stopped gets no descriptor, which would keep a pipe open
  old shim -> zygote   ADOPT \\0 mode \\0 seconds \\0 polls \\0 namespace \\0 id \\0 bundle \\0 socket \\0 events   + memfd, descriptors
  new shim -> old      READY     it has everything (and, awake, has built everything of it)
  old shim -> new      GO        and leaves at once, with LEFT for a status; from here on the new one is the shim

Until GO the old one is the shim: on any other word, the end of the connection or after SECONDS it goes on, and
the new one ends as DECLINED without having touched anything. Killed at any point, one of the two is left, or the zygote
buries the container when the last one has died. The document is JSON (FORMAT); its descriptors are named by
their place in the packet (task.luggage). Imports: os, select; linux, task.
"""

from __future__ import annotations

import os
import select
from dataclasses import dataclass

from hakobune.errors import FailedPrecondition
from hakobune.failpoint import reach
from hakobune.linux import memfd, sockets
from hakobune.linux.sockets import Socket
from hakobune.task.luggage import Luggage, Packed

FORMAT = 1
MOST = 250  # descriptors of one packet: SCM_MAX_FD is 253
LEFT = 77  # exit status of a shim that lives on in another process
DECLINED = 78  # … of a process that was to become a shim and did not
IN_ORDER = (LEFT << 8, DECLINED << 8)  # as wait statuses
ASLEEP, AWAKE = "asleep", "awake"
# that the old shim waits for each word; nobody reads the container's output meanwhile
SECONDS = {ASLEEP: 1.0, AWAKE: 5.0}
MOVE, COME = b"MOVE", b"COME"
_READY, _GO = b"READY", b"GO"


@dataclass(frozen=True, slots=True)
class Offer:
    """What the old shim sends beside its document. `polls`: (place of a descriptor, events that wake)."""

    mode: str
    seconds: float  # until something is to be done without an event; -1 for never
    polls: list[tuple[int, int]]
    birth: tuple[str, ...]

    def words(self) -> bytes:
        """As it travels."""
        polls = ",".join(f"{place}:{events}" for place, events in self.polls)
        return "\0".join(("ADOPT", self.mode, f"{self.seconds:.3f}", polls, *self.birth)).encode()


def read_offer(words: list[str]) -> Offer:
    """The inverse of `Offer.words`, split. Raises ValueError."""
    _adopt, mode, seconds, polls, *birth = words
    if mode not in (ASLEEP, AWAKE) or len(birth) != 5:
        raise ValueError(f"an offer of {len(words)} words, mode {mode!r}, is not understood")
    pairs = [pair.partition(":") for pair in polls.split(",") if pair]
    return Offer(mode, float(seconds), [(int(a), int(b)) for a, _, b in pairs], tuple(birth))


def offer(path: str, what: Offer, document: Packed, luggage: Luggage) -> bool:
    """Offer ourselves to the zygote at `path`; True: a new process is the shim, leave at once.

    Raises OSError, and FailedPrecondition for more descriptors than a packet takes; we are still the shim then.
    """
    if len(luggage.fds) > MOST:
        raise FailedPrecondition(f"{len(luggage.fds)} descriptors are more than the {MOST} of one packet")
    channel = sockets.unix(sockets.SEQPACKET)
    memory = memfd.write({"format": FORMAT, **document})
    try:
        channel.settimeout(SECONDS[what.mode])
        channel.connect(path)
        channel.send(MOVE)
        if channel.recv(64) != COME:
            return False
        sockets.send(channel, what.words(), memory, *luggage.fds)
        reach("shim.move.offered")
        if channel.recv(64) != _READY:
            return False
        channel.send(_GO)
        reach("shim.move.left")
        return True
    finally:
        os.close(memory)
        channel.close()


def document(memory: int) -> Packed:
    """What is in the memfd. Raises FailedPrecondition for a format that is newer than ours, ValueError."""
    packed = memfd.read(memory)
    if packed["format"] > FORMAT:
        raise FailedPrecondition(f"a shim's state of format {packed['format']} is newer than {FORMAT}")
    return packed


def take_over(channel: Socket) -> None:
    """Say READY and wait for GO; without it this process was never the shim, and ends."""
    try:
        channel.setblocking(True)
        channel.send(_READY)
        word = channel.recv(64)
    except OSError:
        word = b""
    if word != _GO:
        os._exit(DECLINED)
    channel.close()


def sleep(polls: list[tuple[int, int]], seconds: float) -> None:
    """Until something happens to one of the descriptors, or for `seconds`. Few lines: each costs every sleeper."""
    poller = select.epoll(len(polls))
    for fd, events in polls:
        poller.register(fd, events)
    poller.poll(seconds, 1)
    poller.close()
