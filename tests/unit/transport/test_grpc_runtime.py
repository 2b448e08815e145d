"""What a status of gRPC's stands for."""

from __future__ import annotations

from hakobune.errors import Unavailable
from hakobune.transport.grpc_runtime import aio, error_of, grpc


def failure(code: grpc.StatusCode, words: str) -> aio.AioRpcError:
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), words)


def test_a_server_that_dies_over_a_request_is_unavailable() -> None:
    cut = error_of(failure(grpc.StatusCode.UNKNOWN, "Stream removed (sendmsg: Broken pipe (32))"))
    assert isinstance(cut, Unavailable)
    assert str(cut).startswith("Stream removed")
    assert not isinstance(error_of(failure(grpc.StatusCode.UNKNOWN, "no idea")), Unavailable)
