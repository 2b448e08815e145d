"""What a client asks for, checked field by field and completed from the image; nothing is made here.

Texts of refusals are Docker's where its clients show or parse them. Imports: schema, errors, capabilities.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from hakobune.engine.containers import nested
from hakobune.engine.schema.shape import checked, strings
from hakobune.errors import InvalidArgument
from hakobune.oci import capabilities

TIMEOUT = "io.hakobune.timeout"  # annotation: seconds that it may run, kept by its shim

CONFIG: dict[str, tuple[type, Any]] = {
    "Hostname": (str, ""),
    "Domainname": (str, ""),
    "User": (str, ""),
    "AttachStdin": (bool, False),
    "AttachStdout": (bool, False),
    "AttachStderr": (bool, False),
    "ExposedPorts": (dict, None),
    "Tty": (bool, False),
    "OpenStdin": (bool, False),
    "StdinOnce": (bool, False),
    "Image": (str, ""),
    "Volumes": (dict, None),
    "WorkingDir": (str, ""),
    "NetworkDisabled": (bool, False),
    "Labels": (dict, {}),
    "StopSignal": (str, ""),
    "StopTimeout": (int, None),
    "Healthcheck": (dict, None),
}

HOST: dict[str, tuple[type, Any]] = {
    "Binds": (list, None),
    "ContainerIDFile": (str, ""),
    "LogConfig": (dict, {}),
    "NetworkMode": (str, ""),
    "PortBindings": (dict, {}),
    "RestartPolicy": (dict, {}),
    "AutoRemove": (bool, False),
    "VolumeDriver": (str, ""),
    "VolumesFrom": (list, None),
    "ConsoleSize": (list, [0, 0]),
    "CapAdd": (list, None),
    "CapDrop": (list, None),
    "CgroupnsMode": (str, ""),
    "Dns": (list, []),
    "DnsOptions": (list, []),
    "DnsSearch": (list, []),
    "ExtraHosts": (list, None),
    "GroupAdd": (list, None),
    "IpcMode": (str, ""),
    "Cgroup": (str, ""),
    "Links": (list, None),
    "OomScoreAdj": (int, 0),
    "PidMode": (str, ""),
    "Privileged": (bool, False),
    "PublishAllPorts": (bool, False),
    "ReadonlyRootfs": (bool, False),
    "SecurityOpt": (list, None),
    "StorageOpt": (dict, None),
    "Tmpfs": (dict, None),
    "UTSMode": (str, ""),
    "UsernsMode": (str, ""),
    "ShmSize": (int, 0),
    "Sysctls": (dict, None),
    "Runtime": (str, ""),
    "Isolation": (str, ""),
    "CpuShares": (int, 0),
    "Memory": (int, 0),
    "NanoCpus": (int, 0),
    "CgroupParent": (str, ""),
    "BlkioWeight": (int, 0),
    "CpuPeriod": (int, 0),
    "CpuQuota": (int, 0),
    "CpusetCpus": (str, ""),
    "CpusetMems": (str, ""),
    "Devices": (list, []),
    "DeviceCgroupRules": (list, None),
    "MemoryReservation": (int, 0),
    "MemorySwap": (int, 0),
    "MemorySwappiness": (int, None),
    "OomKillDisable": (bool, False),
    "PidsLimit": (int, None),
    "Ulimits": (list, None),
    "Mounts": (list, []),
    "MaskedPaths": (list, None),
    "ReadonlyPaths": (list, None),
    "Init": (bool, None),
    "Annotations": (dict, None),
}

RESOURCES = (
    "CpuShares", "Memory", "NanoCpus", "BlkioWeight", "CpuPeriod", "CpuQuota", "CpusetCpus", "CpusetMems",
    "MemoryReservation", "MemorySwap", "MemorySwappiness", "OomKillDisable", "PidsLimit",
)  # fmt: skip

POLICIES = ("no", "always", "on-failure", "unless-stopped")
LOG_DRIVERS = ("json-file", "none")
_LEAST_MEMORY = 6 << 20
_SIZE = re.compile(r"([0-9]+)([bkmg]?)b?", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,9}")
_HOSTNAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PORT = re.compile(r"([0-9]{1,5})(?:/(tcp|udp|sctp))?")


def parse(body: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """(Config, HostConfig, endpoints by network) of a create request. Raises InvalidArgument."""
    if not isinstance(body, dict):
        raise InvalidArgument("invalid JSON: a container's configuration is needed as the request's body")
    config = checked(body, CONFIG, "Config")
    for name in ("Cmd", "Entrypoint", "Shell", "OnBuild"):
        value = body.get(name)
        config[name] = None if value is None else strings(value, f"Config.{name}")
    config["Env"] = strings(body.get("Env"), "Config.Env")
    nested.check_config(config)
    _check_config(config)
    host = checked(body.get("HostConfig"), HOST, "HostConfig")
    nested.check_host(host)
    _check_host(host)
    networking = checked(body.get("NetworkingConfig"), {"EndpointsConfig": (dict, {})}, "NetworkingConfig")
    endpoints = {name: value or {} for name, value in networking["EndpointsConfig"].items()}
    for name, endpoint in endpoints.items():
        nested.check_endpoint(name, endpoint)
    return config, host, endpoints


def _check_config(config: dict[str, Any]) -> None:
    for variable in config["Env"]:
        if not variable or variable.startswith("="):
            raise InvalidArgument(f"invalid environment variable: {variable}")
    if config["WorkingDir"]:
        check_directory(config["WorkingDir"])
    if config["Hostname"] and not _HOSTNAME.fullmatch(config["Hostname"]):
        raise InvalidArgument(f"invalid hostname format: {config['Hostname']}")
    for port in config["ExposedPorts"] or {}:
        parse_port(port)
    if config["StopSignal"]:
        signal_number(config["StopSignal"])


def check_directory(path: str) -> None:
    """Raise InvalidArgument unless a working directory is an absolute path."""
    if not path.startswith("/"):
        raise InvalidArgument(f"the working directory '{path}' is invalid, it needs to be an absolute path")


def parse_port(text: str) -> tuple[int, str]:
    """`80/tcp` -> (80, "tcp"). Raises InvalidArgument."""
    match = _PORT.fullmatch(text)
    if match is None or not 0 < int(match[1]) < 65536:
        raise InvalidArgument(f'invalid port specification: "{text}"')
    return int(match[1]), match[2] or "tcp"


def _check_host(host: dict[str, Any]) -> None:
    policy = host["RestartPolicy"]
    check_policy(policy)
    if host["AutoRemove"] and (policy.get("Name") or "no") != "no":
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")
    check_resources(host)
    for name, field in (("CapAdd", host["CapAdd"]), ("CapDrop", host["CapDrop"])):
        for capability in strings(field, f"HostConfig.{name}"):
            try:
                capabilities.normalize(capability)
            except InvalidArgument as err:
                raise InvalidArgument(f"invalid {name}: {err}") from err
    for port in host["PortBindings"]:
        parse_port(port)
    _check_log(host)
    if host["ShmSize"] < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    if not -1000 <= host["OomScoreAdj"] <= 1000:
        raise InvalidArgument(
            f"Invalid value {host['OomScoreAdj']}, range for oom score adj is [-1000, 1000]"
        )
    if re.fullmatch("[0-9]{1,9}", (host["Annotations"] or {}).get(TIMEOUT, "0")) is None:
        raise InvalidArgument(
            f"annotation {TIMEOUT}: {host['Annotations'][TIMEOUT]!r} is no number of seconds"
        )
    if host["Links"]:
        raise InvalidArgument("links are not supported: put the containers on a user-defined network instead")
    if host["Init"]:
        raise InvalidArgument("HostConfig.Init: no init binary is shipped yet: leave --init out")


def _check_log(host: dict[str, Any]) -> None:
    log = host["LogConfig"]
    driver = log.get("Type") or ""
    if driver and driver not in LOG_DRIVERS:
        raise InvalidArgument(f"logger: no log driver named '{driver}' is registered")
    options = log.get("Config") or {}
    for name, value in options.items():
        if name not in ("max-size", "max-file", "mode", "labels", "env", "tag", "compress"):
            raise InvalidArgument(f"unknown log opt '{name}' for {driver} log driver")
        if name == "max-size":
            size(value)
        if name == "max-file" and (re.fullmatch("0*[1-9][0-9]*", str(value)) is None):
            raise InvalidArgument("max-file cannot be less than 1")
    host["LogConfig"] = {"Type": driver, "Config": options}


def size(text: str) -> int:
    """`10m` -> bytes; 0 for -1, which means no limit. Raises InvalidArgument."""
    if str(text) == "-1":
        return 0
    match = _SIZE.fullmatch(str(text))
    if match is None:
        raise InvalidArgument(f"invalid size: '{text}'")
    return int(match[1]) << {"": 0, "b": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]


def check_policy(policy: Mapping[str, Any]) -> None:
    """Raise InvalidArgument for a restart policy that is none."""
    name, most = policy.get("Name") or "no", policy.get("MaximumRetryCount") or 0
    if name not in POLICIES:
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{name}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if not isinstance(most, int) or most < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    if most and name != "on-failure":
        raise InvalidArgument(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )


def check_resources(host: Mapping[str, Any]) -> None:
    """Raise InvalidArgument for limits that no kernel could keep."""
    memory, swap = host.get("Memory") or 0, host.get("MemorySwap") or 0
    if 0 < memory < _LEAST_MEMORY or memory < 0:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if swap > 0 and not memory:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if memory and 0 < swap < memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    reservation = host.get("MemoryReservation") or 0
    if reservation and memory and memory < reservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    swappiness = host.get("MemorySwappiness")
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise InvalidArgument(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    _check_cpu(host)


def _check_cpu(host: Mapping[str, Any]) -> None:
    cpus, nano = os.cpu_count() or 1, host.get("NanoCpus") or 0
    if nano and (host.get("CpuPeriod") or host.get("CpuQuota")):
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set.")
    if nano < 0 or nano > cpus * 1_000_000_000:
        raise InvalidArgument(
            f"range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )
    period, quota = host.get("CpuPeriod") or 0, host.get("CpuQuota") or 0
    if period and not 1000 <= period <= 1_000_000:
        raise InvalidArgument(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    weight = host.get("BlkioWeight") or 0
    if weight and not 10 <= weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")


SIGNALS = {
    name: number
    for number, name in enumerate(
        "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN "
        "TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS".split(),
        1,
    )
} | {"CLD": 17, "IOT": 6, "POLL": 29}


def signal_number(text: str) -> int:
    """`SIGTERM`, `term`, `15`, `RTMIN+3` -> its number. Raises InvalidArgument."""
    if _NUMBER.fullmatch(text):
        number = int(text)
        if 0 < number <= 64:
            return number
        raise InvalidArgument(f"Invalid signal: {text}")
    name = text.upper().removeprefix("SIG")
    if name in SIGNALS:
        return SIGNALS[name]
    base, sign, offset = name.partition("+") if "+" in name else name.partition("-")
    if base in ("RTMIN", "RTMAX") and (not sign or _NUMBER.fullmatch(offset)):
        number = (34 if base == "RTMIN" else 64) + (int(sign + offset) if sign else 0)
        if 34 <= number <= 64:
            return number
    raise InvalidArgument(f"Invalid signal: {text}")


def merge_image(config: dict[str, Any], image: Mapping[str, Any]) -> None:
    """Complete a container's Config from its image's, as the Docker API says. Raises InvalidArgument."""
    if config["Entrypoint"] is None:
        if config["Cmd"] is None:
            config["Cmd"] = image.get("Cmd")
        config["Entrypoint"] = image.get("Entrypoint")
    elif config["Entrypoint"] == [""]:
        config["Entrypoint"] = None
    names = {variable.partition("=")[0] for variable in config["Env"]}
    inherited = [v for v in image.get("Env") or [] if v.partition("=")[0] not in names]
    config["Env"] = config["Env"] + inherited
    for name in ("User", "WorkingDir", "StopSignal"):
        config[name] = config[name] or image.get(name) or ""
    for name in ("ExposedPorts", "Volumes"):
        if image.get(name) or config[name]:
            config[name] = {**(image.get(name) or {}), **(config[name] or {})}
    config["Labels"] = {**(image.get("Labels") or {}), **config["Labels"]}
    if config["Healthcheck"] is None and image.get("Healthcheck"):
        config["Healthcheck"] = image["Healthcheck"]
    if not command(config):
        raise InvalidArgument("no command specified")


def command(config: Mapping[str, Any]) -> list[str]:
    """What is executed: entrypoint and command."""
    return list(config.get("Entrypoint") or []) + list(config.get("Cmd") or [])
