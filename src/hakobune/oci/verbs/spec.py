"""`spec`: the config.json that a new bundle starts with, after the example of runtime-spec's config.md.

Imports: json, os.
"""

from __future__ import annotations

import json
import os

from hakobune.errors import AlreadyExists
from hakobune.record import Any

VERSION = "1.3.0"
_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_SAFE = ["nosuid", "noexec", "nodev"]
_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def _mounts() -> list[dict[str, Any]]:
    rows: tuple[tuple[str, str, str, list[str]], ...] = (
        ("/proc", "proc", "proc", []),
        ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        (
            "/dev/pts",
            "devpts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        ("/dev/shm", "tmpfs", "shm", [*_SAFE, "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", "mqueue", list(_SAFE)),
        ("/sys", "sysfs", "sysfs", [*_SAFE, "ro"]),
        ("/sys/fs/cgroup", "cgroup", "cgroup", [*_SAFE, "relatime", "ro"]),
    )
    return [
        {"destination": place, "type": kind, "source": source, **({"options": options} if options else {})}
        for place, kind, source, options in rows
    ]


def default() -> dict[str, Any]:
    """A fresh document: a shell in all namespaces but user and time, with three capabilities."""
    sets = ("bounding", "effective", "permitted")
    return {
        "ociVersion": VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(_CAPABILITIES) for name in sets},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "hakobune",
        "mounts": _mounts(),
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
        },
    }


def rootless(document: dict[str, Any]) -> dict[str, Any]:
    """The same for a user without privileges: root inside is the user, who owns neither network, limits nor gid 5."""
    linux = document["linux"]
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "network"] + [
        {"type": "user"}
    ]
    for field, number in (("uidMappings", os.geteuid()), ("gidMappings", os.getegid())):
        linux[field] = [{"containerID": 0, "hostID": number, "size": 1}]
    del linux["resources"]
    for mount in document["mounts"]:
        if "options" in mount:
            mount["options"] = [word for word in mount["options"] if not word.startswith(("gid=", "uid="))]
        if mount["type"] == "sysfs":  # of a network namespace that is not ours: the host's is shown
            mount |= {"type": "none", "source": "/sys", "options": ["rbind", *_SAFE, "ro"]}
    return document


def write(bundle: str, *, without_root: bool = False) -> None:
    """Write config.json into `bundle`. Raises AlreadyExists when there is one."""
    path = os.path.join(bundle, "config.json")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError as err:
        raise AlreadyExists(f"file {path} exists: remove it first") from err
    with open(fd, "w") as file:
        file.write(json.dumps(rootless(default()) if without_root else default(), indent="\t") + "\n")
