"""`--ulimit`, `--device`, `--restart`, `--security-opt`: small languages of their own."""

from __future__ import annotations

import json

from ..failure import Failure
from ..flags import BadFlags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAMES = frozenset(
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)


def ulimit(spec: str) -> dict[str, Any]:
    """`nofile=1024:2048`. Raises BadFlags."""
    wrong = BadFlags(f'invalid argument "{spec}" for "--ulimit" flag: invalid ulimit argument: {spec}')
    name, equals, value = spec.partition("=")
    soft, colon, hard = value.partition(":")
    if not equals:
        raise wrong
    if name not in _NAMES:
        raise BadFlags(f'invalid argument "{spec}" for "--ulimit" flag: invalid ulimit type: {name}')
    try:
        low = int(soft)
        high = int(hard) if colon else low
    except ValueError:
        raise wrong from None
    if high != -1 and (low == -1 or low > high):
        raise BadFlags(
            f'invalid argument "{spec}" for "--ulimit" flag: '
            f"ulimit soft limit must be less than or equal to hard limit: {low} > {high}"
        )
    return {"Name": name, "Soft": low, "Hard": high}


def device(spec: str) -> dict[str, str]:
    """`/dev/x[:/dev/y[:rwm]]`. Raises Failure."""
    parts = spec.split(":")
    if not parts[0] or len(parts) > 3:
        raise Failure(f"invalid device specification: {spec}")
    host, inside, rights = parts[0], parts[0], "rwm"
    if len(parts) == 2 and set(parts[1]) <= set("rwm"):
        rights = parts[1]
    elif len(parts) > 1:
        inside = parts[1] or host
    if len(parts) == 3:
        rights = parts[2]
    if not rights or not set(rights) <= set("rwm"):
        raise Failure(f"invalid device mode: {rights}")
    return {"PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": rights}


def restart(text: str) -> dict[str, Any]:
    """`on-failure:3`. Raises Failure."""
    name, colon, count = text.partition(":")
    if colon and not name:
        raise Failure("invalid restart policy format: no policy provided before colon")
    try:
        return {"Name": name or "no", "MaximumRetryCount": int(count) if colon else 0}
    except ValueError:
        raise Failure("invalid restart policy format: maximum retry count must be an integer") from None


def security(specs: list[str]) -> tuple[list[str], bool]:
    """(options, whether masked and read-only paths are to be open). A seccomp file's text goes along.

    Raises Failure.
    """
    options, open_paths = [], False
    for spec in specs:
        name, equals, value = spec.partition("=")
        if not equals:
            name, _, value = spec.partition(":")
        if spec == "systempaths=unconfined":
            open_paths = True
        elif name == "seccomp" and value not in ("unconfined", "builtin"):
            options.append(f"seccomp={_profile(value)}")
        elif not value and name != "no-new-privileges":
            raise Failure(f'Invalid --security-opt: "{spec}"')
        else:
            options.append(spec)
    return options, open_paths


def _profile(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return json.dumps(json.load(file), separators=(",", ":"))
    except OSError as err:
        why = (err.strerror or str(err)).lower()
        raise Failure(f"opening seccomp profile ({path}) failed: open {path}: {why}") from err
    except ValueError as err:
        raise Failure(f"compacting json for seccomp profile ({path}) failed: {err}") from err
