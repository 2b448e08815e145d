"""The error classes of the whole project: one per class of failure, none per place.

Every room raises these and nothing of its own; each edge (HTTP, gRPC, ttrpc, exit code) owns one
table from `Code` to its own vocabulary. Messages are lowercase, without a full stop, and name the
object and the value. This module imports nothing of the project.
"""

from __future__ import annotations


class Code:
    """The numbers of google.rpc.Code, which gRPC and ttrpc share. Not an enum, which would be half of a program's start."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class HakoError(Exception):
    """Base of all: carries its `code`; `str()` is the sentence for the user."""

    code: int = Code.UNKNOWN

    @property
    def message(self) -> str:
        """The sentence, without the class name."""
        return str(self)


class Cancelled(HakoError):
    """The caller went away or withdrew the request."""

    code = Code.CANCELLED


class InvalidArgument(HakoError):
    """The request can never succeed as written."""

    code = Code.INVALID_ARGUMENT


class DeadlineExceeded(HakoError):
    """The time the caller gave was not enough."""

    code = Code.DEADLINE_EXCEEDED


class NotFound(HakoError):
    """The named object does not exist."""

    code = Code.NOT_FOUND


class AlreadyExists(HakoError):
    """The name is taken."""

    code = Code.ALREADY_EXISTS


class PermissionDenied(HakoError):
    """The caller may not do this."""

    code = Code.PERMISSION_DENIED


class ResourceExhausted(HakoError):
    """Disk, memory, addresses, ports or a limit are used up."""

    code = Code.RESOURCE_EXHAUSTED


class FailedPrecondition(HakoError):
    """The object is in the wrong state for this."""

    code = Code.FAILED_PRECONDITION


class Conflict(FailedPrecondition):
    """The object is in use, or in a state that forbids the verb (HTTP 409)."""


class NotModified(FailedPrecondition):
    """The object is already as asked (HTTP 304)."""


class Aborted(HakoError):
    """A race was lost; trying again may succeed."""

    code = Code.ABORTED


class OutOfRange(HakoError):
    """An offset or index beyond the end."""

    code = Code.OUT_OF_RANGE


class Unimplemented(HakoError):
    """Known, and not offered here."""

    code = Code.UNIMPLEMENTED


class Internal(HakoError):
    """An invariant of ours is broken: a bug."""

    code = Code.INTERNAL


class Unavailable(HakoError):
    """The other side cannot be reached now."""

    code = Code.UNAVAILABLE


class DataLoss(HakoError):
    """Stored data is missing or altered."""

    code = Code.DATA_LOSS


class Unauthenticated(HakoError):
    """The caller did not say who it is."""

    code = Code.UNAUTHENTICATED


BY_CODE: dict[int, type[HakoError]] = {
    cls.code: cls
    for cls in (
        Cancelled, HakoError, InvalidArgument, DeadlineExceeded, NotFound, AlreadyExists, PermissionDenied,
        ResourceExhausted, FailedPrecondition, Aborted, OutOfRange, Unimplemented, Internal, Unavailable,
        DataLoss, Unauthenticated,
    )
}  # fmt: skip


def from_code(code: int, message: str) -> HakoError:
    """The exception for a google.rpc.Code number; an unknown number gives the base class."""
    return BY_CODE.get(code, HakoError)(message)
