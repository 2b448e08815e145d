"""The edge that all rooms share: who calls in which namespace, errors to statuses, method tables.

Everything is served over gRPC, as containerd does, and what has one answer also over ttrpc, whose calls cost a
fifth (ADR 0008).

A room's rpc.py makes a `Service` and adds its methods; nothing is looked up by reflection in a call.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from hakobune.errors import FailedPrecondition, HakoError, InvalidArgument
from hakobune.transport.grpc_runtime import aio, grpc, status_of
from hakobune.transport.ttrpc_server import Handler
from hakobune.wire import ttrpc

NAMESPACES = ("containerd-namespace", "containerd-namespace-ttrpc")
LEASE = "containerd-lease"
LIVE = (("hakobune-live", "1"),)  # an error, too, begins with a head: but with an empty one
_NAME = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_LONGEST_NAME = 76
_LOG = logging.getLogger("hakobune.containerd")

Request = TypeVar("Request", bound=Message)
Context = aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks: the namespace ("" where none is needed), and the lease that holds what is made ("")."""

    namespace: str
    lease: str
    context: Context | None = None  # gRPC's own

    async def open(self) -> None:
        """Send the response's head now: the caller may rely on what was done so far."""
        if self.context is not None:
            await self.context.send_initial_metadata(LIVE)


def check_name(kind: str, name: str) -> str:
    """An identifier of containerd's: letters, digits and inner `.`, `_`, `-`. Raises InvalidArgument."""
    if not name:
        raise InvalidArgument(f"{kind} is empty")
    if len(name) > _LONGEST_NAME:
        raise InvalidArgument(f"{kind} {name!r} is longer than {_LONGEST_NAME} characters")
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"{kind} {name!r} must be letters and digits, with single . _ - between")
    return name


def _encode(message: Message) -> bytes:
    return message.SerializeToString()


class Service:
    """The method table of one gRPC service."""

    def __init__(self, name: str, *, namespaced: bool = True) -> None:
        self.name = name
        self._namespaced = namespaced
        self._known: set[str] = set()
        self.running: set[asyncio.Future[Message]] = set()  # whole calls under way
        self._methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self.ttrpc_handlers: dict[str, Handler] = {}

    def unary(
        self,
        method: str,
        request: type[Request],
        handler: Callable[[Request, Call], Awaitable[Message]],
        *,
        whole: bool = False,
    ) -> None:
        """One request, one response. A `whole` method goes on to its end when its caller goes away."""

        async def serve(message: Request, context: Context) -> Message:
            try:
                call = self._call(context.invocation_metadata() or (), context)
                if whole:
                    return await asyncio.shield(self._keep(handler(message, call)))
                return await handler(message, call)
            except Exception as err:
                await self._abort(context, method, err)
                raise

        async def answer(asked: ttrpc.Request) -> bytes:
            try:
                message = request.FromString(asked.payload)
            except DecodeError as err:
                raise InvalidArgument(f"{method}: the request is malformed: {err}") from err
            return (await handler(message, self._call(asked.metadata))).SerializeToString()

        self.ttrpc_handlers[f"{self.name}/{method}"] = answer
        self._methods[method] = grpc.unary_unary_rpc_method_handler(
            serve, request_deserializer=request.FromString, response_serializer=_encode
        )

    def stream(
        self, method: str, request: type[Request], handler: Callable[[Request, Call], AsyncIterator[Message]]
    ) -> None:
        """One request, many responses."""

        async def serve(message: Request, context: Context) -> AsyncIterator[Message]:
            try:
                async for response in handler(
                    message, self._call(context.invocation_metadata() or (), context)
                ):
                    yield response
            except Exception as err:
                await self._abort(context, method, err)

        self._methods[method] = grpc.unary_stream_rpc_method_handler(
            serve, request_deserializer=request.FromString, response_serializer=_encode
        )

    def duplex(
        self,
        method: str,
        request: type[Request],
        handler: Callable[[AsyncIterator[Request], Call], AsyncIterator[Message]],
    ) -> None:
        """Many requests, many responses."""

        async def serve(messages: AsyncIterator[Request], context: Context) -> AsyncIterator[Message]:
            try:
                async for response in handler(
                    messages, self._call(context.invocation_metadata() or (), context)
                ):
                    yield response
            except Exception as err:
                await self._abort(context, method, err)

        self._methods[method] = grpc.stream_stream_rpc_method_handler(
            serve, request_deserializer=request.FromString, response_serializer=_encode
        )

    def add_to(self, server: aio.Server) -> None:
        """Serve it."""
        handler = grpc.method_handlers_generic_handler(self.name, self._methods)
        server.add_generic_rpc_handlers((handler,))

    def _keep(self, work: Awaitable[Message]) -> asyncio.Future[Message]:
        future = asyncio.ensure_future(work)
        self.running.add(future)
        future.add_done_callback(self._done)
        return future

    def _done(self, future: asyncio.Future[Message]) -> None:
        self.running.discard(future)
        if not future.cancelled():
            future.exception()  # seen, also when the caller has gone

    def _call(self, metadata: Iterable[tuple[str, str | bytes]], context: Context | None = None) -> Call:
        namespace = lease = ""
        for key, value in metadata:
            if key in NAMESPACES:
                namespace = str(value)
            elif key == LEASE:
                lease = str(value)
        if self._namespaced and namespace not in self._known:
            if not namespace:
                raise FailedPrecondition("namespace is required")
            check_name("namespace", namespace)
            self._known.add(namespace)
        return Call(namespace, lease, context)

    async def _abort(self, context: Context, method: str, err: Exception) -> None:
        if isinstance(err, HakoError):
            await context.abort(status_of(err), str(err))
        if isinstance(err, aio.AbortError):
            raise err
        _LOG.exception("%s/%s failed", self.name, method)
        await context.abort(grpc.StatusCode.INTERNAL, f"{type(err).__name__}: {err}")
