"""From a container to its OCI runtime spec: a pure function of what is known when it starts.

Defaults are Docker's: namespaces, mounts, masked and read-only paths, devices, capabilities, seccomp.
Sources: runtime-spec config.md and config-linux.md. Imports: oci (profiles and capability tables), model.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hakobune.engine.containers.model import Container, MountPoint
from hakobune.engine.containers.request import command
from hakobune.errors import InvalidArgument
from hakobune.oci import capabilities, seccomp, seccomp_default

SIDE_ANNOTATION = "io.hakobune.side"
NEW = "new"  # as a network namespace: one that the runtime makes
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHM_SIZE = 64 << 20

MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the process is, in numbers."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the engine prepared for a start."""

    identity: Identity
    netns: str  # path, NEW, or empty for the host's
    files: Mapping[str, str]  # path in the container -> file of the host
    side: str  # where the shim listens
    joined: Mapping[str, str]  # namespace type -> path of another container's, or "host"
    cgroup_root: str = "/hakobune"
    program: bool = False  # the runtime is another than the one built into our shim


def _mount(target: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def build(container: Container, around: Surroundings) -> dict[str, Any]:
    """The whole document. Raises InvalidArgument for security options that say nothing."""
    config, host = container.config, container.host
    privileged = bool(host["Privileged"])
    caps = capabilities.tweak(host["CapAdd"] or (), host["CapDrop"] or (), privileged=privileged)
    security = security_options(host["SecurityOpt"] or ())
    linux: dict[str, Any] = {
        "namespaces": _namespaces(host, around),
        "cgroupsPath": f"{host['CgroupParent'] or around.cgroup_root}/{container.id}",
        "resources": resources(host) | {"devices": _device_rules(host)},
        "devices": _devices(host),
    }
    if not privileged:
        linux["maskedPaths"] = list(MASKED if host["MaskedPaths"] is None else host["MaskedPaths"])
        linux["readonlyPaths"] = list(READONLY if host["ReadonlyPaths"] is None else host["ReadonlyPaths"])
        if (profile := _seccomp(security, caps, program=around.program)) is not None:
            linux["seccomp"] = profile
    sysctls = dict(host["Sysctls"] or {})
    if around.netns and not host["UsernsMode"]:
        sysctls.setdefault("net.ipv4.ip_unprivileged_port_start", "0")
        sysctls.setdefault("net.ipv4.ping_group_range", "0 2147483647")
    if sysctls:
        linux["sysctl"] = sysctls
    document: dict[str, Any] = {
        "ociVersion": "1.2.0",
        "process": _process(container, around, caps, security),
        "root": {"path": "rootfs", "readonly": bool(host["ReadonlyRootfs"])},
        "mounts": _mounts(container, around, privileged=privileged),
        "annotations": {**(host["Annotations"] or {}), SIDE_ANNOTATION: around.side},
        "linux": linux,
    }
    if around.joined.get("uts") != "host":
        document["hostname"] = config["Hostname"]
        if config["Domainname"]:
            document["domainname"] = config["Domainname"]
    return document


# --- process ---


def _process(
    container: Container, around: Surroundings, caps: Sequence[str], security: Mapping[str, str]
) -> dict[str, Any]:
    config, host = container.config, container.host
    rows, columns = (*host["ConsoleSize"], 0, 0)[:2]
    process = process_document(
        args=command(config),
        env=environment(config["Env"], config["Hostname"], tty=container.tty),
        cwd=config["WorkingDir"] or "/",
        tty=container.tty,
        identity=around.identity,
        caps=caps,
        size=(int(rows), int(columns)),
    )
    process["oomScoreAdj"] = host["OomScoreAdj"]
    if "no-new-privileges" in security:
        process["noNewPrivileges"] = security["no-new-privileges"] != "false"
    limits = [_ulimit(limit) for limit in host["Ulimits"] or ()]
    if limits:
        process["rlimits"] = limits
    return process


def process_document(
    *,
    args: Sequence[str],
    env: Sequence[str],
    cwd: str,
    tty: bool,
    identity: Identity,
    caps: Sequence[str],
    size: tuple[int, int] = (0, 0),
) -> dict[str, Any]:
    """An OCI Process. `size` is (rows, columns) of the terminal, zero where it is not known."""
    effective = list(caps) if identity.uid == 0 else []
    document: dict[str, Any] = {
        "terminal": tty,
        "args": list(args),
        "env": list(env),
        "cwd": cwd,
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": _all_groups(identity)},
        "capabilities": {"bounding": list(caps), "effective": effective, "permitted": effective},
    }
    if tty and size[0] and size[1]:
        document["consoleSize"] = {"height": size[0], "width": size[1]}
    return document


def _all_groups(identity: Identity) -> list[int]:
    """With the first one: a group that denies its members something denies it to them for good (CVE-2022-36109)."""
    return list(dict.fromkeys((identity.gid, *identity.groups)))


def environment(variables: Sequence[str], hostname: str, *, tty: bool) -> list[str]:
    """PATH and HOSTNAME (and TERM with a terminal) before what was asked for, which wins.

    A name without a value takes the variable away.
    """
    given = {variable.partition("=")[0] for variable in variables}
    defaults = [DEFAULT_PATH, f"HOSTNAME={hostname}", *(["TERM=xterm"] if tty else [])]
    kept = [variable for variable in variables if "=" in variable]
    return [variable for variable in defaults if variable.partition("=")[0] not in given] + kept


def _ulimit(limit: Mapping[str, Any]) -> dict[str, Any]:
    name = str(limit.get("Name", "")).upper()
    return {"type": f"RLIMIT_{name}", "soft": int(limit.get("Soft", -1)), "hard": int(limit.get("Hard", -1))}


# --- security ---


def security_options(options: Sequence[str]) -> dict[str, str]:
    """`seccomp=unconfined`, `no-new-privileges` … -> by name. Raises InvalidArgument."""
    found: dict[str, str] = {}
    for option in options:
        if option in ("no-new-privileges", "disable"):
            found[option] = "true"
            continue
        separator = "=" if "=" in option else ":"
        name, given, value = option.partition(separator)
        if not given or name not in ("seccomp", "apparmor", "label", "no-new-privileges", "systempaths"):
            raise InvalidArgument(f"invalid --security-opt 2: {json.dumps(option)}")
        found[name] = value
    return found


def _seccomp(security: Mapping[str, str], caps: Sequence[str], *, program: bool) -> dict[str, Any] | None:
    chosen = security.get("seccomp", "")
    if chosen == "unconfined":
        return None
    if chosen in ("", "builtin"):
        profile = seccomp_default.profile(caps)
        return seccomp_default.for_libseccomp(profile) if program else profile
    try:
        document = json.loads(chosen)
    except (ValueError, RecursionError) as err:
        raise InvalidArgument(f"decoding seccomp profile failed: {err}") from err
    if not isinstance(document, dict):
        raise InvalidArgument("decoding seccomp profile failed: an object is needed")
    return seccomp.resolve(document, caps=caps) if seccomp.is_docker_format(document) else document


def _namespaces(host: Mapping[str, Any], around: Surroundings) -> list[dict[str, str]]:
    found = [{"type": "mount"}]
    for kind in ("pid", "ipc", "uts", "cgroup"):
        path = around.joined.get(kind, "")
        if path != "host":
            found.append({"type": kind} | ({"path": path} if path else {}))
    if around.netns:
        found.append({"type": "network"} | ({} if around.netns == NEW else {"path": around.netns}))
    return found


# --- devices and limits ---

_CHARACTER_DEVICES = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None))


def _device_rules(host: Mapping[str, Any]) -> list[dict[str, Any]]:
    if host["Privileged"]:
        return [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    rules += [{"allow": True, "type": kind, "access": "m"} for kind in ("c", "b")]
    for major, minor in _CHARACTER_DEVICES:
        rule = {"allow": True, "type": "c", "major": major, "access": "rwm"}
        rules.append(rule if minor is None else rule | {"minor": minor})
    for device in _devices(host):
        rules.append(
            {"allow": True, "type": device["type"], "major": device["major"], "minor": device["minor"],
             "access": device["access"]}
        )  # fmt: skip
    return rules + [_rule(text) for text in host["DeviceCgroupRules"] or ()]


def _rule(text: str) -> dict[str, Any]:
    """`c 42:* rmw`"""
    try:
        kind, numbers, access = text.split()
        major, minor = numbers.split(":")
        if kind not in ("a", "b", "c") or not access or set(access) - set("rwm") or "-" in numbers:
            raise ValueError(text)
        rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
        rule |= {} if major == "*" else {"major": int(major)}
        return rule | ({} if minor == "*" else {"minor": int(minor)})
    except ValueError as err:
        raise InvalidArgument(f"invalid device cgroup rule format: '{text}'") from err


def _devices(host: Mapping[str, Any]) -> list[dict[str, Any]]:
    if host["Privileged"]:
        return _all_devices()
    found = []
    for device in host["Devices"]:
        source = str(device.get("PathOnHost", ""))
        entry = _node(source)
        if entry is None:
            raise InvalidArgument(
                f'error gathering device information while adding custom device "{source}": not a device node'
            )
        entry["path"] = device.get("PathInContainer") or source
        entry["access"] = device.get("CgroupPermissions") or "rwm"
        found.append(entry)
    return found


def _node(path: str) -> dict[str, Any] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
    if not kind:
        return None
    return {
        "path": path, "type": kind, "major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode), "uid": status.st_uid, "gid": status.st_gid, "access": "rwm",
    }  # fmt: skip


_NOT_GIVEN = frozenset({"pts", "shm", "fd", "mqueue", "console", "ptmx"})


def _all_devices(top: str = "/dev") -> list[dict[str, Any]]:
    """Every device node of the host: what --privileged shows."""
    found: list[dict[str, Any]] = []
    for entry in os.scandir(top):
        if top == "/dev" and entry.name in _NOT_GIVEN:
            continue
        if entry.is_dir(follow_symlinks=False):
            found += _all_devices(entry.path)
        elif not entry.is_symlink() and (node := _node(entry.path)) is not None:
            found.append(node)
    return found


def resources(host: Mapping[str, Any]) -> dict[str, Any]:
    """HostConfig's limits -> linux.resources; only what was asked for."""
    found: dict[str, Any] = {}
    memory: dict[str, Any] = {}
    if limit := host.get("Memory"):
        memory = {"limit": limit, "swap": host.get("MemorySwap") or limit * 2}
    if reservation := host.get("MemoryReservation"):
        memory["reservation"] = reservation
    if (swappiness := host.get("MemorySwappiness")) is not None and swappiness >= 0:
        memory["swappiness"] = swappiness
    if host.get("OomKillDisable"):
        memory["disableOOMKiller"] = True
    if memory:
        found["memory"] = memory
    if cpu := _cpu(host):
        found["cpu"] = cpu
    limit = host.get("PidsLimit")
    if limit:
        found["pids"] = {"limit": limit if limit > 0 else -1}
    if weight := host.get("BlkioWeight"):
        found["blockIO"] = {"weight": weight}
    return found


def _cpu(host: Mapping[str, Any]) -> dict[str, Any]:
    cpu: dict[str, Any] = {}
    if nano := host.get("NanoCpus"):
        cpu = {"period": 100_000, "quota": nano // 10_000}
    for key, name in (("CpuShares", "shares"), ("CpuPeriod", "period"), ("CpuQuota", "quota"),
                      ("CpusetCpus", "cpus"), ("CpusetMems", "mems")):  # fmt: skip
        if value := host.get(key):
            cpu[name] = value
    return cpu


# --- mounts ---


def _mounts(container: Container, around: Surroundings, *, privileged: bool) -> list[dict[str, Any]]:
    host = container.host
    own = {mount.target for mount in container.mounts} | set(host["Tmpfs"] or {})
    system = "rw" if privileged else "ro"
    found = [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", system),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", system),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _shm(host, around),
    ]  # fmt: skip
    found = [mount for mount in found if mount["destination"] not in own]
    wanted = [_point(mount) for mount in container.mounts]
    wanted += [
        _mount(target, "tmpfs", "tmpfs", "nosuid", "nodev", "noexec", *filter(None, str(options).split(",")))
        for target, options in (host["Tmpfs"] or {}).items()
    ]
    wanted += [
        _mount(target, "bind", source, "rbind", "rprivate")
        for target, source in around.files.items()
        if target not in own
    ]
    return found + sorted(wanted, key=lambda mount: str(mount["destination"]).rstrip("/").count("/"))


def _shm(host: Mapping[str, Any], around: Surroundings) -> dict[str, Any]:
    shared = around.joined.get("ipc", "")
    if shared == "host":
        return _mount("/dev/shm", "bind", "/dev/shm", "rbind")
    if shared.startswith("/proc/"):  # another container's: its /dev/shm goes with its queues
        return _mount("/dev/shm", "bind", f"{shared.removesuffix('/ns/ipc')}/root/dev/shm", "rbind")
    size = host["ShmSize"] or SHM_SIZE
    return _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", f"size={size}")


def _point(mount: MountPoint) -> dict[str, Any]:
    if mount.type == "tmpfs":
        return _mount(mount.target, "tmpfs", "tmpfs", "nosuid", "nodev", "noexec", *mount.options)
    access = "ro" if mount.read_only else "rw"
    return _mount(
        mount.target, "bind", mount.source, "rbind", access, mount.propagation or "rprivate", *mount.options
    )
