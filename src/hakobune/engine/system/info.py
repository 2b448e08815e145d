"""GET /info and /version: facts of this host and this engine, in Docker's shape."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from functools import cache
from typing import Any

from hakobune.cgroups import layout
from hakobune.engine.config import Config
from hakobune.engine.http.router import MAX_VERSION, MIN_VERSION, version_text
from hakobune.engine.runtimes import Runtimes
from hakobune.logs.json_file import rfc3339
from hakobune.net.model import DEFAULT_POOLS
from hakobune.version import VERSION


@cache
def _os_release() -> Mapping[str, str]:
    try:
        with open("/etc/os-release") as file:
            pairs = (line.strip().partition("=") for line in file if "=" in line)
            return {name: value.strip('"') for name, _found, value in pairs}
    except OSError:
        return {}


def _registries(config: Config) -> dict[str, Any]:
    """What the settings say of registries, in dockerd's shape."""
    networks = ["::1/128", *(rule for rule in config.insecure if "/" in rule), "127.0.0.0/8"]
    hub = {"Name": "docker.io", "Mirrors": list(config.mirrors), "Secure": True, "Official": True}
    others = {
        rule: {"Name": rule, "Mirrors": [], "Secure": False, "Official": False}
        for rule in config.insecure
        if "/" not in rule
    }
    return {
        "InsecureRegistryCIDRs": networks,
        "IndexConfigs": {"docker.io": hub, **others},
        "Mirrors": list(config.mirrors),
    }


@cache
def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def architecture() -> str:
    """This machine's, in Go's words."""
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def version(manager: str) -> dict[str, Any]:
    """`manager` is the version of the containerd below."""
    kernel = os.uname().release
    details = {
        "ApiVersion": version_text(MAX_VERSION),
        "Arch": architecture(),
        "BuildTime": "",
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": f"Python {platform.python_version()}",
        "KernelVersion": kernel,
        "MinAPIVersion": version_text(MIN_VERSION),
        "Os": "linux",
    }
    return {
        "Platform": {"Name": "Hakobune"},
        "Components": [
            {"Name": "Engine", "Version": VERSION, "Details": details},
            {"Name": "containerd", "Version": manager, "Details": {"GitCommit": ""}},
            {"Name": "hako-runtime", "Version": VERSION, "Details": {"GitCommit": ""}},
        ],
        "Version": VERSION,
        "ApiVersion": version_text(MAX_VERSION),
        "MinAPIVersion": version_text(MIN_VERSION),
        "GitCommit": "",
        "GoVersion": f"Python {platform.python_version()}",
        "Os": "linux",
        "Arch": architecture(),
        "KernelVersion": kernel,
    }


def _forwards() -> bool:
    try:
        with open("/proc/sys/net/ipv4/ip_forward") as file:
            return file.read().strip() == "1"
    except OSError:
        return False


def info(
    config: Config, identity: str, counts: Mapping[str, int], now: int, runtimes: Runtimes, manager: str = ""
) -> dict[str, Any]:
    """`counts` has Containers, ContainersRunning, … Images; `now` in nanoseconds since the epoch.

    `manager` is the version of the containerd below.
    """
    found = layout.detect()
    unified = not found.v1
    release = _os_release()
    return {
        "ID": identity,
        **counts,
        "Driver": "overlayfs",
        "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": None,
            "Log": ["json-file", "none"],
        },
        "MemoryLimit": True,
        "SwapLimit": os.path.exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes") or unified,
        "CpuCfsPeriod": True,
        "CpuCfsQuota": True,
        "CPUShares": True,
        "CPUSet": True,
        "PidsLimit": True,
        "IPv4Forwarding": _forwards(),
        "OomKillDisable": not unified,
        "Debug": config.debug,
        "NFd": len(os.listdir("/proc/self/fd")),
        "NGoroutines": 1,
        "NEventsListener": 0,
        "SystemTime": rfc3339(now),
        "LoggingDriver": config.log_driver,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2" if unified else "1",
        "KernelVersion": os.uname().release,
        "OperatingSystem": release.get("PRETTY_NAME", "Linux"),
        "OSVersion": release.get("VERSION_ID", ""),
        "OSType": "linux",
        "Architecture": os.uname().machine,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": _registries(config),
        "NCPU": os.cpu_count() or 1,
        "MemTotal": _memory(),
        "GenericResources": None,
        "DockerRootDir": config.data_root,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": socket.gethostname(),
        "Labels": list(config.labels),
        "ExperimentalBuild": False,
        "ServerVersion": VERSION,
        "Runtimes": runtimes.shown(),
        "DefaultRuntime": runtimes.default,
        "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False, "Error": "",
                  "RemoteManagers": None},
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": "",
        "ContainerdCommit": {"ID": manager},
        "RuncCommit": {"ID": VERSION},
        "InitCommit": {"ID": ""},
        "SecurityOptions": ["name=seccomp,profile=builtin"] + (["name=cgroupns"] if unified else []),
        "DefaultAddressPools": [{"Base": base, "Size": size} for base, size in config.pools or DEFAULT_POOLS],
        "FirewallBackend": {"Driver": "nftables"},
        "CDISpecDirs": [],
        "Containerd": {
            "Address": config.containerd_address,
            "Namespaces": {"Containers": "moby", "Plugins": "plugins.moby"},
        },
        "Warnings": [],
    }  # fmt: skip
