"""What a volume is, and which names and options one may have: data and checks, nothing is done here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hakobune.engine.schema.times import rfc3339
from hakobune.errors import InvalidArgument, NotFound, Unimplemented

DRIVER = "local"
ANONYMOUS = "com.docker.volume.anonymous"  # the label that tells volumes without a name of their own
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_MOST_NAME = 255
_OPTIONS = ("type", "o", "device", "size")
_BIND_WORDS = {"bind", "rbind", "rw", "defaults"}


@dataclass(frozen=True, slots=True)
class Volume:
    """`directory` is ours; `created` in nanoseconds since the epoch."""

    name: str
    directory: str
    created: int
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def mountpoint(self) -> str:
        """Where the data is, or would be without options."""
        return os.path.join(self.directory, "_data")

    @property
    def path(self) -> str:
        """What containers get: our directory, or the one of the host that the options name."""
        return self.options["device"] if self.options.get("device") else self.mountpoint

    @property
    def anonymous(self) -> bool:
        """Whether nobody gave it a name."""
        return ANONYMOUS in self.labels

    def document(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "CreatedAt": rfc3339(self.created // 1_000_000_000 * 1_000_000_000).replace(".000000000", ""),
            "Driver": DRIVER,
            "Labels": dict(self.labels) or None,
            "Mountpoint": self.mountpoint,
            "Name": self.name,
            "Options": dict(self.options) or None,
            "Scope": "local",
        }


def check_name(name: str) -> None:
    """Raise InvalidArgument with the text that Docker's clients know."""
    if len(name) == 1:
        raise InvalidArgument(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, '
            "use absolute path"
        )
    if len(name) > _MOST_NAME:
        raise InvalidArgument(f"create {name[:20]}…: volume name is longer than {_MOST_NAME} characters")


def check_driver(driver: str) -> None:
    """Raise NotFound for a driver that is not here."""
    if driver not in ("", DRIVER):
        raise NotFound(f'error looking up volume plugin {driver}: plugin "{driver}" not found')


def check_options(name: str, options: Mapping[str, str]) -> None:
    """Raise InvalidArgument for options that make no sense, Unimplemented for mounts that are not offered."""
    for key in options:
        if key not in _OPTIONS:
            raise InvalidArgument(f'create {name}: invalid option: "{key}"')
    if options.get("size"):
        raise Unimplemented(f"create {name}: the option size of local volumes is not served yet")
    if not any(options.values()):
        return
    for key in ("device", "type"):
        bound = key == "type" and "bind" in options.get("o", "")
        if not options.get(key) and not bound:
            raise InvalidArgument(f'create {name}: missing required option: "{key}"')
    _check_bind(name, options)


def _check_bind(name: str, options: Mapping[str, str]) -> None:
    words = {word for word in options.get("o", "").split(",") if word}
    kind = options.get("type", "none")
    if kind not in ("", "none", "bind") or not words & {"bind", "rbind"}:
        raise Unimplemented(f'create {name}: local volumes of type "{kind}" are not served yet, only o=bind')
    if unknown := sorted(words - _BIND_WORDS):
        raise Unimplemented(f"create {name}: mount option {unknown[0]!r} of local volumes is not served yet")
    if not os.path.isabs(options["device"]):
        raise InvalidArgument(f"create {name}: device {options['device']!r} is not an absolute path")
