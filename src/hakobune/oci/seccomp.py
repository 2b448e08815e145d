"""OCI `linux.seccomp` -> the bytes of a classic BPF program (array of struct sock_filter).

Every system call of the container runs through this program, so its shape matters: after the
architecture comes a binary search over *ranges* of numbers with the same verdict (about six comparisons
for any call), and a verdict that depends on the number alone loads nothing else, which lets Linux >= 5.11
answer it from its per-thread bitmap without running the program at all.

Verdicts follow libseccomp as runc drives it: a rule without arguments beats those with arguments; rules
with arguments are tried in order; conditions of one rule are ANDed, unless two look at the same argument,
then each counts alone; a rule that says the same as the default is dropped; a call newer than every call
in the profile gets ENOSYS instead of an error that would make programs give up. An architecture that is
not listed ends the process.

No I/O but for the cache, no ctypes: `linux.syscalls.seccomp_load` takes the bytes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
from collections.abc import Iterable, Mapping, Sequence

from hakobune.errors import InvalidArgument, Unimplemented
from hakobune.oci.syscall_table import ARCHITECTURES, numbers
from hakobune.record import Any

Profile = Mapping[str, Any]

# <linux/seccomp.h>
KILL_PROCESS, KILL_THREAD, TRAP, ERRNO = 0x80000000, 0x00000000, 0x00030000, 0x00050000
TRACE, LOG, ALLOW, NOTIFY = 0x7FF00000, 0x7FFC0000, 0x7FFF0000, 0x7FC00000

ACTIONS = {
    "SCMP_ACT_KILL": KILL_THREAD, "SCMP_ACT_KILL_THREAD": KILL_THREAD, "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_TRAP": TRAP, "SCMP_ACT_ERRNO": ERRNO, "SCMP_ACT_TRACE": TRACE, "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_ALLOW": ALLOW, "SCMP_ACT_NOTIFY": NOTIFY,
}  # fmt: skip

# AUDIT_ARCH_* of <linux/audit.h>; X32 shares its own with X86_64
_AUDIT = {"SCMP_ARCH_X86_64": 0xC000003E, "SCMP_ARCH_X86": 0x40000003, "SCMP_ARCH_AARCH64": 0xC00000B7}
_X32_BIT = 0x40000000
_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64", "i686": "SCMP_ARCH_X86"}

# <linux/seccomp.h>: SECCOMP_FILTER_FLAG_*
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1 << 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 1 << 5,
}
_OF_LISTENERS = FLAGS["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]  # the kernel refuses it without one
_NOT_OF_LISTENERS = FLAGS["SECCOMP_FILTER_FLAG_TSYNC"]  # who loads has one thread that matters

# <linux/bpf_common.h>: load a word of struct seccomp_data, jumps, return
_LOAD, _JEQ, _JGT, _JGE, _JA, _AND, _RET = 0x20, 0x15, 0x25, 0x35, 0x05, 0x54, 0x06
_NR, _ARCH, _ARGS = 0, 4, 16
_MAXIMUM = 4096  # BPF_MAXINSNS

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant
Condition = tuple[int, str, int, int]  # argument, operator, value, second value
Rule = tuple[int, tuple[Condition, ...]]  # action, conditions


# reading the profile --------------------------------------------------------------------------------


def _action(
    name: Any, errno_ret: Any, at: str, *, field: str = "action", data_field: str = "errnoRet"
) -> int:
    if not isinstance(name, str) or name not in ACTIONS:
        raise InvalidArgument(f"{at}.{field}: unknown action {name!r:.60}")
    action = ACTIONS[name]
    if action in (ERRNO, TRACE):
        data = errno.EPERM if errno_ret is None else errno_ret
        if type(data) is not int or not 0 <= data <= 0xFFFF:
            raise InvalidArgument(f"{at}.{data_field}: {errno_ret!r:.60} is not a number of 16 bits")
        return action | data
    return action


def _default(profile: Profile) -> int:
    default = _action(profile.get("defaultAction"), profile.get("defaultErrnoRet"), "linux.seccomp",
                      field="defaultAction", data_field="defaultErrnoRet")  # fmt: skip
    if default == NOTIFY:
        # Nobody could hand the listener over: each call for that would wait for the listener.
        raise InvalidArgument("linux.seccomp.defaultAction: SCMP_ACT_NOTIFY is for named system calls only")
    return default


def _listed(holder: Profile, field: str, at: str, kind: type, word: str) -> Sequence[Any]:
    """`holder[field]`, a list whose entries are all of `kind`; () when absent."""
    values = holder.get(field)
    if values is None:
        return ()
    if not isinstance(values, (list, tuple)):
        raise InvalidArgument(f"{at}.{field}: expected a list, got {values!r:.60}")
    for index, value in enumerate(values):
        if not isinstance(value, kind):
            raise InvalidArgument(f"{at}.{field}[{index}]: expected {word}, got {value!r:.60}")
    return values


OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")


def _condition(arg: Mapping[str, Any], at: str) -> Condition:
    operator = str(arg.get("op", "")).removeprefix("SCMP_CMP_")
    index, value, second = arg.get("index", 0), arg.get("value", 0), arg.get("valueTwo", 0)
    if operator not in OPERATORS:
        raise InvalidArgument(f"{at}.op: unknown operator {arg.get('op')!r:.60}")
    if type(index) is not int or not 0 <= index <= 5:
        raise InvalidArgument(f"{at}.index: argument {index!r:.60} is not 0 to 5")
    for field, number in (("value", value), ("valueTwo", second)):
        if type(number) is not int:
            raise InvalidArgument(f"{at}.{field}: {number!r:.60} is not a number")
    return index, operator, value & 0xFFFFFFFFFFFFFFFF, second & 0xFFFFFFFFFFFFFFFF


def _alternatives(args: Sequence[Mapping[str, Any]], at: str) -> list[tuple[Condition, ...]]:
    """The ANDed groups of one rule."""
    conditions = [_condition(arg, f"{at}.args[{index}]") for index, arg in enumerate(args)]
    if len({condition[0] for condition in conditions}) < len(conditions):
        return [(condition,) for condition in conditions]
    return [tuple(conditions)]


_OURS = frozenset(("futex", "futex_time64"))  # how two threads of init wait for each other, see init.notify


def _rules(profile: Profile, default: int) -> dict[str, list[Rule]]:
    """Name -> rules in order, after the precedence of the module's text."""
    found: dict[str, list[Rule]] = {}
    for index, entry in enumerate(_listed(profile, "syscalls", "linux.seccomp", dict, "an object")):
        at = f"linux.seccomp.syscalls[{index}]"
        names = _listed(entry, "names", at, str, "a string")
        action = _action(entry.get("action"), entry.get("errnoRet"), at)
        alternatives = _alternatives(_listed(entry, "args", at, dict, "an object"), at)
        if action == default:
            continue
        if action == NOTIFY and not _OURS.isdisjoint(names):
            call = next(name for name in names if name in _OURS)
            raise InvalidArgument(
                f"{at}.names: {call!r} is needed to hand the listener over: SCMP_ACT_NOTIFY cannot hold it"
            )
        for name in names:
            rules = found.setdefault(name, [])
            if rules and not rules[0][1]:
                continue  # decided without arguments already
            if alternatives == [()]:
                rules.clear()
            rules.extend((action, conditions) for conditions in alternatives)
    return found


# i386 packs these into socketcall(2) and ipc(2): <linux/net.h>, <linux/ipc.h>
_SOCKETCALL = (
    "socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom "
    "shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg"
).split()
_IPC = {
    "semop": 1, "semget": 2, "semctl": 3, "semtimedop": 4, "msgsnd": 11, "msgrcv": 12, "msgget": 13,
    "msgctl": 14, "shmat": 21, "shmdt": 22, "shmget": 23, "shmctl": 24,
}  # fmt: skip


def _with_multiplexers(rules: Mapping[str, list[Rule]]) -> Mapping[str, list[Rule]]:
    """i386: what is said of socket calls without arguments holds for their number in socketcall too.

    Rules *with* arguments are not carried over: the packed arguments lie in memory, where BPF cannot
    look; so a family filter never turns into a permission there.
    """
    packed = {name: ("socketcall", number) for number, name in enumerate(_SOCKETCALL, 1)}
    packed |= {name: ("ipc", number) for name, number in _IPC.items()}
    found = {name: list(entries) for name, entries in rules.items()}
    for name, entries in rules.items():
        if name not in packed or len(entries) != 1 or entries[0][1]:
            continue
        carrier, number = packed[name]
        target = found.setdefault(carrier, [])
        if not target or target[0][1]:
            target.append((entries[0][0], ((0, "EQ", number, 0),)))
    return found


# emitting -------------------------------------------------------------------------------------------


def _ret(action: int) -> list[Instruction]:
    return [(_RET, 0, 0, action)]


_FAIL, _PASS = -1, -2  # jump targets that are filled in when the rule is complete


def _test(condition: Condition) -> list[Instruction]:
    """Fall through when the condition holds, else jump to _FAIL. 64-bit values in two words."""
    index, operator, value, second = condition
    low_at, high_at = _ARGS + 8 * index, _ARGS + 8 * index + 4  # little endian
    high, low = value >> 32, value & 0xFFFFFFFF
    load_high, load_low = (_LOAD, 0, 0, high_at), (_LOAD, 0, 0, low_at)
    if operator == "MASKED_EQ":
        want_high, want_low = second >> 32, second & 0xFFFFFFFF
        return [
            load_high, (_AND, 0, 0, high), (_JEQ, 0, _FAIL, want_high),
            load_low, (_AND, 0, 0, low), (_JEQ, 0, _FAIL, want_low),
        ]  # fmt: skip
    if operator == "EQ":
        return [load_high, (_JEQ, 0, _FAIL, high), load_low, (_JEQ, 0, _FAIL, low)]
    if operator == "NE":
        return [load_high, (_JEQ, 0, _PASS, high), load_low, (_JEQ, _FAIL, 0, low)]
    code = _JGT if operator in ("GT", "LE") else _JGE
    if operator in ("GT", "GE"):
        return [load_high, (_JGT, _PASS, 0, high), (_JEQ, 0, _FAIL, high), load_low, (code, 0, _FAIL, low)]
    return [load_high, (_JGT, _FAIL, 0, high), (_JEQ, 0, _PASS, high), load_low, (code, _FAIL, 0, low)]


def _resolve(code: list[Instruction], target: int, at: int, *, of: int) -> list[Instruction]:
    """Replace the placeholder `of` by the distance from each instruction to index `target`."""

    def jump(value: int, place: int) -> int:
        return target - place - 1 if value == of else value

    return [(op, jump(yes, at + i), jump(no, at + i), k) for i, (op, yes, no, k) in enumerate(code)]


def _rule(rule: Rule) -> list[Instruction]:
    """One rule: its verdict, or past its end when a condition fails."""
    action, conditions = rule
    code: list[Instruction] = []
    for condition in conditions:
        test = _test(condition)
        end = len(code) + len(test)
        code += _resolve(test, end, len(code), of=_PASS)
    code += _ret(action)
    return _resolve(code, len(code), 0, of=_FAIL)


def _verdict(rules: Sequence[Rule], default: int) -> list[Instruction]:
    """The whole decision about one system call."""
    code: list[Instruction] = []
    for rule in rules:
        code += _rule(rule)
        if not rule[1]:
            return code
    return code + _ret(default)


def _branch(code: int, constant: int, yes: list[Instruction], no: list[Instruction]) -> list[Instruction]:
    """if A <op> constant then `yes` else `no`; `no` comes first. Conditional jumps reach 255 only."""
    if len(no) <= 255:
        return [(code, len(no), 0, constant), *no, *yes]
    return [(code, 0, 1, constant), (_JA, 0, 0, len(no)), *no, *yes]


Range = tuple[int, list[Instruction]]  # first number, what happens from there on


def _ranges(table: Mapping[str, int], rules: Mapping[str, list[Rule]], default: int) -> list[Range]:
    """Number ranges in order, neighbours of the same verdict joined."""
    by_number = {table[name]: entries for name, entries in rules.items() if name in table}
    found: list[Range] = [(0, _ret(default))]
    expected = 0
    for number in sorted(by_number):
        if number != expected:
            _append(found, expected, _ret(default))
        _append(found, number, _verdict(by_number[number], default))
        expected = number + 1
    # newer than all that the profile speaks of: "not implemented" lets programs fall back
    newer = ERRNO | errno.ENOSYS if default & 0x7FFF0000 in (ERRNO, TRAP, 0) else default
    _append(found, expected, _ret(newer if by_number else default))
    return found


def _append(found: list[Range], first: int, code: list[Instruction]) -> None:
    if found[-1][0] == first:
        found.pop()
    if not found or found[-1][1] != code:
        found.append((first, code))


def _search(ranges: Sequence[Range]) -> list[Instruction]:
    """Binary search over `ranges`, the number being in A."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    return _branch(_JGE, ranges[middle][0], _search(ranges[middle:]), _search(ranges[:middle]))


def _section(architecture: str, rules: Mapping[str, list[Rule]], default: int) -> list[Instruction]:
    if architecture == "SCMP_ARCH_X86":
        rules = _with_multiplexers(rules)
    return _search(_ranges(numbers(architecture), rules, default))


def _x86_64(rules: Mapping[str, list[Rule]], default: int, *, x32: bool) -> list[Instruction]:
    """Numbers with bit 30 are X32's; -1 (a tracer's "skip") takes the default."""
    plain = _section("SCMP_ARCH_X86_64", rules, default)
    if x32:
        ranges = _ranges(numbers("SCMP_ARCH_X32"), rules, default)
        foreign = _search([(first | _X32_BIT if first else 0, code) for first, code in ranges])
    else:
        foreign = _ret(KILL_PROCESS)
    foreign = _branch(_JEQ, 0xFFFFFFFF, _ret(default), foreign)
    return [(_LOAD, 0, 0, _NR), *_branch(_JGE, _X32_BIT, foreign, plain)]


# config-linux.md, Seccomp: those that a configuration may name, whatever we have a table for
_NAMED = frozenset(
    ("SCMP_ARCH_" + name)
    for name in (
        "NATIVE X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE "
        "S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB"
    ).split()
)


def _architectures(profile: Profile, machine: str) -> list[str]:
    """Those to emit, the native one first (it always counts); those without a table are left out."""
    native = _NATIVE.get(machine)
    if native is None:
        raise Unimplemented(f"seccomp: no system call table for machine {machine}")
    listed = _listed(profile, "architectures", "linux.seccomp", str, "a string")
    for index, name in enumerate(listed):
        if name not in _NAMED:
            raise InvalidArgument(
                f"linux.seccomp.architectures[{index}]: {name!r:.60} is not an architecture"
            )
    return [native, *(name for name in listed if name in ARCHITECTURES and name != native)]


def compile(profile: Profile, *, caps: Iterable[str] = (), machine: str = "") -> bytes:
    """The program for an OCI profile (or one in Docker's own format, which `caps` then completes).

    Raises InvalidArgument (unknown action, operator, argument; too many rules) and Unimplemented
    (a machine without a table). Unknown system call names are left out, as runc does.
    """
    machine = machine or os.uname().machine
    if is_docker_format(profile):
        profile = resolve(profile, caps=frozenset(caps))
    default = _default(profile)
    rules = _rules(profile, default)
    architectures = _architectures(profile, machine)
    code = _ret(KILL_PROCESS)
    for name in reversed(architectures):
        if name == "SCMP_ARCH_X32":
            continue
        if name == "SCMP_ARCH_X86_64":
            body = _x86_64(rules, default, x32="SCMP_ARCH_X32" in architectures)
        else:
            body = [(_LOAD, 0, 0, _NR), *_section(name, rules, default)]
        code = _branch(_JEQ, _AUDIT[name], body, code)
    code = [(_LOAD, 0, 0, _ARCH), *code]
    if len(code) > _MAXIMUM:
        text = f"profile needs {len(code)} instructions, the kernel takes {_MAXIMUM}"
        raise InvalidArgument("linux.seccomp: " + text)
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def flags(profile: Profile) -> int:
    """The flags word for seccomp(2), without that of a listener. Raises InvalidArgument for an unknown flag."""
    word = 0
    for index, name in enumerate(_listed(profile, "flags", "linux.seccomp", str, "a string")):
        if name not in FLAGS:
            raise InvalidArgument(f"linux.seccomp.flags[{index}]: unknown flag {name!r:.60}")
        word |= FLAGS[name]
    return word & ~(_NOT_OF_LISTENERS if notifies(profile) else _OF_LISTENERS) if word else 0


def notifies(profile: Profile) -> bool:
    """Whether a call of it is decided by somebody else."""
    return any(entry.get("action") == "SCMP_ACT_NOTIFY" for entry in profile.get("syscalls") or ())


# Docker's profile format ---------------------------------------------------------------------------

_GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm", "ppc64le": "ppc64le",
            "s390x": "s390x", "riscv64": "riscv64"}  # fmt: skip


def is_docker_format(document: Profile) -> bool:
    """Whether a profile has what only Docker's files have: archMap, or conditional entries."""
    if "archMap" in document:
        return True
    entries = document.get("syscalls") or ()
    return any(
        isinstance(entry, dict) and {"includes", "excludes", "name"} & entry.keys() for entry in entries
    )


def kernel_version(release: str) -> tuple[int, int]:
    """(major, minor) of a uname release; (0, 0) when it is not one."""
    parts = release.split("-", 1)[0].split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return 0, 0
    return int(parts[0]), int(parts[1])


def resolve(
    document: Profile, *, caps: Iterable[str], machine: str = "", kernel: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Docker's seccomp file -> OCI `linux.seccomp`: conditions on capabilities, machine, kernel applied.

    `caps` is the container's bounding set (`CAP_…`); `machine` as uname says. Raises InvalidArgument.
    """
    uname = os.uname()
    machine = machine or uname.machine
    kernel = kernel or kernel_version(uname.release)
    held = frozenset(caps)
    found: dict[str, Any] = {"defaultAction": document.get("defaultAction", "SCMP_ACT_ERRNO")}
    if document.get("defaultErrnoRet") is not None:
        found["defaultErrnoRet"] = document["defaultErrnoRet"]
    if architectures := _mapped_architectures(document, machine):
        found["architectures"] = architectures
    if document.get("flags"):
        found["flags"] = list(document["flags"])
    arch = _GO_ARCH.get(machine, machine)
    entries = document.get("syscalls") or ()
    found["syscalls"] = [_entry(entry) for entry in entries if _applies(entry, held, arch, kernel)]
    return found


def _mapped_architectures(document: Profile, machine: str) -> list[str]:
    if document.get("archMap") and document.get("architectures"):
        raise InvalidArgument("seccomp profile: both architectures and archMap are given")
    native = _NATIVE.get(machine, "SCMP_ARCH_" + machine.upper())
    for entry in document.get("archMap") or ():
        if entry.get("architecture") == native:
            return [native, *(entry.get("subArchitectures") or ())]
    return list(document.get("architectures") or ())


def _applies(entry: Mapping[str, Any], caps: frozenset[str], arch: str, kernel: tuple[int, int]) -> bool:
    """Docker's rule: every included condition must hold, no excluded one may."""
    includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
    if arch in (excludes.get("arches") or ()) or caps & set(excludes.get("caps") or ()):
        return False
    if excludes.get("minKernel") and kernel >= kernel_version(excludes["minKernel"]):
        return False
    if includes.get("arches") and arch not in includes["arches"]:
        return False
    if includes.get("minKernel") and kernel < kernel_version(includes["minKernel"]):
        return False
    return set(includes.get("caps") or ()) <= caps


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    names = list(entry.get("names") or ())
    if entry.get("name"):
        if names:
            raise InvalidArgument("seccomp profile: an entry has both name and names")
        names = [entry["name"]]
    found: dict[str, Any] = {"names": names, "action": entry.get("action")}
    if entry.get("errnoRet") is not None:
        found["errnoRet"] = entry["errnoRet"]
    if entry.get("args"):
        found["args"] = [dict(arg) for arg in entry["args"]]
    return found


# cache ----------------------------------------------------------------------------------------------

_VERSION = 1  # raise it with every change of the emitted code
_memory: dict[str, bytes] = {}


def key(profile: Profile, *, caps: Iterable[str] = ()) -> str:
    """Names a compiled program: profile, machine, and our own version (`caps` only for Docker's format)."""
    held = sorted(caps) if is_docker_format(profile) else []
    uname = os.uname()
    text = f"{_VERSION} {uname.machine} {uname.release if held else ''} {held} {profile!r}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def cached(profile: Profile, *, caps: Iterable[str] = (), directory: str = "") -> bytes:
    """As `compile`, out of memory, else out of `directory` (when given), else compiled and kept in both.

    A cache file that cannot be read, or is not whole instructions, is as good as absent. Raises as `compile`.
    """
    name = key(profile, caps=caps)
    program = _memory.get(name) or _load(directory, name)
    if not program:
        program = compile(profile, caps=caps)
        _store(directory, name, program)
    _memory[name] = program
    return program


def _load(directory: str, name: str) -> bytes:
    if not directory:
        return b""
    try:
        with open(f"{directory}/{name}.bpf", "rb") as file:
            program = file.read(8 * _MAXIMUM + 1)
    except OSError:
        return b""
    return program if len(program) % 8 == 0 and len(program) <= 8 * _MAXIMUM else b""


def _store(directory: str, name: str, program: bytes) -> None:
    """Write beside, then rename; a cache that cannot be written is no error."""
    if not directory:
        return
    beside = f"{directory}/.{name}.{os.getpid()}"
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(program)
        os.rename(beside, f"{directory}/{name}.bpf")
    except OSError:
        return
