"""The inside of Config's and HostConfig's lists and objects: every value of the type that later code relies on.

`request` checks the outer fields; a value that only breaks at the start, or in a listing of all containers, is
refused here. Imports: schema, errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hakobune.engine.schema.shape import Table, checked, strings
from hakobune.errors import InvalidArgument

_STRINGS = (
    "Binds", "VolumesFrom", "CapAdd", "CapDrop", "Dns", "DnsOptions", "DnsSearch", "ExtraHosts", "GroupAdd", "Links",
    "SecurityOpt", "DeviceCgroupRules", "MaskedPaths", "ReadonlyPaths",
)  # fmt: skip
_TEXTS = ("StorageOpt", "Tmpfs", "Sysctls", "Annotations")
_LINES = ("User", "Domainname", "WorkingDir", "Image")
_LIMITS = (
    "CpuShares",
    "Memory",
    "MemoryReservation",
    "MemorySwap",
    "CpuPeriod",
    "CpuQuota",
    "NanoCpus",
    "PidsLimit",
)
_LARGEST = (1 << 63) - 1

_ULIMIT: Table = {"Name": (str, ""), "Soft": (int, -1), "Hard": (int, -1)}
_DEVICE: Table = {"PathOnHost": (str, ""), "PathInContainer": (str, ""), "CgroupPermissions": (str, "")}
_BINDING: Table = {"HostIp": (str, ""), "HostPort": (str, "")}
_MOUNT: Table = {
    "Type": (str, ""), "Source": (str, ""), "Target": (str, ""), "ReadOnly": (bool, False), "Consistency": (str, ""),
    "BindOptions": (dict, None), "VolumeOptions": (dict, None), "TmpfsOptions": (dict, None),
}  # fmt: skip
_OPTIONS: dict[str, Table] = {
    "BindOptions": {"Propagation": (str, ""), "NonRecursive": (bool, False), "CreateMountpoint": (bool, False)},
    "VolumeOptions": {"NoCopy": (bool, False), "Labels": (dict, None), "DriverConfig": (dict, None), "Subpath": (str, "")},
    "TmpfsOptions": {"SizeBytes": (int, 0), "Mode": (int, None)},
}  # fmt: skip
_DRIVER: Table = {"Name": (str, ""), "Options": (dict, None)}
_ENDPOINT: Table = {
    "IPAMConfig": (dict, None),
    "Links": (list, None),
    "Aliases": (list, None),
    "MacAddress": (str, ""),
}
_LIMIT_NAMES = frozenset(
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)


def check_config(config: Mapping[str, Any]) -> None:
    """Raise InvalidArgument for what is wrong inside a Config."""
    texts(config["Labels"], "Config.Labels")
    for name in _LINES:
        if "\0" in config[name] or "\n" in config[name]:
            raise InvalidArgument(
                f"invalid JSON: Config.{name}: one line is needed, got {config[name]!r:.60}"
            )


def check_host(host: Mapping[str, Any]) -> None:
    """Raise InvalidArgument for what is wrong inside a HostConfig."""
    for name in _STRINGS:
        strings(host[name], f"HostConfig.{name}")
    for name in _TEXTS:
        texts(host[name] or {}, f"HostConfig.{name}")
    for name in _LIMITS:
        if not -1 <= (host[name] or 0) <= _LARGEST:
            raise InvalidArgument(f"invalid JSON: HostConfig.{name}: {host[name]} is out of range")
    for limit in host["Ulimits"] or ():
        if checked(limit, _ULIMIT, "HostConfig.Ulimits")["Name"].lower() not in _LIMIT_NAMES:
            raise InvalidArgument(f"invalid ulimit type: {limit.get('Name')}")
    for device in host["Devices"]:
        checked(device, _DEVICE, "HostConfig.Devices")
    for port, bindings in host["PortBindings"].items():
        if bindings is not None and not isinstance(bindings, list):
            raise InvalidArgument(f"invalid JSON: HostConfig.PortBindings.{port}: a list is needed")
        for binding in bindings or ():
            checked(binding, _BINDING, f"HostConfig.PortBindings.{port}")
    for mount in host["Mounts"]:
        check_mount(mount)
    for number in host["ConsoleSize"]:
        if not isinstance(number, int) or not 0 <= number < 65536:
            raise InvalidArgument(
                f"invalid JSON: HostConfig.ConsoleSize: numbers are needed, got {number!r:.60}"
            )
    checked(host["LogConfig"], {"Type": (str, ""), "Config": (dict, None)}, "HostConfig.LogConfig")
    for entry in host["ExtraHosts"] or ():
        if not (":" in entry or "=" in entry) or any(blank in entry for blank in "\n\t "):
            raise InvalidArgument(f'bad format for add-host: "{entry}"')


def check_mount(mount: Any) -> None:
    """Raise InvalidArgument for a mount whose fields have other types."""
    found = checked(mount, _MOUNT, "HostConfig.Mounts")
    for name, table in _OPTIONS.items():
        inner = checked(found[name], table, f"HostConfig.Mounts.{name}")
        texts(inner.get("Labels") or {}, f"HostConfig.Mounts.{name}.Labels")
        driver = checked(inner.get("DriverConfig"), _DRIVER, f"HostConfig.Mounts.{name}.DriverConfig")
        texts(driver["Options"] or {}, f"HostConfig.Mounts.{name}.DriverConfig.Options")
        if inner.get("NonRecursive") or inner.get("Subpath"):
            raise InvalidArgument(f"HostConfig.Mounts.{name}: NonRecursive and Subpath are not served yet")


def check_endpoint(name: str, endpoint: Any) -> None:
    """Raise InvalidArgument for EndpointSettings whose fields have other types."""
    found = checked(endpoint, _ENDPOINT, f"EndpointsConfig.{name}")
    strings(found["Aliases"], f"EndpointsConfig.{name}.Aliases")
    checked(found["IPAMConfig"], {"IPv4Address": (str, "")}, f"EndpointsConfig.{name}.IPAMConfig")


def texts(values: Mapping[str, Any], where: str) -> None:
    """Raise InvalidArgument unless every value is a text."""
    for key, value in values.items():
        if not isinstance(value, str) or "\0" in value:
            raise InvalidArgument(f"invalid JSON: {where}.{key}: a string is needed, got {value!r:.60}")
