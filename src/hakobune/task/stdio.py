"""The standard streams of one process of the container: pipes or a pty, their log and their clients.

The shim holds the far ends for the whole life of the process, so the daemons may come and go.
Where the output goes is a URI of the task's request:
  ""                                   nowhere (/dev/null)
  attach:                              to the attached clients only
  json-file:///path?max-size=&max-file=   to a log in Docker's json-file format, and to clients
  /path                                to a FIFO that a containerd client has made
  binary:///path?name=value            to a program that is started for it (task/logger.py)
and where the input comes from: "" (/dev/null), `attach:` (clients; `attach:?once=1` closes it with the
first client that ends its sending), or a FIFO's path.
Imports: os, duplex, logs.json_file, wire.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Protocol

from hakobune.logs.json_file import Writer
from hakobune.oci.init import terminal
from hakobune.oci.init.child import Streams
from hakobune.task import logger
from hakobune.task.duplex import Duplex
from hakobune.task.loop import Loop, complain
from hakobune.task.luggage import Luggage, Packed
from hakobune.task.luggage import data as packed_data
from hakobune.task.luggage import text as packed_text
from hakobune.wire import side

KNOCK_SECONDS, MOST_KNOCK_SECONDS = 0.005, 0.5  # between two tries to open a FIFO that nobody reads yet
EARLY_LIMIT = 64 * 1024  # bytes of input kept for a process that is not there yet, before its senders wait
_FRAME = {"stdout": b"\x01\0\0\0", "stderr": b"\x02\0\0\0"}
_FLAG = {"stdout": side.STDOUT, "stderr": side.STDERR}


class Log(Protocol):
    """Where output is kept; see logs.json_file.Writer."""

    def write(self, stream: str, data: bytes) -> None: ...
    def pack(self) -> tuple[int, dict[str, object]]: ...
    def close(self) -> None: ...


class Client:
    """One attached connection."""

    __slots__ = ("detach_keys", "duplex", "flags", "matched")

    def __init__(self, flags: int, detach_keys: bytes) -> None:
        self.flags = flags
        self.detach_keys = detach_keys
        self.matched = 0
        self.duplex: Duplex

    def pack(self, luggage: Luggage) -> Packed:
        """Its state, for another process."""
        return {"flags": self.flags, "detach_keys": packed_text(self.detach_keys), "matched": self.matched,
                "duplex": self.duplex.pack(luggage)}  # fmt: skip

    def show(self, stream: str, data: bytes) -> None:
        """Send one piece of output, framed when the client wants frames."""
        if self.flags & _FLAG[stream]:
            if self.flags & side.FRAMED:
                data = _FRAME[stream] + len(data).to_bytes(4, "big") + data
            self.duplex.write(data)


class Stdio:
    """Built before the process, closed when all output has been read and the clients are answered.

    `on_drained()` is called once, when no output can come any more.
    """

    def __init__(self, loop: Loop, *, terminal: bool, stdin: str, stdout: str, stderr: str,
                 spill: str, on_drained: Callable[[], None], owner: tuple[str, str] = ("", "")) -> None:  # fmt: skip
        self.terminal = terminal
        self.stdin_uri, self.stdout_uri, self.stderr_uri = stdin, stdout, stderr
        self._once = stdin.endswith("?once=1")
        self._loop = loop
        self._log: Log | None = None
        self._spill = spill
        self._owner = owner  # container id and namespace, for a logging program
        self._on_drained = on_drained
        self._clients: list[Client] = []
        self._outputs: dict[str, Duplex] = {}
        self._fifos: dict[str, Duplex] = {}
        self._input: Duplex | None = None
        # What clients sent before the process has an input; None: it has one, or never will.
        self._early: list[bytes] | None = [] if stdin else None
        self._early_end = False
        self._input_closing = False
        self._source: Duplex | None = None  # a FIFO which feeds the input
        self._childs: list[int] = []
        self.size: tuple[int, int] | None = None  # rows, columns; asked for before the pty was there
        self.drained = False
        self.on_input_end: Callable[[], None] = lambda: None  # what there was of input is out, and closed
        self.followers: list[
            int
        ] = []  # closed when the output is complete: the sign for those who read the log

    # --- before the process ---

    def make(self, log: Log | None) -> Streams | None:
        """The process's own ends; None with a terminal (the pty comes later, see `console`)."""
        self._log = log
        if self.terminal:
            self._open_fifos()
            return None
        stdin = self._null() if not self.stdin_uri else self._pipe_in()
        stdout = self._pipe_out("stdout", self.stdout_uri)
        stderr = self._pipe_out("stderr", self.stderr_uri)
        self._open_fifos()
        self._input_ready()
        return Streams(stdin, stdout, stderr)

    def join(self, log: Log | None, stdin: str, stdout: str, stderr: str) -> None:
        """The process is another's, who has the other ends of these FIFOs ("" for none). Raises OSError.

        A FIFO that nobody has opened for writing yet is not at its end: the kernel reports that after the first writer.
        """
        self._log = log
        for stream, path in (("stdout", stdout), ("stderr", stderr)):
            if path:
                self._outputs[stream] = self._reader(
                    stream, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                )
        if stdin:
            self._knock(stdin, KNOCK_SECONDS)
        else:
            self._input_ready()

    def _knock(self, path: str, seconds: float) -> None:
        """Open a FIFO as soon as it has a reader: what is written before, and closed, nobody would get."""
        if self.drained:
            return
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as err:
            if err.errno == errno.ENXIO:
                self._loop.later(seconds, lambda: self._knock(path, min(2 * seconds, MOST_KNOCK_SECONDS)))
            return
        self._input = self._feeder(fd)
        self._input_ready()

    def made(self) -> None:
        """The process has its ends: close ours of them."""
        self._close_childs()
        if not self._outputs and not self.terminal:
            self._drained()

    def _close_childs(self) -> None:
        for fd in self._childs:
            os.close(fd)
        self._childs.clear()

    def _null(self) -> int:
        fd = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._childs.append(fd)
        return fd

    def _pipe_in(self) -> int:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        self._childs.append(reading)
        self._input = self._feeder(writing)
        return reading

    def _feeder(self, fd: int) -> Duplex:
        return Duplex(self._loop, fd, on_gone=self._input_gone, on_room=self._input_room)

    def _pipe_out(self, stream: str, uri: str) -> int:
        if not uri:
            return self._null()
        reading, writing = os.pipe2(os.O_CLOEXEC)
        self._childs.append(writing)
        self._outputs[stream] = self._reader(stream, reading)
        return writing

    def _reader(self, stream: str, fd: int) -> Duplex:
        return Duplex(
            self._loop,
            fd,
            on_data=lambda data: self._output(stream, data),
            on_end=lambda: self._ended(stream),
        )

    def console(self, master: int) -> None:
        """The pty exists: its master is the output and the input. A size that was asked for before holds now."""
        if self.size is not None:
            terminal.resize(master, *self.size)
        self._outputs["stdout"] = self._input = self._screen(master)
        self._input_ready()

    def _screen(self, master: int) -> Duplex:
        return Duplex(
            self._loop,
            master,
            on_data=lambda data: self._output("stdout", data),
            on_end=lambda: self._ended("stdout"),
            on_gone=lambda: self._ended("stdout"),
            on_room=self._input_room,
        )

    # --- FIFOs of a containerd client ---

    def _open_fifos(self) -> None:
        if self.stdout_uri.startswith(logger.SCHEME):
            for stream, fd in logger.start(self.stdout_uri, *self._owner).items():
                self._fifos[stream] = self._fifo(fd)
        for stream, uri in (("stdout", self.stdout_uri), ("stderr", self.stderr_uri)):
            if uri.startswith("/") and not (self.terminal and stream == "stderr"):
                # Opened for both directions, so that it neither blocks now nor breaks without a reader.
                fd = os.open(uri, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
                self._fifos[stream] = self._fifo(fd)
        if self.stdin_uri.startswith("/"):
            fd = os.open(self.stdin_uri, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._source = self._fountain(fd)

    def _fifo(self, fd: int) -> Duplex:
        return Duplex(self._loop, fd, on_room=lambda: self._throttle(False))

    def _fountain(self, fd: int) -> Duplex:
        return Duplex(self._loop, fd, on_data=self.feed, on_end=self.close_stdin)

    # --- to another process and back ---

    def pack(self, luggage: Luggage) -> Packed:
        """All of it, for another process; not while the process is being made."""
        log: Packed | None = None
        if self._log is not None and not self.drained:
            fd, log = self._log.pack()
            log["fd"] = luggage.pack(fd)
        many = (("outputs", self._outputs), ("fifos", self._fifos))
        return {
            "terminal": self.terminal, "stdin": self.stdin_uri, "stdout": self.stdout_uri,
            "stderr": self.stderr_uri, "size": self.size, "drained": self.drained, "log": log,
            "early": None if self._early is None else packed_text(b"".join(self._early)),
            "early_end": self._early_end, "input_closing": self._input_closing,
            "input": _pack_one(self._input, luggage), "source": _pack_one(self._source, luggage),
            "clients": [client.pack(luggage) for client in self._clients],
            "followers": [luggage.pack(fd) for fd in self.followers],
            **{name: {key: one.pack(luggage) for key, one in found.items()} for name, found in many},
        }  # fmt: skip

    def unpack(self, packed: Packed, luggage: Luggage) -> None:
        """Go on where another process stood; `self` is new, made of the same URIs."""
        self.drained = packed["drained"]
        self.size = tuple(packed["size"]) if packed["size"] else None
        if packed["log"] is not None and not self.drained:
            self._log = Writer.unpack(luggage.take(packed["log"]["fd"]), packed["log"])
        early = packed["early"]
        self._early = None if early is None else [packed_data(early)] if early else []
        self._early_end, self._input_closing = packed["early_end"], packed["input_closing"]
        self.followers = [luggage.take(place) for place in packed["followers"]]
        for stream, one in packed["outputs"].items():
            fd = luggage.take(one["fd"])
            made = self._screen(fd) if self.terminal else self._reader(stream, fd)
            self._outputs[stream] = made.unpack(one, luggage)
        if self.terminal:
            self._input = self._outputs.get("stdout")
        elif packed["input"] is not None:
            self._input = self._feeder(luggage.take(packed["input"]["fd"])).unpack(packed["input"], luggage)
        for stream, one in packed["fifos"].items():
            self._fifos[stream] = self._fifo(luggage.take(one["fd"])).unpack(one, luggage)
        if packed["source"] is not None:
            fd = luggage.take(packed["source"]["fd"])
            self._source = self._fountain(fd).unpack(packed["source"], luggage)
        for one in packed["clients"]:
            client = Client(one["flags"], packed_data(one["detach_keys"]))
            client.matched = one["matched"]
            self._admit(client, luggage.take(one["duplex"]["fd"])).unpack(one["duplex"], luggage)

    def _throttle(self, paused: bool) -> None:
        for duplex in self._outputs.values():
            duplex.pause(paused)

    # --- output ---

    def _output(self, stream: str, data: bytes) -> None:
        if self._log is not None:
            self._log.write(stream, data)
        full = False
        for client in list(self._clients):
            client.show(stream, data)
            full = full or client.duplex.out.full
        fifo = self._fifos.get(stream)
        if fifo is not None:
            fifo.write(data)
            full = full or fifo.out.full
        if full:
            self._throttle(True)

    def _ended(self, stream: str) -> None:
        duplex = self._outputs.pop(stream, None)
        if duplex is None:
            return
        if duplex is self._input:
            self._input = None
        duplex.close()
        if not self._outputs:
            self._drained()

    def _drained(self) -> None:
        if self.drained:
            return
        self.drained = True
        for fifo in self._fifos.values():
            fifo.close_after()
        if self._log is not None:
            self._log.close()
        for fd in self.followers:
            os.close(fd)
        self.followers.clear()
        self._on_drained()

    def give_up(self) -> None:
        """Nobody may write any more (the processes are dead): what holds the pipes open is not ours."""
        for stream in list(self._outputs):
            self._ended(stream)
        if not self.drained:
            self._drained()

    # --- input ---

    def feed(self, data: bytes) -> None:
        """Input for the process: kept until it is there, dropped when it has closed its end."""
        if self._early is not None:
            self._early.append(data)
            if sum(map(len, self._early)) >= EARLY_LIMIT:
                self._hold_sources(True)
        elif self._input is not None and not self._input_closing:
            self._input.write(data)
            if self._input.out.full:
                self._hold_sources(True)

    def _input_ready(self) -> None:
        """The process has its input: what came before it goes in first."""
        early, self._early = self._early or [], None
        self._hold_sources(False)
        for data in early:
            self.feed(data)
        if self._early_end:
            self.close_stdin()

    def _hold_sources(self, paused: bool) -> None:
        if self._source is not None:
            self._source.pause(paused)
        for client in self._clients:
            if client.flags & side.STDIN:
                client.duplex.pause(paused)

    def _input_room(self) -> None:
        self._hold_sources(False)

    def _input_gone(self) -> None:
        self._input = None
        self.on_input_end()

    def close_stdin(self) -> None:
        """End of input, after what is still on its way; a terminal keeps its own."""
        if self._source is not None:
            self._source.close()
            self._source = None
        if self._early is not None:
            self._early_end = True
        elif self._input is not None and not self.terminal:
            self._input_closing = True
            self._input.close_after(self.on_input_end)

    def resize(self, rows: int, columns: int) -> None:
        """A new window size for the pty: kept for it while it is not there yet, silent without one."""
        master = self._outputs.get("stdout") if self.terminal else None
        if master is not None:
            terminal.resize(master.fd, rows, columns)
        else:
            self.size = (rows, columns)

    # --- clients ---

    def attach(self, fd: int, *, flags: int, head: bytes, early: bytes, detach_keys: bytes) -> None:
        """Serve a client's connection from now on; the answer's head goes out first."""
        client = Client(flags, detach_keys)
        self._admit(client, fd).write(head)
        if early:
            self._from_client(client, early)

    def _admit(self, client: Client, fd: int) -> Duplex:
        client.duplex = Duplex(
            self._loop,
            fd,
            on_data=lambda data: self._from_client(client, data),
            on_end=lambda: self._client_ended(client),
            on_gone=lambda: self._client_gone(client),
            on_room=lambda: self._throttle(False),
            spill=self._spill,
        )
        self._clients.append(client)
        return client.duplex

    def _from_client(self, client: Client, data: bytes) -> None:
        if not client.flags & side.STDIN:
            return
        if client.detach_keys and self.terminal:
            data, detached = self._filter(client, data)
            if detached:
                self.feed(data)
                self._forget(client)
                client.duplex.close_after()
                return
        self.feed(data)

    def _filter(self, client: Client, data: bytes) -> tuple[bytes, bool]:
        """Hold back a beginning of the detach keys; (what the process gets, whether they were complete)."""
        out = bytearray()
        for byte in data:
            if byte == client.detach_keys[client.matched]:
                client.matched += 1
                if client.matched == len(client.detach_keys):
                    return bytes(out), True
                continue
            out += client.detach_keys[: client.matched]
            client.matched = 0
            if byte == client.detach_keys[0]:
                client.matched = 1
            else:
                out.append(byte)
        return bytes(out), False

    def _client_ended(self, client: Client) -> None:
        if client.flags & side.STDIN and self._once:
            self.close_stdin()

    def _client_gone(self, client: Client) -> None:
        self._forget(client)
        self._client_ended(client)

    def _forget(self, client: Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._throttle(False)

    def answer(self) -> None:
        """The process's end is known above: close the clients after their last byte."""
        for client in self._clients:
            client.duplex.close_after()
        self._clients.clear()

    def close(self) -> None:
        """Let go of everything that is left."""
        self.give_up()
        self.answer()
        self._close_childs()
        for duplex in (self._input, self._source, *self._fifos.values()):
            if duplex is not None and not duplex.out.empty:
                continue
            if duplex is not None:
                duplex.close()


def _pack_one(duplex: Duplex | None, luggage: Luggage) -> Packed | None:
    return None if duplex is None or duplex.closed else duplex.pack(luggage)


def open_log(uri: str) -> Log | None:
    """The log that a stdout URI names; None when it names none. A log that cannot be opened is told, not fatal."""
    if not uri.startswith("json-file://"):
        return None
    path, _, query = uri[len("json-file://") :].partition("?")
    options = dict(part.split("=", 1) for part in query.split("&") if "=" in part)
    try:
        return Writer(path, int(options.get("max-size", 0)), int(options.get("max-file", 1)))
    except OSError as err:
        complain(f"log {path}", err)
        return None
