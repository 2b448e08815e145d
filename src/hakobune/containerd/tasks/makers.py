"""Who makes a task's shim, and cleans up when it has gone: our zygote, or a program of the runtime (containerd's runtime v2).

Both leave everything that must be known again after a crash in the bundle. Imports: asyncio, shim.manager_client, task.runtimes, cgroups.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Sequence
from typing import Protocol

from hakobune.cgroups.cgroup import Cgroup
from hakobune.containerd.tasks.bundle import Bundle, Place
from hakobune.errors import HakoError, Unavailable
from hakobune.failpoint import reach
from hakobune.shim.manager_client import Zygote

OWN = frozenset(("", "hako", "io.containerd.hako.v1"))  # runtimes whose shims the zygote forks
KILLED = 137
_RECORD_SECONDS = 0.5  # how long a zygote may take to write down the end of a shim that was killed
_LOG = logging.getLogger("hakobune.tasks")


class Maker(Protocol):
    """Makes shims of one kind."""

    async def make(self, bundle: Bundle, options: bytes) -> None:
        """A shim; `options` is a serialised Any, or empty. Raises HakoError: there may be one nevertheless."""

    async def seek(self, bundle: Bundle) -> Place:
        """Where it listens, if there is one: also that of a `make` which failed, or over which a manager died.

        Raises HakoError.
        """

    async def end(self, bundle: Bundle) -> tuple[int, int]:
        """The shim has gone: the container ends with it; init's (status, nanoseconds), found or decided, on the disk."""

    async def clean(self, bundle: Bundle) -> None:
        """After `end`, or a creation that failed: nothing of it is left but the bundle. Idempotent."""


class OfZygote:
    """Shims of our own."""

    def __init__(self, zygote: Zygote, events_address: str) -> None:
        self._zygote = zygote
        self._events_address = events_address

    async def make(self, bundle: Bundle, options: bytes) -> None:
        """One fork; the options come with the creation."""
        await self._zygote.shim(bundle.namespace, bundle.id, bundle.path, bundle.socket, self._events_address)

    async def seek(self, bundle: Bundle) -> Place:
        """Where it was told to."""
        return Place(bundle.socket)

    async def end(self, bundle: Bundle) -> tuple[int, int]:
        """Kill what is left; the zygote writes down that it has seen it, most of the time."""
        await asyncio.to_thread(_kill, bundle)
        reach("containerd.bury.killed")
        found = bundle.exit_status()
        for _ in range(int(_RECORD_SECONDS / 0.02)):
            if found is not None:
                break
            await asyncio.sleep(0.02)
            found = bundle.exit_status()
        return found or bundle.record_exit(KILLED)

    async def clean(self, bundle: Bundle) -> None:
        """Its control group, and what its runtime does at its end."""
        await asyncio.to_thread(_remove_cgroup, bundle)
        for failed in await asyncio.to_thread(_after, bundle):
            _LOG.warning("%s/%s: %s", bundle.namespace, bundle.id, failed)


def _after(bundle: Bundle) -> Sequence[str]:
    """In a thread."""
    from hakobune.task import runtimes  # with all of the OCI runtime: three megabytes for who needs it

    return runtimes.after(bundle.id, bundle.path)


def _kill(bundle: Bundle) -> None:
    """In a thread: everything in the cgroup, and wait for its end."""
    path = bundle.cgroup()
    if path:
        with contextlib.suppress(OSError, HakoError):
            cgroup = Cgroup.find(path)
            cgroup.kill()
            cgroup.wait_empty(2.0)


def _remove_cgroup(bundle: Bundle) -> None:
    path = bundle.cgroup()
    if path:
        _kill(bundle)
        try:
            Cgroup.find(path).delete(remove_empty_parents=True)
        except (OSError, HakoError) as err:
            _LOG.warning("cgroup %s of %s: %s", path, bundle.id, err)


class OfProgram:
    """Shims that a program starts when it is asked to, and cleans up after, in a run of its own each time."""

    def __init__(self, program: str, caller: Caller) -> None:
        self._program = program
        self._caller = caller

    async def make(self, bundle: Bundle, options: bytes) -> None:
        """Its `start`."""
        bundle.note_program(self._program)
        reach("containerd.program.noted")
        said = await self._caller.start(self._program, bundle, options)
        reach("containerd.program.said")
        bundle.note_place(said)

    async def seek(self, bundle: Bundle) -> Place:
        """As noted. Without a note: asked a second time, `start` says where the shim is that it has started already."""
        if (place := bundle.place()) is None:
            bundle.note_place(await self._caller.start(self._program, bundle, b""))
            place = bundle.place()
        if place is None:
            raise Unavailable(f"{self._program} has started no shim for {bundle.id}")
        return place

    async def end(self, bundle: Bundle) -> tuple[int, int]:
        """Its `delete`, which says how init ended."""
        status, at = KILLED, 0
        try:
            status, at = await self._caller.delete(self._program, bundle)
        except HakoError as err:
            _LOG.warning("%s/%s: %s", bundle.namespace, bundle.id, err)
        return bundle.record_exit(status, at)

    async def clean(self, bundle: Bundle) -> None:
        """Its `delete` once more: a creation may have failed with everything there."""
        if not os.path.isdir(bundle.path):
            return
        with contextlib.suppress(HakoError):
            await self._caller.delete(self._program, bundle)
        bundle.unmount()
        if (place := bundle.place()) is not None:
            _unlink_dead(place.path)


def _unlink_dead(path: str) -> None:
    """The socket of a shim that was killed: its program leaves it. Another task's shim may listen there, too."""
    if path.startswith("\0"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                os.unlink(path)
        except OSError:
            pass  # it has gone, or somebody is there and busy


class Caller(Protocol):
    """Runs programs of runtimes: tasks/programs.py."""

    async def start(self, program: str, bundle: Bundle, options: bytes) -> bytes: ...
    async def delete(self, program: str, bundle: Bundle) -> tuple[int, int]: ...


class Makers:
    """The maker for a runtime's name, and for a bundle that is found at boot."""

    def __init__(self, own: OfZygote, caller: Caller, find: Finder) -> None:
        self._own = own
        self._caller = caller
        self._find = find

    def of(self, runtime: str) -> Maker:
        """Raises InvalidArgument, NotFound for a runtime without a program here."""
        return self._own if runtime in OWN else OfProgram(self._find(runtime), self._caller)

    def of_bundle(self, bundle: Bundle) -> Maker:
        """Who has made the shim of a bundle from before."""
        program = bundle.program()
        return OfProgram(program, self._caller) if program else self._own


class Finder(Protocol):
    """Where the program of a runtime is: tasks/programs.py."""

    def __call__(self, runtime: str) -> str: ...
