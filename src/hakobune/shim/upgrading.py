"""`containerd-shim-hako-v1 upgrade`: zygotes and shims that no hako-containerd looks after go on as this program's code.

Under a containerd of another make everything of ours is found by its sockets in one directory: `z-…` are zygotes, the
others shims. Each answers for itself; what does not go on as the new code goes on as it was. Imports: os; shim, wire, linux.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from hakobune.errors import HakoError, Internal, from_code
from hakobune.linux import sockets
from hakobune.linux.sockets import Socket
from hakobune.shim import rpc
from hakobune.wire import pb, ttrpc

SECONDS = 60.0
_ZYGOTE = "z-"
_MOST = 65536


def upgrade(home: str) -> Iterator[dict[str, Any]]:
    """Zygotes first, then shims: one record each, as the engine's answer has them (engine/system/upgrade.py)."""
    names = sorted(name for name in _names(home) if "." not in name)
    for name in sorted(names, key=lambda name: not name.startswith(_ZYGOTE)):
        path = os.path.join(home, name)
        verb, process = (_zygote, "zygote") if name.startswith(_ZYGOTE) else (_shim, "shim")
        try:
            record = {"process": process, "id": name, **verb(path)}
        except (ConnectionRefusedError, FileNotFoundError):
            continue  # it ended, and has left its path
        except (OSError, HakoError, ValueError) as err:
            record = {"process": process, "id": name, "error": str(err)}
        yield record


def _names(home: str) -> list[str]:
    try:
        return os.listdir(home)
    except FileNotFoundError:
        return []


def _zygote(path: str) -> dict[str, str]:
    with _connected(path, sockets.SEQPACKET) as channel:
        before = _asked(channel, "PING")
        after = _asked(channel, "UPGRADE", sys.executable)
    return {"previous": before[-1], "release": after[-1]}


def _asked(channel: Socket, *words: str) -> list[str]:
    channel.send("\0".join(words).encode())
    status, *rest = channel.recv(_MOST).decode().split("\0")
    if status != "OK":
        raise Internal(" ".join(rest) or "the zygote has died over it")
    return rest


def _shim(path: str) -> dict[str, str]:
    request = ttrpc.Request(rpc.OWN, "Renew", pb.field(1, sys.executable), int(SECONDS * 1e9))
    with _connected(path, sockets.STREAM) as channel:
        channel.sendall(ttrpc.pack(ttrpc.Frame(1, ttrpc.REQUEST, 0, ttrpc.pack_request(request))))
        decoder = ttrpc.Decoder()
        while not (frames := decoder.feed(_received(channel))):
            pass
    response = ttrpc.unpack_response(frames[0].data)
    if response.code:
        raise from_code(response.code, response.message)
    fields = pb.decode(response.payload)
    return {"previous": pb.text(fields, 3), "release": pb.text(fields, 2)}


def _received(channel: Socket) -> bytes:
    data = channel.recv(_MOST)
    if not data:
        raise Internal("the shim has ended over it")
    return data


@contextlib.contextmanager
def _connected(path: str, kind: int) -> Iterator[Socket]:
    channel = sockets.unix(kind)
    try:
        channel.settimeout(SECONDS)
        channel.connect(path)
        yield channel
    finally:
        channel.close()
