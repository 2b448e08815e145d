"""Device rules: v1's list semantics and the BPF program that must decide alike."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakobune.cgroups import devices
from hakobune.errors import InvalidArgument

DENY_ALL = {"allow": False, "access": "rwm"}
NULL = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}
READ, WRITE, MKNOD = 2, 4, 1


def run(code: bytes, kind: int, access: int, major: int, minor: int) -> int:
    """A tiny interpreter of the instructions that `program` uses."""
    context = struct.pack("<III", access << 16 | kind, major, minor)
    registers = [0] * 11
    at = 0
    while True:
        op, regs, offset, value = struct.unpack_from("<BBhi", code, at * 8)
        target, source = regs & 15, regs >> 4
        at += 1
        if op == 0x61:
            registers[target] = struct.unpack_from("<I", context, offset)[0]
        elif op == 0x54:
            registers[target] &= value & 0xFFFFFFFF
        elif op == 0x74:
            registers[target] >>= value
        elif op == 0xBC:
            registers[target] = registers[source] & 0xFFFFFFFF
        elif op == 0xB7:
            registers[target] = value
        elif op == 0x55:
            at += offset if registers[target] != value else 0
        elif op == 0x15:
            at += offset if registers[target] == value else 0
        elif op == 0x45:
            at += offset if registers[target] & value else 0
        elif op == 0x95:
            return registers[0]
        else:
            raise AssertionError(f"instruction {op:#x}")


def decide(rules: list[dict[str, Any]], kind: int, access: int, major: int, minor: int) -> bool:
    code = devices.program(rules)
    return not code or bool(run(code, kind, access, major, minor))


def test_lines_of_v1() -> None:
    rules = [DENY_ALL, NULL, {"allow": True, "type": "c", "access": "m"}]
    assert devices.lines(rules) == [("deny", "a"), ("allow", "c 1:3 rwm"), ("allow", "c *:* m")]


def test_all_allowed_needs_no_program() -> None:
    assert devices.program([{"allow": True, "access": "rwm"}]) == b""


@pytest.mark.parametrize(
    ("kind", "access", "device", "allowed"),
    [
        (2, READ | WRITE, (1, 3), True),
        (2, READ, (1, 4), False),
        (1, READ, (1, 3), False),
        (2, MKNOD, (7, 7), True),
        (2, MKNOD | READ, (7, 7), False),
    ],
)
def test_default_deny(kind: int, access: int, device: tuple[int, int], allowed: bool) -> None:
    rules = [DENY_ALL, NULL, {"allow": True, "type": "c", "access": "m"}]
    assert decide(rules, kind, access, *device) is allowed


def test_default_allow_with_a_denied_device() -> None:
    rules = [{"allow": False, "type": "b", "major": 8, "minor": 0, "access": "w"}]
    assert not decide(rules, 1, READ | WRITE, 8, 0)
    assert decide(rules, 1, READ, 8, 0)
    assert decide(rules, 1, WRITE, 8, 1)


def test_later_rules_win() -> None:
    rules = [DENY_ALL, NULL, {**NULL, "allow": False, "access": "w"}]
    assert decide(rules, 2, READ, 1, 3)
    assert not decide(rules, 2, WRITE, 1, 3)


@pytest.mark.parametrize("rule", [{"type": "x"}, {"access": "q"}, {"major": "1"}])
def test_wrong_rules_are_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        devices.lines([rule])


RULE = st.fixed_dictionaries(
    {
        "allow": st.booleans(),
        "type": st.sampled_from(["a", "b", "c"]),
        "major": st.sampled_from([-1, 1, 2]),
        "minor": st.sampled_from([-1, 1, 2]),
        "access": st.sampled_from(["r", "w", "m", "rw", "rwm"]),
    }
)


@given(
    st.lists(RULE, max_size=8),
    st.sampled_from([1, 2]),
    st.integers(1, 7),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_the_program_decides_as_the_merged_list(
    rules: list[dict[str, Any]], kind: int, access: int, major: int, minor: int
) -> None:
    default, exceptions = devices.merge(rules)
    hits = [
        bits for (name, a, b), bits in exceptions.items()
        if {"b": 1, "c": 2}[name] == kind and a in (-1, major) and b in (-1, minor)
    ]  # fmt: skip
    if default:
        expected = not any(access & bits for bits in hits)
    else:
        expected = any(not access & ~bits for bits in hits)
    assert decide(rules, kind, access, major, minor) is expected
