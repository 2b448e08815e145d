"""Which file is executed: the look-up in the container's PATH, and exec(2) itself.

Runs after the root has changed, as the container's user. The texts are those which clients of
Docker match on to choose between the exit codes 126 and 127. Imports: os, stat, errno.
"""

from __future__ import annotations

import errno
import os
import stat

from hakobune.errors import InvalidArgument

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find(name: str, env: dict[str, str]) -> str:
    """The path to execute for args[0]. Raises InvalidArgument in the words of exec.LookPath."""
    if "/" in name:
        problem = _problem(name)
        if problem is not None:
            raise InvalidArgument(f'exec: "{name}": {problem}')
        return name
    denied = False
    for directory in env.get("PATH", DEFAULT_PATH).split(":"):
        path = f"{directory or '.'}/{name}"
        problem = _problem(path)
        if problem is None:
            return path
        denied = denied or "permission denied" in problem
    if denied:
        raise InvalidArgument(f'exec: "{name}": permission denied')
    raise InvalidArgument(f'exec: "{name}": executable file not found in $PATH')


def _problem(path: str) -> str | None:
    try:
        info = os.stat(path)
    except OSError as err:
        return f"stat {path}: {_words(err)}"
    if stat.S_ISDIR(info.st_mode):
        return "is a directory"
    # A filter that is older than faccessat2(2) refuses it: then the bits decide, and in the end execve(2).
    if not os.access(path, os.X_OK, effective_ids=True) and not _executable(info):
        return "permission denied"
    return None


def _executable(info: os.stat_result) -> bool:
    """By the permission bits alone (man 7 path_resolution); root needs any of them."""
    uid = os.geteuid()
    if uid == 0:
        return bool(info.st_mode & 0o111)
    if uid == info.st_uid:
        return bool(info.st_mode & 0o100)
    if info.st_gid in (os.getegid(), *os.getgroups()):
        return bool(info.st_mode & 0o010)
    return bool(info.st_mode & 0o001)


def _words(err: OSError) -> str:
    return (err.strerror or errno.errorcode.get(err.errno or 0, "unknown error")).lower()


def environment(entries: tuple[str, ...], home: str) -> dict[str, str]:
    """The environment as a mapping: later entries win, HOME is added where it is missing or empty."""
    env: dict[str, str] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if key and equals:
            env[key] = value
    if not env.get("HOME"):
        env["HOME"] = home
    return env


def home_of(passwd: bytes, uid: int) -> str:
    """The home directory of `uid` in the text of a passwd file; "/" when it has none."""
    wanted = b"%d" % uid
    for line in passwd.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == wanted:
            home = fields[5].decode("utf-8", "surrogateescape")
            return home if home.startswith("/") else "/"
    return "/root" if uid == 0 else "/"


def spawn(path: str, args: tuple[str, ...], env: dict[str, str]) -> int:
    """posix_spawn(3) in a session of its own; the pid, once exec(2) has succeeded. Raises InvalidArgument."""
    try:
        return os.posix_spawn(path, args, env, setsid=True)
    except OSError as err:
        raise InvalidArgument(f"exec {path}: {_words(err)}") from err


def execute(path: str, args: tuple[str, ...], env: dict[str, str]) -> None:
    """execve(2); comes back only by raising InvalidArgument."""
    try:
        os.execve(path, args, env)
    except OSError as err:
        raise InvalidArgument(f"exec {path}: {_words(err)}") from err
