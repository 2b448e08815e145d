"""The compiler against an interpreter of BPF and a naive reading of the profile."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hakobune.errors import InvalidArgument
from hakobune.oci import capabilities, seccomp, seccomp_default
from hakobune.oci.syscall_table import numbers

AUDIT = {"X86_64": 0xC000003E, "X86": 0x40000003, "AARCH64": 0xC00000B7}
ENOSYS, EPERM = seccomp.ERRNO | 38, seccomp.ERRNO | 1
MACHINE = "x86_64"


def run(program: bytes, arch: int, number: int, args: tuple[int, ...] = ()) -> int:
    """What the kernel would return, and never longer than the program: jumps only lead forward."""
    words = [value & 0xFFFFFFFFFFFFFFFF for value in (*args, *[0] * 6)][:6]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch, 0, *words)
    accumulator = at = 0
    while True:
        code, yes, no, constant = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        if code == 0x20:
            accumulator = struct.unpack_from("<I", data, constant)[0]
        elif code == 0x54:
            accumulator &= constant
        elif code == 0x05:
            at += constant
        elif code == 0x06:
            return int(constant)
        else:
            test = {
                0x15: accumulator == constant,
                0x25: accumulator > constant,
                0x35: accumulator >= constant,
            }
            at += yes if test[code] else no


def build(profile: dict[str, Any]) -> bytes:
    return seccomp.compile(profile, machine=MACHINE)


def default(
    *, caps: tuple[str, ...] = capabilities.DEFAULT, kernel: tuple[int, int] = (6, 18)
) -> dict[str, Any]:
    found: dict[str, Any] = seccomp_default.profile(caps, MACHINE, kernel)
    return found


@pytest.fixture(scope="module")
def program() -> bytes:
    return build(default())


def call(program: bytes, name: str, *args: int, arch: str = "X86_64") -> int:
    number = numbers("SCMP_ARCH_" + arch)[name] | (0x40000000 if arch == "X32" else 0)
    return run(program, AUDIT["X86_64" if arch == "X32" else arch], number, args)


@pytest.mark.parametrize("arch", ["X86_64", "X86", "X32"])
def test_every_number_of_the_default_profile(program: bytes, arch: str) -> None:
    rules = {name: entry for entry in default()["syscalls"] for name in entry["names"] if "args" not in entry}
    conditional = {name for entry in default()["syscalls"] for name in entry["names"] if "args" in entry}
    names = {number: name for name, number in numbers("SCMP_ARCH_" + arch).items()}
    newest = max(number for number, name in names.items() if name in rules or name in conditional)
    bit = 0x40000000 if arch == "X32" else 0
    for number in range(700):
        name = names.get(number, "")
        if name in conditional:
            continue
        if name in rules:
            expected = seccomp.ALLOW if rules[name]["action"] == "SCMP_ACT_ALLOW" else ENOSYS
        else:
            expected = EPERM if number < newest else ENOSYS
        assert run(program, AUDIT["X86_64" if bit else arch], number | bit) == expected, (arch, number, name)


def test_dangerous_calls_need_their_capability(program: bytes) -> None:
    strong = build(default(caps=capabilities.NAMES))
    for name in (
        "mount",
        "unshare",
        "setns",
        "bpf",
        "reboot",
        "init_module",
        "pivot_root",
        "keyctl",
        "add_key",
        "io_uring_setup",
        "userfaultfd",
        "kexec_load",
        "move_pages",
        "swapon",
    ):
        assert call(program, name) == EPERM
    for name in ("mount", "unshare", "setns", "bpf", "reboot", "clone3"):
        assert call(strong, name) == seccomp.ALLOW
    for name in ("keyctl", "io_uring_setup", "userfaultfd"):
        assert call(strong, name) == EPERM


@pytest.mark.parametrize(
    ("family", "verdict"),
    [
        (1, seccomp.ALLOW),
        (2, seccomp.ALLOW),
        (17, seccomp.ALLOW),
        (38, EPERM),
        (40, EPERM),
        (39, seccomp.ALLOW),
        (1000, EPERM),
        (1 << 32, EPERM),
    ],
)
@pytest.mark.parametrize("arch", ["X86_64", "X86", "X32"])
def test_socket_families(program: bytes, family: int, verdict: int, arch: str) -> None:
    assert call(program, "socket", family, 1, 0, arch=arch) == verdict


def test_socketcall_makes_no_sockets(program: bytes) -> None:
    assert call(program, "socketcall", 1, arch="X86") == ENOSYS
    assert call(program, "socketcall", 3, arch="X86") == seccomp.ALLOW


@pytest.mark.parametrize(
    ("flags", "verdict"),
    [
        (0x11, seccomp.ALLOW),
        (0x3D0F00, seccomp.ALLOW),
        (0x10000011, EPERM),
        (0x20000, EPERM),
        (0x40000000, EPERM),
    ],
)
def test_clone_makes_no_namespaces(program: bytes, flags: int, verdict: int) -> None:
    assert call(program, "clone", flags) == verdict


def test_clone3_does_not_exist_without_sys_admin(program: bytes) -> None:
    assert call(program, "clone3") == ENOSYS


def test_ptrace_needs_a_kernel_where_it_obeys_the_filter() -> None:
    assert call(build(default(kernel=(4, 7))), "ptrace") == EPERM
    assert call(build(default(kernel=(4, 8))), "ptrace") == seccomp.ALLOW


@pytest.mark.parametrize("persona", [0, 8, 0x20000, 0x20008, 0xFFFFFFFF])
def test_personalities(program: bytes, persona: int) -> None:
    assert call(program, "personality", persona) == seccomp.ALLOW
    assert call(program, "personality", persona ^ 0x40000) == EPERM


def test_foreign_architectures_end_the_process(program: bytes) -> None:
    assert run(program, AUDIT["AARCH64"], 0) == seccomp.KILL_PROCESS
    only = build({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"]})
    assert run(only, AUDIT["X86"], 20) == seccomp.KILL_PROCESS
    assert run(only, AUDIT["X86_64"], 0x40000000 | 39) == seccomp.KILL_PROCESS
    assert run(only, AUDIT["X86_64"], -1) == seccomp.ALLOW


def test_default_profile_fits_and_searches_shallowly(program: bytes) -> None:
    assert len(program) // 8 < 4096
    steps = 0
    at = 0
    while True:  # the way of read(2), number 0
        code, yes, no, constant = struct.unpack_from("=HBBI", program, at * 8)
        steps += 1
        at += 1
        if code == 0x06:
            break
        if code == 0x15:
            at += yes if constant == AUDIT["X86_64"] else no
        elif code == 0x35:
            at += no
        elif code == 0x05:
            at += constant
    assert steps < 25


def test_aarch64() -> None:
    code = seccomp.compile(
        seccomp_default.profile(capabilities.DEFAULT, "aarch64", (6, 1)), machine="aarch64"
    )
    assert call(code, "openat", arch="AARCH64") == seccomp.ALLOW
    assert call(code, "unshare", arch="AARCH64") == EPERM
    assert run(code, AUDIT["X86_64"], 0) == seccomp.KILL_PROCESS


OPERATORS: dict[str, Any] = {
    "EQ": lambda a, v, w: a == v, "NE": lambda a, v, w: a != v, "LT": lambda a, v, w: a < v,
    "LE": lambda a, v, w: a <= v, "GT": lambda a, v, w: a > v, "GE": lambda a, v, w: a >= v,
    "MASKED_EQ": lambda a, v, w: a & v == w,
}  # fmt: skip
VALUE = st.one_of(
    st.integers(0, 3), st.sampled_from([1 << 32, (1 << 32) + 1, (1 << 64) - 1, 0xFFFFFFFF, 1 << 63])
)
CONDITION = st.tuples(st.integers(0, 5), st.sampled_from(sorted(OPERATORS)), VALUE, VALUE)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.lists(CONDITION, min_size=1, max_size=3, unique_by=lambda c: c[0]), st.integers(2, 9)),
        max_size=5,
    ),
    st.tuples(*[VALUE] * 6),
)
def test_argument_conditions(rules: list[tuple[list[Any], int]], args: tuple[int, ...]) -> None:
    entries = [
        {
            "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": code,
            "args": [{"index": i, "op": op, "value": v, "valueTwo": w} for i, op, v, w in conditions],
        }
        for conditions, code in rules
    ]  # fmt: skip
    program = build({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": entries})
    expected = next(
        (seccomp.ERRNO | code for conditions, code in rules
         if all(OPERATORS[op](args[i], v, w) for i, op, v, w in conditions)),
        seccomp.ALLOW,
    )  # fmt: skip
    assert call(program, "kill", *args) == expected


def test_two_conditions_on_one_argument_count_alone() -> None:
    args = [{"index": 0, "op": "SCMP_CMP_EQ", "value": value} for value in (1, 2)]
    entry = {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": args}
    program = build({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry]})
    assert [call(program, "kill", value) for value in (1, 2, 3)] == [EPERM, EPERM, seccomp.ALLOW]


def test_a_rule_without_arguments_beats_those_with() -> None:
    args = [{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}]
    entries = [
        {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": args},
        {"names": ["kill"], "action": "SCMP_ACT_LOG"},
        {"names": ["kill"], "action": "SCMP_ACT_TRAP"},
    ]
    program = build({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": entries})
    assert call(program, "kill", 1) == seccomp.LOG


def test_denied_socket_calls_are_denied_inside_socketcall() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["socket", "shmget"], "action": "SCMP_ACT_ERRNO"}],
    }
    program = build(profile)
    assert call(program, "socketcall", 1, arch="X86") == EPERM
    assert call(program, "socketcall", 2, arch="X86") == seccomp.ALLOW
    assert call(program, "ipc", 23, arch="X86") == EPERM


@pytest.mark.parametrize(
    ("profile", "error"),
    [
        ({}, InvalidArgument),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, InvalidArgument),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1 << 16}, InvalidArgument),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["kill"], "action": "x"}]},
            InvalidArgument,
        ),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {"names": ["kill"], "action": "SCMP_ACT_LOG", "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}
                ],
            },
            InvalidArgument,
        ),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {"names": ["kill"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "op": "=="}]}
                ],
            },
            InvalidArgument,
        ),
    ],
)
def test_wrong_profiles(profile: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        build(profile)


def test_too_many_rules_are_refused() -> None:
    entries = [
        {
            "names": ["kill"],
            "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": value}],
        }
        for value in range(2000)
    ]
    with pytest.raises(InvalidArgument, match="4096"):
        build({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": entries})


def test_unknown_names_are_left_out() -> None:
    build(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["no_such_call"], "action": "SCMP_ACT_KILL"}],
        }
    )


def test_docker_format_is_resolved_first() -> None:
    document = seccomp_default.document()
    assert seccomp.is_docker_format(document)
    strong = seccomp.compile(document, caps=("CAP_SYS_BOOT",), machine=MACHINE)
    assert call(strong, "reboot") == seccomp.ALLOW
    with pytest.raises(InvalidArgument):
        seccomp.resolve({**document, "architectures": ["SCMP_ARCH_X86"]}, caps=())


def test_flags() -> None:
    assert seccomp.flags({"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]}) == 3
    with pytest.raises(InvalidArgument):
        seccomp.flags({"flags": ["SECCOMP_FILTER_FLAG_X"]})


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "_memory", {})
    profile = default()
    first = seccomp.cached(profile, directory=str(tmp_path))
    assert [path.suffix for path in tmp_path.iterdir()] == [".bpf"]
    monkeypatch.setattr(seccomp, "_memory", {})
    monkeypatch.setattr(seccomp, "compile", None)
    assert seccomp.cached(profile, directory=str(tmp_path)) == first
    assert seccomp.cached(profile) == first
    assert seccomp.key(profile) != seccomp.key(default(caps=()))


@pytest.mark.parametrize(
    ("release", "version"), [("6.18.4-x", (6, 18)), ("4.8", (4, 8)), ("x", (0, 0)), ("5.x", (0, 0))]
)
def test_kernel_version(release: str, version: tuple[int, int]) -> None:
    assert seccomp.kernel_version(release) == version


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"defaultAction": "x"}, "linux.seccomp.defaultAction: unknown action 'x'"),
        ({"defaultAction": []}, r"linux.seccomp.defaultAction: unknown action \[\]"),
        ({"architectures": ["SCMP_ARCH_X86", "Z80"]}, r"linux.seccomp.architectures\[1\]: 'Z80'"),
        ({"architectures": "SCMP_ARCH_X86"}, "linux.seccomp.architectures: expected a list"),
        ({"syscalls": {}}, "linux.seccomp.syscalls: expected a list"),
        ({"syscalls": [1]}, r"linux.seccomp.syscalls\[0\]: expected an object, got 1"),
        ({"syscalls": [{"names": [1], "action": "SCMP_ACT_LOG"}]}, r"syscalls\[0\].names\[0\]: expected a string"),
        ({"syscalls": [{"names": ["read"], "action": "LOG"}]}, r"syscalls\[0\].action: unknown action 'LOG'"),
        (
            {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": "1"}]},
            r"syscalls\[0\].errnoRet: '1'",
        ),
        (
            {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"op": "<"}]}]},
            r"syscalls\[0\].args\[0\].op: unknown operator '<'",
        ),
        (
            {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG",
                           "args": [{"op": "SCMP_CMP_EQ", "value": "x"}]}]},
            r"syscalls\[0\].args\[0\].value: 'x' is not a number",
        ),
        (
            {"syscalls": [{"names": ["futex"], "action": "SCMP_ACT_NOTIFY"}]},
            r"syscalls\[0\].names: 'futex' is needed",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(part: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        seccomp.compile({"defaultAction": "SCMP_ACT_ALLOW"} | part)


def test_flags_of_listeners() -> None:
    """The kernel refuses WAIT_KILLABLE_RECV without a listener, and TSYNC with one."""
    plain = {"flags": [f"SECCOMP_FILTER_FLAG_{name}" for name in ("TSYNC", "LOG", "WAIT_KILLABLE_RECV")]}
    assert seccomp.flags(plain) == 0b11
    watched = plain | {"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}
    assert seccomp.flags(watched) == 0b100010
    with pytest.raises(InvalidArgument, match=r"linux.seccomp.flags\[0\]: unknown flag 'TSYNC'"):
        seccomp.flags({"flags": ["TSYNC"]})
