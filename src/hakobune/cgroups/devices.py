"""OCI device rules (linux.resources.devices) as v1 lines and as a v2 BPF program.

v1's kernel keeps a default (allow or deny all) and a list of exceptions; every rule edits it in turn.
`merge` is that list in Python, so that the program for v2 decides exactly as v1 would.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from hakobune.errors import InvalidArgument
from hakobune.record import Any

Rule = Mapping[str, Any]
_ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_* of <linux/bpf.h>
_KINDS = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*
_EVERYTHING = "rwm"
NOTHING: Rule = {"allow": False, "access": _EVERYTHING}
# What every container may use whatever its configuration says, as with runc and crun: the devices of config-linux.md
# "Default Devices", terminals, and making nodes (which gives no access to what they stand for).
ALWAYS: tuple[Rule, ...] = (
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *({"allow": True, "type": "c", "major": major, "minor": minor, "access": _EVERYTHING}
      for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, -1))),
)  # fmt: skip


def _field(rule: Rule) -> tuple[bool, str, int, int, str]:
    kind = rule.get("type") or "a"
    kind = "c" if kind == "u" else kind
    access = rule.get("access") or _EVERYTHING
    if kind not in ("a", "b", "c") or set(access) - set(_ACCESS):
        raise InvalidArgument(f"linux.resources.devices: rule {dict(rule)!r} has a wrong type or access")
    major, minor = (-1 if rule.get(key) is None else rule[key] for key in ("major", "minor"))
    if not isinstance(major, int) or not isinstance(minor, int):
        raise InvalidArgument(f"linux.resources.devices: rule {dict(rule)!r} has a wrong number")
    return bool(rule.get("allow")), kind, major, minor, access


def for_container(rules: Iterable[Rule]) -> list[Rule]:
    """A configuration's rules, and what is there always; without any rule a container gets no other device."""
    if not isinstance(rules, (list, tuple)):
        raise InvalidArgument(f"linux.resources.devices: expected a list, got {rules!r:.60}")
    return [*(rules or [NOTHING]), *ALWAYS]


def _number(value: int) -> str:
    return "*" if value < 0 else str(value)


def lines(rules: Iterable[Rule]) -> list[tuple[str, str]]:
    """(`allow` | `deny`, line) in order. Raises InvalidArgument."""
    found = []
    for rule in rules:
        allow, kind, major, minor, access = _field(rule)
        whole = kind == "a"
        text = "a" if whole else f"{kind} {_number(major)}:{_number(minor)} {access}"
        found.append(("allow" if allow else "deny", text))
    return found


def merge(rules: Iterable[Rule]) -> tuple[bool, dict[tuple[str, int, int], int]]:
    """(what is not listed is allowed, exceptions: (kind, major, minor) -> access bits).

    A new group inherits "all allowed"; on v2 there is nothing to inherit, and the outer group's
    program is asked as well.
    """
    default = True
    exceptions: dict[tuple[str, int, int], int] = {}
    for rule in rules:
        allow, kind, major, minor, access = _field(rule)
        if kind == "a":
            default = allow
            exceptions.clear()
            continue
        key = (kind, max(major, -1), max(minor, -1))
        bits = sum(_ACCESS[letter] for letter in set(access))
        if allow == default:
            left = exceptions.pop(key, 0) & ~bits
            if left:
                exceptions[key] = left
        else:
            exceptions[key] = exceptions.get(key, 0) | bits
    return default, exceptions


def _op(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, target | source << 4, offset, value)


# <linux/bpf.h>, <linux/bpf_common.h>
_LOAD32, _AND32, _SHR32, _MOV32, _MOV64_K = 0x61, 0x54, 0x74, 0xBC, 0xB7
_JNE, _JEQ, _JSET, _EXIT = 0x55, 0x15, 0x45, 0x95


def program(rules: Iterable[Rule]) -> bytes:
    """Instructions of BPF_PROG_TYPE_CGROUP_DEVICE: r0 = 1 allows. Empty when all is allowed anyway.

    The context is struct bpf_cgroup_dev_ctx: u32 access << 16 | kind, major, minor.
    Raises InvalidArgument.
    """
    default, exceptions = merge(rules)
    if default and not exceptions:
        return b""
    code = [
        _op(_LOAD32, 2, 1, 0), _op(_AND32, 2, value=0xFFFF), _op(_LOAD32, 3, 1, 0), _op(_SHR32, 3, value=16),
        _op(_LOAD32, 4, 1, 4), _op(_LOAD32, 5, 1, 8),
    ]  # fmt: skip
    for (kind, major, minor), bits in exceptions.items():
        code += _exception(kind, major, minor, bits, listed_is_allowed=not default)
    code += [_op(_MOV64_K, 0, value=int(default)), _op(_EXIT)]
    return b"".join(code)


def _exception(kind: str, major: int, minor: int, bits: int, *, listed_is_allowed: bool) -> list[bytes]:
    """One entry: every failed test jumps behind its verdict.

    An allowed entry must cover all that is asked; a denied one hits when it shares any bit.
    """
    tests = [(_JNE, 2, _KINDS[kind])]
    tests += [(_JNE, 4, major)] if major >= 0 else []
    tests += [(_JNE, 5, minor)] if minor >= 0 else []
    code: list[tuple[int, int, int, int]] = [(op, register, 0, value) for op, register, value in tests]
    if not listed_is_allowed:
        code += [(_MOV32, 1, 3, 0), (_AND32, 1, 0, bits), (_JEQ, 1, 0, 0)]
    elif bits != 7:
        code.append((_JSET, 3, 0, 7 & ~bits))
    length = len(code)
    jumps = (_JNE, _JEQ, _JSET)
    body = [
        _op(op, target, source, length - place + 1 if op in jumps else 0, value)
        for place, (op, target, source, value) in enumerate(code)
    ]
    return [*body, _op(_MOV64_K, 0, value=int(listed_is_allowed)), _op(_EXIT)]
