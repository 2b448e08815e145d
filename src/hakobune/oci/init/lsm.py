"""process.apparmorProfile and process.selinuxLabel: asked for of the kernel, never left out in silence.

The label is what the next exec(2) changes to (kernel: Documentation/admin-guide/LSM; man 8 aa-exec, man 3 setexeccon).
It is written through a proc of our own, below which nothing can be mounted or linked: a container that puts
something in /proc's place gets no say in it (CVE-2019-16884, CVE-2019-19921). Imports: os; linux.syscalls.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from hakobune.errors import InvalidArgument
from hakobune.linux import syscalls as sys
from hakobune.oci.process import Process

Act = Callable[[], None]
_APPARMOR, _SELINUX = "/sys/module/apparmor/parameters/enabled", "/sys/fs/selinux/enforce"
_RESOLVE = sys.RESOLVE_BENEATH | sys.RESOLVE_NO_XDEV | sys.RESOLVE_NO_SYMLINKS


def prepared(process: Process, at: str = "process.") -> Act | None:
    """In the host: what init or an exec calls; None for a process without labels.

    Raises InvalidArgument where the running kernel has no such module: as runc, which would not start it either.
    """
    written: list[tuple[str, bytes]] = []
    if profile := process.apparmor_profile:
        if not _says(_APPARMOR, "Y"):
            raise InvalidArgument(f"{at}apparmorProfile: {profile!r:.80}: this kernel has no AppArmor")
        written.append(("apparmor/exec", f"exec {profile}".encode()))
    if label := process.selinux_label:
        if not os.path.exists(_SELINUX):
            raise InvalidArgument(
                f"{at}selinuxLabel: {label!r:.80}: this kernel has no SELinux, or it is switched off"
            )
        written.append(("exec", label.encode()))
    if not written:
        return None

    def act() -> None:
        for name, text in written:
            write(name, text)

    return act


def _says(path: str, word: str) -> bool:
    try:
        with open(path) as file:
            return file.read(8).strip() == word
    except OSError:
        return False


def write(name: str, text: bytes) -> None:
    """An attribute of our own, in one write. Raises OSError naming it."""
    context = sys.fsopen("proc")
    sys.fsconfig_create(context)
    proc = sys.fsmount(context)
    try:
        fd = sys.openat2(proc, f"{os.getpid()}/attr/{name}", os.O_WRONLY, 0, _RESOLVE)
        try:
            os.write(fd, text)
        finally:
            os.close(fd)
    except OSError as err:
        raise OSError(
            err.errno, f"label {text.decode()!r}: {(err.strerror or '').lower()}", f"attr/{name}"
        ) from err
    finally:
        os.close(proc)
        os.close(context)
