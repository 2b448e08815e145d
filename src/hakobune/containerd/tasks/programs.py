"""Runs the program of a runtime, `containerd-shim-NAME-VERSION`, for its two actions.

`start` prints where the shim listens, in one of three ways: the plain address; JSON {version, address, protocol}; the
same as protobuf (BootstrapResult: version 1, address 2, protocol 3). What it may want to know comes as arguments, in the
environment, and on stdin: BootstrapParams for programs of containerd 2.3 and later, the options' Any, or nothing, for older
ones, which refuse the other. Which one a program takes is found out by trying. `delete` prints a DeleteResponse
(pid 1, exit status 2, exited at 3). Source: containerd, docs/runtime-v2.md, api/runtime/bootstrap/v1.
Imports: asyncio, json, shutil, wire.pb.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys

from hakobune.containerd.tasks.bundle import Bundle
from hakobune.containerd.tasks.shim import LINES
from hakobune.errors import DeadlineExceeded, Internal, InvalidArgument, NotFound, Unimplemented
from hakobune.version import VERSION
from hakobune.wire import pb

START_SECONDS = 30.0
DELETE_SECONDS = 30.0
NEWEST = 3  # of the task services
_MOST = 1 << 20


def find(runtime: str) -> str:
    """The program's path: an absolute one is taken as it is, else by the name's last two parts, from PATH.

    Raises InvalidArgument, NotFound.
    """
    if runtime.startswith("/"):
        if not os.access(runtime, os.X_OK):
            raise NotFound(f"runtime {runtime!r} is no program that can be executed")
        return runtime
    words = runtime.split(".")
    if len(words) < 2 or not all(words) or "/" in runtime:
        raise InvalidArgument(f"runtime {runtime!r} is neither a name like io.containerd.runc.v2 nor a path")
    name = "containerd-shim-" + "-".join(words[-2:])
    beside = os.path.join(os.path.dirname(sys.executable), name)
    found = shutil.which(name) or (beside if os.access(beside, os.X_OK) else None)
    if found is None:
        raise NotFound(f"runtime {runtime!r}: {name} is not installed")
    return os.path.abspath(found)


_TOO_OLD = "deprecated API"  # what a newer program says of older words on stdin


class Programs:
    """What all of them are told: our addresses, and the program that publishes events for those that cannot."""

    def __init__(self, address: str, events_address: str, publisher: str) -> None:
        self._address = address
        self._events_address = events_address
        self._publisher = publisher
        self._older: set[str] = set()  # programs that have refused BootstrapParams and taken the options

    async def start(self, program: str, bundle: Bundle, options: bytes) -> bytes:
        """Start a shim; its place as bootstrap.json has it. Raises Internal with the program's words, Unimplemented, DeadlineExceeded."""
        said = await self._started(program, bundle, options)
        version, address, protocol = place_in(said)
        if protocol not in LINES:
            raise Unimplemented(f"{program} speaks {protocol!r} and not {' or '.join(LINES)}")
        if not 2 <= version <= NEWEST:
            raise Unimplemented(f"{program} serves version {version} of the task API, and not 2 or {NEWEST}")
        return json.dumps({"version": version, "address": address, "protocol": protocol}).encode()

    async def _started(self, program: str, bundle: Bundle, options: bytes) -> bytes:
        older = program in self._older
        try:
            return await self._spoken(program, bundle, options, older=older)
        except Internal as first:
            try:
                said = await self._spoken(program, bundle, options, older=not older)
            except Internal as second:
                raise first if _TOO_OLD in str(second) else second from None
        # Only the second try says something: one that finds its shim running answers before it looks at stdin.
        (self._older.discard if older else self._older.add)(program)
        return said

    async def _spoken(self, program: str, bundle: Bundle, options: bytes, *, older: bool) -> bytes:
        stdin = options if older else self._params(bundle, options)
        return await self._run(program, bundle, [], "start", stdin, START_SECONDS)

    def _params(self, bundle: Bundle, options: bytes) -> bytes:
        words = [pb.field(1, bundle.id), pb.field(2, bundle.namespace), pb.field(4, VERSION),
                 pb.field(5, self._events_address), pb.field(6, self._address), pb.field(7, self._publisher)]  # fmt: skip
        if options:
            words.append(pb.message(8, pb.message(1, options)))
        return b"".join(words)

    async def describe(self, runtime: str, options: bytes) -> bytes:
        """What a runtime says of itself: a serialised containerd.types.RuntimeInfo; `options` is its Any, or empty.

        Raises InvalidArgument, NotFound, Internal with the program's words (those from before containerd 2.0 cannot).
        """
        program = find(runtime)
        return await self._said([program, "-info"], "-info", "/", dict(os.environ), options, START_SECONDS)

    async def delete(self, program: str, bundle: Bundle) -> tuple[int, int]:
        """Clean up after a shim; init's (status, nanoseconds). Raises Internal with the program's words, DeadlineExceeded."""
        said = await self._run(program, bundle, ["-bundle", bundle.path], "delete", b"", DELETE_SECONDS)
        try:
            fields = pb.decode(said)
            stamp = pb.decode(pb.blob(fields, 3))
        except ValueError as err:
            raise Internal(f"{program} delete: {err}") from err
        return pb.number(fields, 2), pb.number(stamp, 1) * 1_000_000_000 + pb.number(stamp, 2)

    async def _run(
        self, program: str, bundle: Bundle, more: list[str], action: str, stdin: bytes, seconds: float
    ) -> bytes:
        line = [program, "-namespace", bundle.namespace, "-address", self._address, "-publish-binary", self._publisher,
                "-id", bundle.id, *more, action]  # fmt: skip
        environment = os.environ | {
            "MAX_SHIM_VERSION": str(NEWEST), "TTRPC_ADDRESS": self._events_address, "GRPC_ADDRESS": self._address,
            "NAMESPACE": bundle.namespace,
        }  # fmt: skip
        return await self._said(line, action, bundle.path, environment, stdin, seconds)

    async def _said(
        self,
        line: list[str],
        action: str,
        place: str,
        environment: dict[str, str],
        stdin: bytes,
        seconds: float,
    ) -> bytes:
        program = line[0]
        try:
            process = await asyncio.create_subprocess_exec(
                *line, cwd=place, env=environment, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        except OSError as err:
            raise Internal(f"{program}: {err.strerror}") from err
        try:
            said, complaint = await asyncio.wait_for(process.communicate(stdin), seconds)
        except TimeoutError:
            raise DeadlineExceeded(f"{program} {action} does not end within {seconds:g} s") from None
        finally:
            if process.returncode is None:  # with its children: not the shim, which is of a group of its own
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            text = (complaint or said).decode(errors="replace").strip() or "without a word"
            raise Internal(f"{program} {action} ended with {process.returncode}: {text}")
        return said[:_MOST]


def place_in(said: bytes) -> tuple[int, str, str]:
    """(version, address, protocol) in what a `start` has printed. Raises Internal."""
    text = said.strip()
    if text[:1] == b"{":
        try:
            record = json.loads(text)
            return int(record.get("version", 2)), str(record["address"]), str(record["protocol"]).lower()
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise Internal(f"a shim's place is malformed: {text[:200]!r}") from err
    try:
        fields = pb.decode(said)
        if pb.text(fields, 2):
            return pb.number(fields, 1), pb.text(fields, 2), pb.text(fields, 3).lower()
    except ValueError:
        pass  # it is plain text
    if not text:
        raise Internal("a shim has been started that does not say where it listens")
    return 2, text.decode(errors="replace"), "ttrpc"
