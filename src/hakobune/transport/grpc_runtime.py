"""gRPC as this project uses it: the library with fork support off, channel settings, the status table.

Import `grpc` and `aio` from here, so that the environment is set before the library reads it: our
daemons never fork (ADR 0002), and the fork handlers would cost a lock in each subprocess start.
"""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc
from grpc import aio

from hakobune.errors import Code, HakoError, from_code

__all__ = ["CHANNEL_OPTIONS", "MAX_MESSAGE", "SERVER_OPTIONS", "aio", "error_of", "grpc", "status_of"]

MAX_MESSAGE = 16 << 20

_SIZES = [("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE)]
# One subchannel pool for each channel: two clients of one address in a process share nothing.
CHANNEL_OPTIONS: list[tuple[str, int]] = [
    *_SIZES,
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
]
SERVER_OPTIONS: list[tuple[str, int]] = [*_SIZES, ("grpc.so_reuseport", 0)]

_CUT = "Stream removed"  # gRPC core's own words, never a server's
# `Code` has gRPC's own numbers: this is the whole table.
_STATUS = {status.value[0]: status for status in grpc.StatusCode}


def status_of(error: HakoError) -> grpc.StatusCode:
    """The status that carries the class of `error`."""
    return _STATUS[error.code]


def error_of(failure: aio.AioRpcError) -> HakoError:
    """The exception that a status stands for, with its sentence unchanged.

    A server that dies while a request is being written is UNKNOWN to the library; it is as unavailable as any other.
    """
    words = failure.details() or failure.code().name.lower().replace("_", " ")
    number: int = failure.code().value[0]
    if number == Code.UNKNOWN and words.startswith(_CUT):
        number = Code.UNAVAILABLE
    return from_code(number, words)
