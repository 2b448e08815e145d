"""Pages given back: a shim drops its copies of pages which have become equal to the zygote's again.

Most of what a shim copies it copies for a reference counted up and down. Some time after something has
happened it forks a judge, which is the zygote's child and not the shim's, and waits for it to name such
pages (linux/image.py has the means). Where that cannot be done shims are larger, and no worse.
Imports: os, struct; linux.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

from hakobune.errors import HakoError
from hakobune.linux import image, sockets, syscalls
from hakobune.linux.sockets import Socket
from hakobune.task.loop import Loop, complain

FIRST_SECONDS = 1.0
PATIENCE = struct.pack("@ll", 0, 250_000)  # struct timeval: a shim is not kept from its work for longer

_image: image.Image | None = None


def prepare() -> None:
    """In the zygote, when everything is made: put the heap on a file."""
    global _image
    fill_holes()
    try:
        _image = image.take()
    except (HakoError, OSError) as err:
        complain("pages will not be given back", err)


_POOL = 1 << 14  # pymalloc's pool; its first block stands after a header of 48 bytes
_MOST_BLOCKS = 20_000
_filling: list[list[object]] = []


def fill_holes() -> None:
    """Use up the free blocks of the allocator's pools: what a fork makes then stands together in new ones."""
    header = b"".__sizeof__()
    makers: list[Callable[[int], object]] = [
        lambda _number: object(),
        lambda number: 10**9 + number,
    ]  # 16, 32
    makers += [lambda _number, size=size: bytes(size - header) for size in range(48, 513, 16)]  # type: ignore[misc]
    for make in makers:
        blocks = [make(0)]
        _filling.append(blocks)
        while id(blocks[-1]) % _POOL != 48 and len(blocks) < _MOST_BLOCKS:
            blocks.append(make(len(blocks)))


def descriptors() -> tuple[int, ...]:
    """Those which template and shims keep open."""
    return _image.descriptors() if _image is not None else ()


def keep_lean(loop: Loop) -> None:
    """In a shim: give back after it was busy."""
    loop.tidy(FIRST_SECONDS, give_back)


def give_back() -> None:
    """Now; not again when there can be no judge."""
    global _image
    if _image is not None:
        try:
            _ask_judge(_image)
        except OSError as err:
            complain("no more pages are given back", err)
            _image = None


def _ask_judge(heap: image.Image) -> None:
    ours, theirs = sockets.pair(sockets.SEQPACKET)
    ours.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVTIMEO, PATIENCE)
    os.dup2(ours.fileno(), heap.gate, inheritable=False)
    pid = os.getpid()
    handle = os.pidfd_open(pid)
    os.dup2(handle, heap.self, inheritable=False)
    child = syscalls.fork_sibling()
    if child == 0:
        _judge(heap, theirs, pid)
    theirs.close()
    if child > 0:
        heap.give_back()
    os.dup2(heap.fd, heap.gate, inheritable=False)
    os.dup2(heap.fd, heap.self, inheritable=False)
    ours.close()
    os.close(handle)


def _judge(heap: image.Image, channel: Socket, pid: int) -> None:
    """The judge's whole life; never returns."""
    try:
        channel_fd = channel.fileno()
        kept = sorted((channel_fd, heap.fd))
        os.closerange(0, kept[0])
        os.closerange(kept[0] + 1, kept[1])
        os.closerange(kept[1] + 1, os.sysconf("SC_OPEN_MAX"))
        if channel.recv(1):
            channel.send(image.pack(image.judge(heap, pid)))
    finally:
        os._exit(0)
