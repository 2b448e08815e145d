"""Docker's default seccomp profile as data: what an unprivileged container may ask of the kernel.

Facts as of August 2026 (moby/profiles), in Docker's own format, so that `seccomp.resolve` serves it and
a user's file alike. Everything not listed is refused with EPERM; what a capability unlocks is listed
under that capability.

One entry is ours: `socketcall`, the 32-bit multiplexer, may not make sockets (ENOSYS). Its arguments lie
in memory where no filter can look, so it would be a way around the families refused below (AF_ALG,
AF_VSOCK). Docker leaves that to AppArmor or SELinux, which may be absent. 32-bit C libraries have used
the direct calls since Linux 4.3.
"""

from __future__ import annotations

from collections.abc import Iterable

from hakobune.oci import seccomp
from hakobune.record import Any

_ALLOWED = """
    _llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod
    chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat
    dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64
    fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
    fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64
    fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv
    futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid
    getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid
    getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit
    getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents
    io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill
    landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat
    listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise
    map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2
    mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
    mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock
    munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open
    pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64
    preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read
    readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages
    removexattr removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64
    sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid
    setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32
    setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid
    setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4
    sigprocmask sigreturn socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat
    sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
    timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
    timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask
    uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid
    waitpid write writev
"""

# capability -> what it unlocks
_BY_CAPABILITY = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
        lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
        quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare
    """,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}

# machines (Go's names, as in Docker's files) -> what only they have
_BY_ARCH: dict[tuple[str, ...], str] = {
    ("ppc64le",): "swapcontext sync_file_range2",
    ("arm", "arm64"): "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    ("amd64", "x32"): "arch_prctl",
    ("amd64", "x32", "x86"): "modify_ldt",
    ("s390", "s390x"): "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    ("riscv64",): "riscv_flush_icache",
}

# <linux/socket.h>: all below 12 (up to AF_BRIDGE … AF_DECnet), and of the others those in use;
# not AF_ALG (38: kernel crypto, CVE-2026-31431) nor AF_VSOCK (40: past the network namespace)
_FAMILIES = (13, 14, 15, 16, 17, 18, 21, 22, 24, *range(26, 34), 35, 36, 39, *range(41, 46))
# <linux/personality.h>: Linux, Linux 32 bit, UNAME26 with either, and "only ask"
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
# <linux/sched.h>: every CLONE_NEW* but NEWTIME, which clone(2) cannot say
_NAMESPACE_FLAGS = 0x7E020000

_SUB_ARCHITECTURES = {
    "X86_64": ("X86", "X32"), "AARCH64": ("ARM",), "MIPS64": ("MIPS", "MIPS64N32"),
    "MIPS64N32": ("MIPS", "MIPS64"), "MIPSEL64": ("MIPSEL", "MIPSEL64N32"),
    "MIPSEL64N32": ("MIPSEL", "MIPSEL64"), "S390X": ("S390",), "RISCV64": (), "LOONGARCH64": (),
}  # fmt: skip

_ALLOW, _ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
_ENOSYS = 38


def _arg(index: int, op: str, value: int, second: int = 0) -> list[dict[str, Any]]:
    return [{"index": index, "value": value, "valueTwo": second, "op": "SCMP_CMP_" + op}]


def _when_argument(name: str, op: str, value: int, **more: Any) -> dict[str, Any]:
    return {"names": [name], "action": _ALLOW, "args": _arg(0, op, value), **more}


def _clone() -> list[dict[str, Any]]:
    """Without CAP_SYS_ADMIN no namespaces; clone3 hides its flags in memory, so it "does not exist"."""
    admin = ["CAP_SYS_ADMIN"]
    s390 = ["s390", "s390x"]
    return [
        _when_argument("clone", "MASKED_EQ", _NAMESPACE_FLAGS, excludes={"caps": admin, "arches": s390}),
        {
            "names": ["clone"], "action": _ALLOW, "args": _arg(1, "MASKED_EQ", _NAMESPACE_FLAGS),
            "includes": {"arches": s390}, "excludes": {"caps": admin},
        },
        {"names": ["clone3"], "action": _ERRNO, "errnoRet": _ENOSYS, "excludes": {"caps": admin}},
    ]  # fmt: skip


def _socketcall() -> list[dict[str, Any]]:
    return [
        {"names": ["socketcall"], "action": _ERRNO, "errnoRet": _ENOSYS, "args": _arg(0, "EQ", 1)},
        _when_argument("socketcall", "GT", 1),
    ]


def _allow(names: str, **includes: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"names": sorted(names.split()), "action": _ALLOW}
    return entry | ({"includes": includes} if includes else {})


def document() -> dict[str, Any]:
    """The whole profile in Docker's format: what `docker` users know as default.json."""
    return {
        "defaultAction": _ERRNO,
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_" + name, "subArchitectures": ["SCMP_ARCH_" + sub for sub in subs]}
            for name, subs in _SUB_ARCHITECTURES.items()
        ],
        "syscalls": [
            _allow(_ALLOWED),
            _allow("process_vm_readv process_vm_writev ptrace", minKernel="4.8"),
            _when_argument("socket", "LT", 12),
            *(_when_argument("socket", "EQ", family) for family in _FAMILIES),
            *_socketcall(),
            *(_when_argument("personality", "EQ", value) for value in _PERSONALITIES),
            *(_allow(names, arches=list(arches)) for arches, names in _BY_ARCH.items()),
            *(_allow(names, caps=[capability]) for capability, names in _BY_CAPABILITY.items()),
            *_clone(),
        ],
    }


_document: dict[str, Any] | None = None


def profile(caps: Iterable[str], machine: str = "", kernel: tuple[int, int] | None = None) -> dict[str, Any]:
    """OCI `linux.seccomp` for a container with this bounding set (`CAP_…`), on `machine` and `kernel`.

    Defaults are this host's. The same arguments always give an equal value (the cache relies on it).
    """
    global _document
    if _document is None:
        _document = document()
    return seccomp.resolve(_document, caps=caps, machine=machine, kernel=kernel)


def for_libseccomp(profile: dict[str, Any]) -> dict[str, Any]:
    """The same for runc and crun: their library makes rules for `socketcall` out of those for `socket`, and fails
    ("file exists") over a rule of somebody else's for the same call. 32-bit programs keep that way open there."""
    calls = [
        entry
        for entry in profile["syscalls"]
        if entry["names"] != ["socketcall"] or entry["action"] == _ALLOW
    ]
    return profile | {"syscalls": calls}
