"""`--user` in numbers: names are looked up in the container's own /etc/passwd and /etc/group, never the host's.

A number is a number, whatever a file says: an image that names a user `1000` does not decide who 1000 is (CVE-2016-3697).
Pure functions over the two files' texts. Imports: errors, spec.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hakobune.engine.containers.spec import Identity
from hakobune.errors import InvalidArgument

_MOST = 0x7FFFFFFF  # as Docker; what is above was read as another number by more than one program (CVE-2024-40635)


def resolve(user: str, passwd: str, group: str, extra: Sequence[str] = ()) -> Identity:
    """`name`, `uid`, `name:group`, `uid:gid` -> numbers; `extra` are the groups of --group-add.

    Raises InvalidArgument with the texts that Docker's clients know.
    """
    name, _, wanted_group = user.partition(":")
    uid, gid, login = _user(name or "0", passwd)
    groups: list[int] = []
    if wanted_group:
        gid = _group(wanted_group, group, user)
    else:
        groups = [number for number, members in _groups(group) if login and login in members]
    groups += [_group(name, group, user) for name in extra]
    return Identity(uid, gid, tuple(dict.fromkeys(groups)))


def _user(name: str, passwd: str) -> tuple[int, int, str]:
    """(uid, gid, login name) of a name or a number; a number need not stand in the file."""
    for fields in _lines(passwd, 4):
        if _is(name, fields):
            return _number(fields[2], name), _number(fields[3], name), fields[0]
    if not _digits(name):
        raise InvalidArgument(f"unable to find user {name}: no matching entries in passwd file")
    return _number(name, name), 0, ""


def _group(name: str, group: str, user: str) -> int:
    for fields in _lines(group, 3):
        if _is(name, fields):
            return _number(fields[2], user)
    if not _digits(name):
        raise InvalidArgument(f"unable to find group {name}: no matching entries in group file")
    return _number(name, user)


def _is(wanted: str, fields: list[str]) -> bool:
    """Whether a line is of that name or number."""
    if _digits(wanted):
        return _digits(fields[2]) and int(fields[2]) == int(wanted)
    return fields[0] == wanted


def _groups(group: str) -> Iterator[tuple[int, list[str]]]:
    for fields in _lines(group, 4):
        if _digits(fields[2]) and int(fields[2]) <= _MOST:
            yield int(fields[2]), fields[3].split(",")


def _lines(text: str, least: int) -> Iterator[list[str]]:
    for line in text.split("\n"):
        fields = line.strip().split(":")
        if len(fields) >= least and not line.startswith("#"):
            yield fields


def _digits(text: str) -> bool:
    return 0 < len(text) < 20 and text.isascii() and text.isdigit()


def _number(text: str, user: str) -> int:
    if not _digits(text) or int(text) > _MOST:
        raise InvalidArgument(f"invalid user {user}: uids and gids must be in range 0-{_MOST}")
    return int(text)
