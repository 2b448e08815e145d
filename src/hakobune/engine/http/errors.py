"""The engine's one table from error class to HTTP status."""

from __future__ import annotations

import json

from hakobune.engine.http.message import JSON_HEADERS, Response
from hakobune.errors import (
    AlreadyExists,
    Cancelled,
    Conflict,
    DeadlineExceeded,
    FailedPrecondition,
    HakoError,
    InvalidArgument,
    NotFound,
    NotModified,
    OutOfRange,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)

# the first class that fits wins: subclasses stand before their bases
STATUS: tuple[tuple[type[HakoError], int], ...] = (
    (NotModified, 304),
    (NotFound, 404),
    (Conflict, 409),
    (AlreadyExists, 409),
    (FailedPrecondition, 409),
    (InvalidArgument, 400),
    (OutOfRange, 400),
    (PermissionDenied, 403),
    (Unauthenticated, 401),
    (Unimplemented, 501),
    (Unavailable, 503),
    (Cancelled, 499),
    (DeadlineExceeded, 504),
)


def status_of(error: BaseException) -> int:
    """The HTTP status of an error; 500 for what no table knows."""
    return next((status for known, status in STATUS if isinstance(error, known)), 500)


def error_response(status: int, message: str) -> Response:
    """Docker's error document; 304 has no body."""
    if status == 304:
        return Response(304)
    text = json.dumps({"message": message}, ensure_ascii=False).encode("utf-8", "replace")
    return Response(status, text + b"\n", JSON_HEADERS)
