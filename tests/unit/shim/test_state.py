"""A shim's state as release 0.1.0 wrote it (format 1): every release has to go on from it.

The fixture is what a shim wrote, with another room's paths; its descriptors are made again here. When the format
changes, it stays, and the new one gets a file of its own.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hakobune.errors import FailedPrecondition
from hakobune.linux import memfd
from hakobune.shim import bootstrap, handover
from hakobune.task.luggage import Luggage
from hakobune.wire import pb, ttrpc

FIXTURE = json.loads((Path(__file__).parent / "fixtures" / "state-1.json").read_text())


class Room:
    """Descriptors of the fixture's kinds, and their other ends by place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.others: dict[int, socket.socket | int] = {}
        self.fds = [self._make(place, kind) for place, kind in enumerate(FIXTURE["descriptors"])]

    def _make(self, place: int, kind: str) -> int:
        if kind == "pidfd":
            self.processes[place] = subprocess.Popen(["sleep", "60"])
            return os.pidfd_open(self.processes[place].pid)
        if kind == "eventfd":
            return os.eventfd(0)
        if kind == "file":
            return os.open(self._path / f"{place}", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        if kind.startswith("pipe"):
            reading, writing = os.pipe()
            ours, self.others[place] = (reading, writing) if kind == "pipe, reading" else (writing, reading)
            return ours
        if kind.endswith("listener"):
            listener = socket.socket(
                socket.AF_UNIX, socket.SOCK_SEQPACKET if "packet" in kind else socket.SOCK_STREAM
            )
            listener.bind(str(self._path / f"l{place}"))
            listener.listen()
            return listener.detach()
        one, other = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET if kind == "packets" else socket.SOCK_STREAM
        )
        other.settimeout(10)
        self.others[place] = other
        return one.detach()

    def kill(self) -> None:
        for process in self.processes.values():
            process.kill()

    def close(self) -> None:
        self.kill()
        for process in self.processes.values():
            process.wait()
        for other in self.others.values():
            other.close() if isinstance(other, socket.socket) else os.close(other)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    before = {number: signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)}
    made = Room(tmp_path)
    yield made
    made.close()
    for number, handler in before.items():
        signal.signal(number, handler)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()  # a shim closes its sockets by ending


def restored(room: Room, **changes: Any) -> bootstrap.Shim:
    document = json.loads(json.dumps(FIXTURE["document"])) | changes
    for member in document["service"]["members"]:
        member["pid"] = room.processes[member["pidfd"]].pid
    birth = bootstrap.Birth.of(document["birth"], "")
    return bootstrap.Shim.restored(birth, memfd.write(document), Luggage(room.fds))


def test_it_goes_on_from_there(room: Room, capfd: pytest.CaptureFixture[str]) -> None:
    places = FIXTURE["document"]
    init = places["service"]["members"][0]["stdio"]
    shim = restored(room)
    steps = [lambda: os.write(room.others[init["outputs"]["stdout"]["fd"]], b"ne\nmore\n"), shim.loop.stop]  # type: ignore[arg-type]
    for number, step in enumerate(steps):
        shim.loop.later(0.1 * number + 0.01, step)
    manager = room.others[places["server"]["connections"][1]["duplex"]["fd"]]
    assert isinstance(manager, socket.socket)
    request = ttrpc.pack_request(ttrpc.Request("containerd.task.v3.Task", "Pids", pb.field(1, "box")))
    begun = places["server"]["connections"][1]["read"].encode("latin-1")
    whole = ttrpc.pack(ttrpc.Frame(1, ttrpc.REQUEST, 0, request))
    assert whole.startswith(begun)
    manager.sendall(whole[len(begun) :])
    shim.loop.run()
    client = room.others[init["clients"][0]["duplex"]["fd"]]
    assert isinstance(client, socket.socket)
    assert client.recv(100) == b"late" + b"\1\0\0\0\0\0\0\x08ne\nmore\n"
    log = os.pread(room.fds[init["log"]["fd"]], 1000, 0).decode().splitlines()
    assert [json.loads(line)["log"] for line in log] == ["half a line\n", "more\n"]
    (frame,) = ttrpc.Decoder().feed(manager.recv(1000))
    assert ttrpc.unpack_response(frame.data).code == 0
    shim.loop.close()
    capfd.readouterr()  # there is no such control group


def test_an_end_is_told_to_who_waits(room: Room, capfd: pytest.CaptureFixture[str]) -> None:
    places = FIXTURE["document"]
    shim = restored(room)
    manager = room.others[places["server"]["connections"][0]["duplex"]["fd"]]
    assert isinstance(manager, socket.socket)
    for member in places["service"]["members"]:
        for one in member["stdio"]["outputs"].values():
            os.close(room.others.pop(one["fd"]))  # type: ignore[arg-type]
    shim.loop.later(0.1, room.kill)
    shim.loop.later(0.5, shim.loop.stop)
    shim.loop.run()
    decoder = ttrpc.Decoder()
    frames = decoder.feed(manager.recv(1000))
    asked = {stream for _place, stream, _exec in places["server"]["waits"]} | {
        places["server"]["renewing"][1]
    }
    assert {frame.stream for frame in frames} == asked
    ends = [frame for frame in frames if frame.stream != places["server"]["renewing"][1]]
    statuses = [pb.number(pb.decode(ttrpc.unpack_response(frame.data).payload), 1) for frame in ends]
    assert statuses == [137, 137]
    shim.loop.close()
    capfd.readouterr()


def test_what_a_newer_release_adds_is_left_alone(room: Room, capfd: pytest.CaptureFixture[str]) -> None:
    shim = restored(room, weather={"rain": True})
    assert shim.loop.interests
    shim.loop.close()
    capfd.readouterr()


def test_a_newer_format_is_refused(room: Room) -> None:
    with pytest.raises(FailedPrecondition, match=f"newer than {handover.FORMAT}"):
        restored(room, format=handover.FORMAT + 1)
