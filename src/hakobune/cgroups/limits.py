"""What `v1.py` and `v2.py` share: a place to write to, and the difference between refusal and warning.

A limit that the caller asked for and the kernel knows but refuses is an error (`Limits.must`): running
without it would break a promise. A knob that this kernel does not have at all is a warning
(`Limits.may`), as Docker treats it.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from hakobune.cgroups import files
from hakobune.errors import FailedPrecondition, HakoError, InvalidArgument, PermissionDenied
from hakobune.record import Any

_MISSING = (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV)


def refusal(err: OSError, path: str, value: str) -> HakoError:
    """The error class for a value that cgroupfs did not take."""
    text = f"cgroup file {path} refused {value!r}: {err.strerror}"
    if err.errno in (errno.EINVAL, errno.ERANGE, errno.E2BIG):
        return InvalidArgument(text)
    if err.errno in (errno.EPERM, errno.EACCES, errno.EROFS):
        return PermissionDenied(text)
    return FailedPrecondition(text)


def integer(section: Mapping[str, Any], key: str) -> int | None:
    """A number of the OCI resources; None when absent. Raises InvalidArgument for anything else."""
    value = section.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"linux.resources {key}: {value!r} is not a whole number")
    return value


class Limits:
    """One group's directory and the warnings gathered while writing to it."""

    __slots__ = ("directory", "warnings")

    def __init__(self, directory: str, warnings: list[str]) -> None:
        self.directory = directory
        self.warnings = warnings

    def must(self, name: str, value: str | int) -> bool:
        """Write; a missing file warns (False), any other refusal raises a HakoError."""
        path = f"{self.directory}/{name}"
        try:
            files.write(path, str(value))
        except OSError as err:
            if err.errno not in _MISSING:
                raise refusal(err, path, str(value)) from err
            self.warnings.append(f"this kernel has no {name}: limit {value} discarded")
            return False
        return True

    def may(self, name: str, value: str | int) -> bool:
        """Write; any refusal warns (False)."""
        try:
            files.write(f"{self.directory}/{name}", str(value))
        except OSError as err:
            self.warnings.append(f"cgroup knob {name} not set to {value}: {err.strerror}")
            return False
        return True

    def has(self, name: str) -> bool:
        """Whether this group has such a file."""
        return bool(files.read_optional(f"{self.directory}/{name}"))

    def check(self, name: str, wanted: int, *, grain: int = 1) -> None:
        """Read back: warn when the kernel keeps another value than the one written (within `grain`)."""
        kept = files.number(f"{self.directory}/{name}")
        if kept is not None and abs(kept - wanted) >= grain:
            self.warnings.append(f"cgroup limit {name} is {kept} instead of {wanted}")
