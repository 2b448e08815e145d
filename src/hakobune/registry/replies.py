"""A registry's answers that are not what was asked for, as the project's errors. Pure.

Source: distribution-spec, "Error Codes".
"""

from __future__ import annotations

import json
from http import HTTPStatus

from hakobune.errors import (
    FailedPrecondition,
    HakoError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)

LARGEST_ERROR = 16 << 10
AGAIN = frozenset((408, 429, 500, 502, 503, 504))
_CLASSES: dict[int, type[HakoError]] = {
    400: InvalidArgument, 401: Unauthenticated, 403: PermissionDenied, 404: NotFound, 405: FailedPrecondition,
    413: FailedPrecondition, 416: FailedPrecondition, 429: ResourceExhausted,
}  # fmt: skip


def sentence(status: int, body: bytes) -> str:
    """`code: message` as the registry says it, else the status: never more than a few hundred characters."""
    try:
        errors = json.loads(body)["errors"]
        said = "; ".join(_one(error) for error in errors if isinstance(error, dict))
    except (ValueError, KeyError, TypeError, RecursionError):
        said = ""
    return said[:400] or f"{status} {_reason(status)}"


def _one(error: dict[str, object]) -> str:
    code = str(error.get("code", "unknown")).lower().replace("_", " ")
    message = " ".join(str(error.get("message") or code).split())
    return f"{code}: {message}"


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unexpected status"


def failure(what: str, status: int, body: bytes, where: str) -> HakoError:
    """The exception for an answer with this status to `what`."""
    kind = _CLASSES.get(status) or (Unavailable if status >= 500 else InvalidArgument)
    said = sentence(status, body)
    if kind in (Unauthenticated, PermissionDenied):
        return kind(
            f"{what}: pull access denied, repository does not exist or may require authorization: "
            f"server message: {said}"
        )
    if kind is NotFound:
        return NotFound(f"{what}: {said}: not found")
    if kind is ResourceExhausted:
        return ResourceExhausted(f"{what}: toomanyrequests: {said}")
    return kind(f"{what}: unexpected status from {where}: {said}")
