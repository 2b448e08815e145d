"""Our interpreter as a copy in memory that nobody can write to, to be executed in its own place (CVE-2019-5736).

What is in a container finds the program of a process that enters it as /proc/PID/exe, and `#!/proc/self/exe` has the
kernel run that program inside. It may keep the file open until we have gone and write then: to this copy it can not.
Not being dumpable covers only the time before exec(2), and only those without CAP_SYS_PTRACE.
Source: man 2 memfd_create, man 2 fcntl (file seals). Imports: os, fcntl; neither ctypes nor privileges are needed.
"""

from __future__ import annotations

import errno
import fcntl
import os

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_MFD_EXEC = 0x10  # <linux/memfd.h>, since Linux 6.3; before, every memfd may be executed


def is_sealed() -> bool:
    """Whether this process runs from such a copy."""
    program = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return fcntl.fcntl(program, fcntl.F_GET_SEALS) & _SEALS == _SEALS
    except OSError:  # EINVAL: a file of a file system
        return False
    finally:
        os.close(program)


def copy() -> int:
    """A descriptor (close-on-exec) for execve(2), of a copy of the program that this process runs. Raises OSError."""
    memory = _memory()
    program = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
    try:
        while os.sendfile(memory, program, None, 1 << 30):
            pass
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(memory)
        raise
    finally:
        os.close(program)
    return memory


def _memory() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("hakobune", flags | _MFD_EXEC)
    except OSError as err:
        if err.errno != errno.EINVAL:
            raise
    return os.memfd_create("hakobune", flags)
