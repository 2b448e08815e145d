"""Streams: the log is complete, FIFOs carry both ways, attached clients get what they ask for, a pty works."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hakobune.errors import HakoError
from hakobune.testing import shims
from hakobune.wire import side, stdcopy

pytestmark = pytest.mark.root
Make = Callable[..., shims.Task]


def logged(path: Path, stream: str = "") -> str:
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return "".join(entry["log"] for entry in entries if stream in ("", entry["stream"]))


def drain(connection: socket.socket) -> bytes:
    """All that comes until the end; closes."""
    parts = []
    with connection:
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def with_side(task: shims.Task) -> str:
    path = f"{task.socket_path}.e"
    task.bundle.edit(annotations={"io.hakobune.side": path})
    return path


def test_the_log_is_complete(make: Make, place: Path) -> None:
    log = place / "complete.log"
    task = make("sh", "-c", "seq 1 200000; printf 'no newline' >&2")
    task.create(stdout=f"json-file://{log}", stderr=f"json-file://{log}")
    task.start()
    assert task.wait().status == 0
    assert logged(log, "stdout") == "".join(f"{n}\n" for n in range(1, 200001))
    assert logged(log, "stderr") == "no newline"


def test_a_background_child_does_not_hold_the_exit(make: Make, place: Path) -> None:
    log = place / "child.log"
    task = make("sh", "-c", "(sleep 60; echo late) & echo early")
    task.create(stdout=f"json-file://{log}")
    task.start()
    assert task.wait().status == 0
    assert logged(log) == "early\n"


def test_fifos_both_ways(make: Make, place: Path) -> None:
    names = {stream: str(place / f"fifo-{stream}") for stream in ("stdin", "stdout", "stderr")}
    for path in names.values():
        os.mkfifo(path)
    task = make("sh", "-c", "cat; echo done >&2")
    opened = [os.open(names[name], os.O_RDONLY | os.O_NONBLOCK) for name in ("stdout", "stderr")]
    keep = os.open(names["stdin"], os.O_RDWR)
    task.create(**names)
    writing = os.open(names["stdin"], os.O_WRONLY)
    os.close(keep)
    task.start()
    data = os.urandom(300_000)
    got: list[bytes] = []
    for fd in opened:
        os.set_blocking(fd, True)

    def read() -> None:
        while part := os.read(opened[0], 65536):
            got.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    view = memoryview(data)
    while view:
        view = view[os.write(writing, view) :]
    os.close(writing)
    task.close_io()
    assert task.wait().status == 0
    reader.join(10)
    assert b"".join(got) == data
    assert os.read(opened[1], 100) == b"done\n"
    for fd in opened:
        os.close(fd)


def test_stdin_of_nowhere_is_empty(make: Make) -> None:
    task = make("sh", "-c", "cat && exit 9")
    task.create()
    task.start()
    assert task.wait().status == 9


def test_attach_both_ways(make: Make, place: Path) -> None:
    task = make("sh", "-c", "cat; echo bye >&2")
    path = with_side(task)
    task.create(stdin="attach:?once=1", stdout="attach:", stderr="attach:")
    engine = shims.Side(path)
    client = engine.attach(
        side.STDIN | side.STDOUT | side.STDERR | side.FRAMED, head=b"HEAD", early=b"early "
    )
    task.start()
    client.sendall(b"late\n")
    client.shutdown(socket.SHUT_WR)
    waiting = task.send_wait()
    assert task.answer_exit(waiting).status == 0
    engine.call(side.RELEASE, b"")
    got = drain(client)
    assert got.startswith(b"HEAD")
    assert stdcopy.Decoder().feed(got[4:]) == [("stdout", b"early late\n"), ("stderr", b"bye\n")] or (
        b"".join(data for name, data in stdcopy.Decoder().feed(got[4:]) if name == "stdout")
        == b"early late\n"
    )
    engine.close()


def test_a_slow_client_loses_nothing_and_holds_nobody(make: Make, place: Path) -> None:
    log = place / "slow.log"
    task = make("sh", "-c", "seq 1 300000")
    path = with_side(task)
    task.create(stdout=f"json-file://{log}")
    engine = shims.Side(path)
    client = engine.attach(side.STDOUT)
    task.start()
    assert task.wait().status == 0  # nobody has read the client's side yet
    engine.close()  # nobody will release: the shim does
    assert drain(client) == "".join(f"{n}\n" for n in range(1, 300001)).encode()


def test_detach_keys(make: Make, place: Path) -> None:
    task = make("cat", process={"terminal": True})
    path = with_side(task)
    task.create(stdin="attach:", stdout=f"json-file://{place}/detach.log", terminal=True)
    engine = shims.Side(path)
    client = engine.attach(side.STDIN | side.STDOUT, keys=b"\x10\x11")
    task.start()
    client.sendall(b"abc")
    assert client.recv(100) == b"abc"
    client.sendall(b"\x10\x11def")
    assert drain(client) == b""
    assert task.state() == "running"
    engine.close()


def test_a_terminal(make: Make, place: Path) -> None:
    log = place / "tty.log"
    task = make("sh", "-c", "tty; stty size; read x; stty size; test -c /dev/console && echo $x",
                process={"terminal": True, "consoleSize": {"height": 30, "width": 100}})  # fmt: skip
    path = with_side(task)
    task.create(stdin="attach:", stdout=f"json-file://{log}", terminal=True)
    engine = shims.Side(path)
    client = engine.attach(side.STDIN | side.STDOUT)
    task.start()
    seen = b""
    while b"30 100" not in seen:
        seen += client.recv(4096)
    task.resize(81, 25)
    client.sendall(b"typed\n")
    assert task.wait().status == 0
    engine.close()
    seen += drain(client)
    text = seen.replace(b"\r\n", b"\n").decode()
    assert text == "/dev/pts/0\n30 100\ntyped\n25 81\ntyped\n"
    assert logged(log).replace("\r\n", "\n") == text


def test_wait_handed_in(make: Make) -> None:
    task = make("sh", "-c", "exit 6")
    path = with_side(task)
    task.create()
    engine = shims.Side(path)
    client, handed = socket.socketpair()
    with handed:
        engine.call(side.WAIT, b"not-running", b"HEAD\r\n\r\n", fd=handed.fileno())
    task.start()
    assert task.wait().status == 6
    engine.call(side.RELEASE, b"")
    assert drain(client) == b'HEAD\r\n\r\n11\r\n{"StatusCode":6}\n\r\n0\r\n\r\n'
    engine.close()


def test_waits_for_the_removal_go_back(make: Make) -> None:
    task = make("true")
    path = with_side(task)
    task.create()
    engine = shims.Side(path)
    client, handed = socket.socketpair()
    with handed:
        engine.call(side.WAIT, b"removed", b"", fd=handed.fileno())
    task.start()
    task.wait()
    engine.call(side.RELEASE, b"")
    engine._seq += 1
    engine._socket.send(side.pack(side.RECLAIM, engine._seq))
    packet, fds, _flags, _address = socket.recv_fds(engine._socket, 4096, 1)
    assert side.unpack(packet)[0] == side.RETURN
    with socket.socket(fileno=fds[0]) as back:
        back.sendall(b"ours again")
    assert drain(client) == b"ours again"
    engine.close()


def test_logs_followed(make: Make, place: Path) -> None:
    log = place / "follow.log"
    task = make("sh", "-c", "echo one; sleep 0.3; echo two")
    path = with_side(task)
    task.create(stdout=f"json-file://{log}")
    engine = shims.Side(path)
    client, handed = socket.socketpair()
    query = "stdout=1&stderr=1&since=0&until=0&timestamps=0&tail=-1&framed=0&prefix="
    with handed:
        engine.call(side.LOGS, b"HEAD\n", str(log).encode(), query.encode(), fd=handed.fileno())
    engine.close()
    task.start()
    assert drain(client) == b"HEAD\none\ntwo\n"


def test_bad_messages_close_what_came_with_them(make: Make) -> None:
    task = make("sleep", "60")
    path = with_side(task)
    task.create()
    engine = shims.Side(path)
    with pytest.raises(HakoError):
        engine.call(99)  # our connection has been accepted by now
    before = len(os.listdir(f"/proc/{task.shim}/fd"))
    for kind, fields in ((99, ()), (side.ATTACH, (b"no-such", b"7", b"", b"", b"")), (side.WAIT, (b"x",))):
        client, handed = socket.socketpair()
        with handed, client, pytest.raises(HakoError):
            engine.call(kind, *fields, fd=handed.fileno())
    assert len(os.listdir(f"/proc/{task.shim}/fd")) == before
    engine._socket.send(b"\0")
    assert side.unpack(engine._socket.recv(4096))[0] == side.ERROR
    engine.close()


def test_exec_gets_what_was_typed_before_its_start(make: Make, place: Path) -> None:
    task = make("sleep", "60")
    path = with_side(task)
    task.create()
    task.start()
    engine = shims.Side(path)
    task.exec("e", ["cat"], stdin="attach:?once=1", stdout="attach:")
    client = engine.attach(side.STDIN | side.STDOUT, exec_id="e", early=b"first ")
    client.sendall(b"second")
    client.shutdown(socket.SHUT_WR)
    task.start("e")
    assert task.wait("e").status == 0
    engine.call(side.RELEASE, b"e")
    assert drain(client) == b"first second"
    engine.close()


def test_a_follower_does_not_hold_the_streams(make: Make, place: Path) -> None:
    log = place / "held.log"
    task = make("cat")
    path = with_side(task)
    task.create(stdin="attach:", stdout=f"json-file://{log}")
    engine = shims.Side(path)
    task.start()
    client, handed = socket.socketpair()
    query = "stdout=1&stderr=1&since=0&until=0&timestamps=0&tail=-1&framed=0&prefix="
    with handed:
        engine.call(side.LOGS, b"", str(log).encode(), query.encode(), fd=handed.fileno())
    task.close_io()  # its end reaches cat although a worker was forked meanwhile
    assert task.wait().status == 0
    engine.close()
    assert drain(client) == b""


def test_the_hosts_null_device_stays_the_hosts(make: Make) -> None:
    before = os.stat("/dev/null")
    task = make("true", process={"user": {"uid": 1000, "gid": 1000}})
    task.create()
    task.start()
    task.wait()
    assert (
        (os.stat("/dev/null").st_uid, os.stat("/dev/null").st_gid) == (before.st_uid, before.st_gid) == (0, 0)
    )


def test_the_shim_ends_whatever_has_become_of_its_paths(make: Make, place: Path) -> None:
    """The engine takes the side socket's path away at the same moment; or something else stands there."""
    path = str(place / "side")
    task = make("true", annotations={"io.hakobune.side": path})
    task.create()
    task.start()
    task.wait()
    os.unlink(path)
    os.mkdir(path)
    task.delete()
    task.shutdown()
    assert shims.gone(task.shim)
