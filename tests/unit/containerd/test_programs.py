"""Programs of runtimes: two dialects on stdin, a start that hangs, one that is asked twice, a note that does not fit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from pathlib import Path

import pytest

from hakobune.containerd.tasks import programs
from hakobune.containerd.tasks.bundle import Bundle, Place
from hakobune.containerd.tasks.makers import OfProgram
from hakobune.errors import DeadlineExceeded, Internal, ResourceExhausted, Unimplemented

SAYS = "echo unix:///run/shim.sock"
OLDER = f'if tr -d "\\0" | grep -q one; then echo "type with url one: not found" >&2; exit 1; fi; {SAYS}'
NEWER = f'if ! tr -d "\\0" | grep -q one; then echo "deprecated API" >&2; exit 1; fi; {SAYS}'
BROKEN = "cat >/dev/null; echo no such luck >&2; exit 3"
OPTIONS = b"\n\x07options"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    made = Bundle.of(str(tmp_path), "space", "one")
    made.create(b"{}")
    return made


@pytest.fixture
def caller() -> programs.Programs:
    return programs.Programs("/c.sock", "/c.sock.ttrpc", "/publisher")


def program(bundle: Bundle, body: str) -> str:
    """It also writes down that it was run."""
    path = Path(bundle.path, "containerd-shim-x-v1")
    path.write_text(f"#!/bin/sh\necho run >> {bundle.path}/runs\n{body}\n")
    path.chmod(0o755)
    return str(path)


def runs(bundle: Bundle) -> int:
    return Path(bundle.path, "runs").read_text().count("run")


@pytest.mark.parametrize(("body", "first", "then"), [(NEWER, 1, 1), (OLDER, 2, 1)])
def test_the_dialect_is_found_out_once(
    bundle: Bundle, caller: programs.Programs, body: str, first: int, then: int
) -> None:
    path = program(bundle, body)
    said = asyncio.run(caller.start(path, bundle, OPTIONS))
    bundle.note_place(said)
    assert bundle.place() == Place("/run/shim.sock", 2, "ttrpc")
    assert runs(bundle) == first
    asyncio.run(caller.start(path, bundle, OPTIONS))
    assert runs(bundle) == first + then


def test_a_program_is_replaced_by_one_of_the_other_dialect(bundle: Bundle, caller: programs.Programs) -> None:
    for body in (OLDER, NEWER, OLDER):
        path = program(bundle, body)
        assert asyncio.run(caller.start(path, bundle, OPTIONS))


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (BROKEN, Internal, "start ended with 3: no such luck"),
        ("cat >/dev/null", Internal, "does not say where it listens"),
        ('cat >/dev/null; echo "{}"', Internal, "malformed"),
        ('cat >/dev/null; echo \'{"version":9,"address":"unix:///a","protocol":"ttrpc"}\'', Unimplemented,
         "version 9"),
        ('cat >/dev/null; echo \'{"version":3,"address":"a","protocol":"vsock"}\'', Unimplemented,
         "not ttrpc or grpc"),
    ],
)  # fmt: skip
def test_what_cannot_be_used(
    bundle: Bundle, caller: programs.Programs, body: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        asyncio.run(caller.start(program(bundle, body), bundle, OPTIONS))


def test_a_start_that_hangs_is_ended_with_its_children(
    bundle: Bundle, caller: programs.Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "START_SECONDS", 2.0)
    path = program(bundle, f"sleep 600 & echo $! > {bundle.path}/child; wait")
    with pytest.raises(DeadlineExceeded, match="start does not end within 2 s"):
        asyncio.run(caller.start(path, bundle, b""))
    assert runs(bundle) == 1  # that is no matter of dialects
    child = int(Path(bundle.path, "child").read_text())
    with contextlib.suppress(ProcessLookupError):  # nobody's child here: its end is read from a pidfd
        pidfd = os.pidfd_open(child)
        assert select.select([pidfd], [], [], 30)[0]
        os.close(pidfd)


def test_a_place_that_was_not_noted_is_asked_for(bundle: Bundle, caller: programs.Programs) -> None:
    """The manager died, or its disk was full, between the start and the note."""
    path = program(bundle, OLDER)
    maker = OfProgram(path, caller)
    os.mkdir(f"{bundle.path}/bootstrap.json.new")  # nothing can be written there
    with pytest.raises(ResourceExhausted, match=r"bootstrap\.json"):
        asyncio.run(maker.make(bundle, OPTIONS))
    os.rmdir(f"{bundle.path}/bootstrap.json.new")
    before = runs(bundle)
    assert asyncio.run(maker.seek(bundle)) == Place("/run/shim.sock")
    assert runs(bundle) == before + 1
    assert asyncio.run(maker.seek(bundle)) == Place("/run/shim.sock")
    assert runs(bundle) == before + 1


@pytest.mark.parametrize(
    ("address", "protocol", "path"),
    [
        ("unix:///a", "ttrpc", "/a"),
        ("/containerd-shim/a.sock", "ttrpc", "\0/containerd-shim/a.sock"),
        ("/a", "grpc", "/a"),
        ("unix:///a", "grpc", "/a"),
        ("@a", "grpc", "\0a"),
    ],
)
def test_addresses(bundle: Bundle, address: str, protocol: str, path: str) -> None:
    bundle.note_place(f'{{"version":3,"address":"{address}","protocol":"{protocol}"}}'.encode())
    assert bundle.place() == Place(path, 3, protocol)
