"""The starter image's layer: a small root file system made of the programs of this very host.

So that the first `run` needs no network and no registry: a shell, the usual small tools, the libraries
they load (`elf.py`), and a handful of files in /etc. Works on glibc and on musl hosts, with or without
merged /usr, since links of directories are taken over as they are. The stream is deterministic: same
host, same bytes. Nothing of the host's configuration, users or secrets goes in; setuid bits are dropped.
"""

from __future__ import annotations

import io
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

from hakobune.errors import InvalidArgument, NotFound
from hakobune.layers.elf import Libraries, Root, default_directories, is_elf

SHELLS = ("sh", "dash", "bash", "ash", "busybox")
PROGRAMS = tuple(
    """
    [ arch awk b2sum base32 base64 basename bash busybox cat chgrp chmod chown chroot cksum clear
    cmp comm cp cut dash date dd df diff dir dirname dmesg du echo egrep env expand expr factor
    fallocate false fgrep find flock fmt fold free getent getopt grep groups gunzip gzip head
    hexdump hostid hostname httpd id ifconfig install ip join kill killall less link ln locale
    logger logname ls lsof md5sum mkdir mkfifo mknod mktemp more mount mountpoint mv nc netstat nice
    nl nohup nproc nslookup nsenter numfmt od paste pathchk pgrep pidof ping ping6 pkill printenv
    printf prlimit ps pwd readlink realpath renice rev rm rmdir route run-parts sed seq setpriv
    setsid sh sha1sum sha224sum sha256sum sha384sum sha512sum shred shuf sleep sort split ss stat
    stty sum sync sysctl tac tail tar taskset tee telnet test timeout top touch tr traceroute true
    truncate tsort tty umount uname unexpand uniq unlink unshare uptime users usleep vdir vi vmstat
    watch wc wget which who whoami xargs xxd yes
    """.split()
)
# only out of busybox: elsewhere they bring megabytes of libraries along
_LIGHT = frozenset("ifconfig less lsof more netstat nslookup route telnet traceroute vi wget xxd".split())
_PATH = ("/usr/bin", "/bin", "/usr/sbin", "/sbin")
_MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# loaded by name at run time, so no header tells of them; glibc >= 2.34 needs only the second
_PLUGINS = ("libnss_files.so.2", "libnss_dns.so.2")
_MTIME = 1704067200  # 2024-01-01, for every member
_BUSYBOX = "busybox"

_TEXTS = {
    "/etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
        "bin:x:2:2:bin:/bin:/bin/false\n"
        "www-data:x:33:33:www-data:/var/www:/bin/false\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
    ),
    "/etc/group": (
        "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\nmail:x:8:\nwheel:x:10:\n"
        "kmem:x:15:\naudio:x:29:\nwww-data:x:33:\nvideo:x:44:\nusers:x:100:\nnogroup:x:65534:\n"
    ),
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\n",
    "/etc/os-release": 'NAME="Hakobune starter"\nID=hakobune-starter\nPRETTY_NAME="Hakobune starter"\n',
    "/etc/profile": "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
}
_DIRECTORIES = {
    "/": 0o755, "/dev": 0o755, "/etc": 0o755, "/home": 0o755, "/mnt": 0o755, "/opt": 0o755, "/proc": 0o755,
    "/root": 0o700, "/run": 0o755, "/srv": 0o755, "/sys": 0o755, "/tmp": 0o1777, "/usr": 0o755,
    "/usr/bin": 0o755, "/usr/sbin": 0o755, "/usr/lib": 0o755, "/usr/local": 0o755, "/usr/local/bin": 0o755,
    "/var": 0o755, "/var/cache": 0o755, "/var/lib": 0o755, "/var/log": 0o755, "/var/spool": 0o755,
    "/var/tmp": 0o1777, "/var/www": 0o755,
}  # fmt: skip
_LINKS = {"/var/run": "/run", "/etc/mtab": "/proc/mounts"}


@dataclass(slots=True)
class Plan:
    """What goes in, by absolute path: a host file, a text, a link or a directory's mode.

    `programs` are the names that can be run, `skipped` those of this host that cannot go in, with why.
    """

    files: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    directories: dict[str, int] = field(default_factory=dict)
    programs: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


class _Planner:
    """Gathers a `Plan` from one host root."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._libraries = Libraries(root)
        self.plan = Plan()

    def skeleton(self) -> None:
        """Directories, merged-/usr links and files of /etc."""
        for path in _MERGED:
            if os.path.islink(self._root.outside(path)) and self._root.exists(path):
                self._directory(path)
            elif path in ("/bin", "/sbin", "/lib"):
                self.plan.directories[path] = 0o755
        self.plan.directories |= _DIRECTORIES
        self.plan.texts |= _TEXTS
        self.plan.links |= _LINKS

    def program(self, name: str) -> None:
        """One program with all it loads; a name that this host has not is left out silently."""
        for directory in _PATH:
            path = f"{directory}/{name}"
            if self._root.exists(path):
                break
        else:
            return
        if why := self._unfit(path):
            self.plan.skipped[name] = why
            return
        self._file(path, posixpath.basename(path))
        for wanted, found in sorted(self._libraries.closure(path).items()):
            self._library(wanted, found, path)
        self.plan.programs.append(name)

    def _unfit(self, path: str) -> str:
        """Why a program cannot go in, or nothing."""
        real = self._root.outside(self._root.follow(path)[0])
        if not stat.S_ISREG(os.stat(real).st_mode) or not os.access(real, os.X_OK):
            return "not an executable file"
        with open(real, "rb") as file:
            start = file.read(4)
        if not is_elf(start):
            return "a script"
        try:
            missing = self._libraries.missing(path)
        except InvalidArgument as err:
            return str(err)
        return f"needs {', '.join(missing)}" if missing else ""

    def _library(self, wanted: str, found: str, program: str) -> None:
        """At the place where the container's loader, which has no cache, will look for it.

        Found by RPATH or in a default directory: where it is. Found through ld.so.conf: beside libc.
        """
        self._file(found, posixpath.basename(found))
        directory = posixpath.dirname(found)
        if "/" in wanted or directory not in self._libraries.configured:
            return
        defaults = default_directories(self._libraries.object(program).abi)
        real_defaults = {self._real(path) for path in defaults if self._root.exists(path)}
        if self._real(directory) not in real_defaults:
            home = next(path for path in defaults if self._root.exists(path))
            self._link(f"{self._directory(home)}/{wanted}", self._root.follow(found)[0])

    def _real(self, path: str) -> str:
        return self._root.follow(path)[0]

    def plugins(self) -> None:
        """Name-service modules beside the C library."""
        libc = ("/libc.so", "/libc-")
        homes = {posixpath.dirname(path) for path in self.plan.files if any(name in path for name in libc)}
        for home in sorted(homes):
            for name in _PLUGINS:
                path = f"{home}/{name}"
                if not self._root.exists(path) or self._libraries.missing(path):
                    continue
                self._file(path, name)
                for wanted, found in sorted(self._libraries.closure(path).items()):
                    self._library(wanted, found, path)

    def applets(self, names: Iterable[str]) -> None:
        """Names that are not there as programs of their own, where busybox knows them."""
        home = next((path for path in self.plan.files if posixpath.basename(path) == _BUSYBOX), "")
        if not home:
            return
        with open(self.plan.files[home], "rb") as file:
            content = file.read()
        for name in names:
            # busybox holds the names of its applets as one table of texts
            known = b"\0" + name.encode() + b"\0" in content
            if name in self.plan.programs or not known:
                continue
            place = f"{self._directory('/usr/bin')}/{name}"
            if place not in self.plan.files and place not in self.plan.links:
                self._link(place, home)
                self.plan.programs.append(name)
                self.plan.skipped.pop(name, None)

    def shell(self) -> None:
        """/bin/sh, whatever this host's shell is called. Raises NotFound without any."""
        if "sh" in self.plan.programs:
            return
        for name in SHELLS:
            if name in self.plan.programs:
                target = next(path for path in (*self.plan.files, *self.plan.links)
                              if posixpath.basename(path) == name)  # fmt: skip
                self._link(f"{self._directory('/bin')}/sh", target)
                self.plan.programs.append("sh")
                return
        raise NotFound("no shell on this host that could go into the starter image")

    def _directory(self, path: str) -> str:
        """The real place of a directory; it, its parents and the links on the way go in."""
        real, links = self._root.follow(path) if self._root.exists(path) else (path, {})
        for place, text in links.items():
            self.plan.links[place] = text
            self.plan.directories.pop(place, None)
            self._parents(posixpath.dirname(place))
        self._parents(real)
        return real

    def _parents(self, path: str) -> None:
        while path not in self.plan.directories:
            self.plan.directories[path] = 0o755
            path = posixpath.dirname(path)

    def _file(self, path: str, name: str) -> None:
        """A file of the host, behind one link at most."""
        directory = self._directory(posixpath.dirname(path))
        place, real = f"{directory.rstrip('/')}/{name}", self._real(path)
        if place != real:
            self._link(place, real)
        self._directory(posixpath.dirname(real))
        self.plan.files[real] = self._root.outside(real)

    def _link(self, place: str, target: str) -> None:
        if place != target:
            self.plan.links[place] = posixpath.relpath(target, posixpath.dirname(place))


def plan(root: str = "/", *, programs: Iterable[str] = PROGRAMS) -> Plan:
    """What would go in. Raises NotFound (no shell), OSError."""
    planner = _Planner(Root(root))
    names = sorted(set(programs) | {"sh", _BUSYBOX})
    planner.skeleton()
    for name in names:
        if name not in _LIGHT:
            planner.program(name)
    planner.applets(names)
    planner.shell()
    planner.plugins()
    return planner.plan


def _member(path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path.lstrip("/") or ".")
    info.type, info.mode, info.mtime = kind, mode, _MTIME
    return info


def members(found: Plan) -> Iterator[tuple[tarfile.TarInfo, bytes | str]]:
    """(header, content as bytes or the host file that has it), directories before what is in them."""
    for path, mode in sorted(found.directories.items()):
        yield _member(path, tarfile.DIRTYPE, mode), b""
    for path, target in sorted(found.links.items()):
        info = _member(path, tarfile.SYMTYPE, 0o777)
        info.linkname = target
        yield info, b""
    for path, text in sorted(found.texts.items()):
        info = _member(path, tarfile.REGTYPE, 0o644)
        info.size = len(text.encode())
        yield info, text.encode()
    for path, source in sorted(found.files.items()):
        status = os.stat(source)
        info = _member(path, tarfile.REGTYPE, 0o755 if status.st_mode & 0o111 else 0o644)
        info.size = status.st_size
        yield info, source


def write_tar(file: IO[bytes], *, root: str = "/", programs: Iterable[str] = PROGRAMS) -> Plan:
    """Write the layer as an uncompressed tar stream; returns what went in.

    `file` needs only `write`. Raises NotFound (no shell on this host), OSError. Takes about 0.1 s: not for
    an event loop.
    """
    found = plan(root, programs=programs)
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members(found):
            if isinstance(content, bytes):
                archive.addfile(info, io.BytesIO(content))
            else:
                with open(content, "rb") as source:
                    archive.addfile(info, source)
    return found
