"""From the flags of `create` and `run` to the body of `POST /containers/create`.

Only what was asked for goes in; the engine knows its own defaults. Pure: no request is made here, files are
read only for `--env-file`, `--label-file` and seccomp profiles.
"""

from __future__ import annotations

from ..failure import Failure
from ..flags import BadFlags, Values
from .limits import device, restart, security, ulimit
from .mounts import fields, mount, split_volumes, tmpfs
from .ports import exposed, published
from .variables import environment, labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Body = dict[str, "Any"]
# flag: key, by the accessor that decodes it
_TEXTS = {"hostname": "Hostname", "domainname": "Domainname", "user": "User", "workdir": "WorkingDir",
          "stop-signal": "StopSignal"}  # fmt: skip
_HOST_TEXTS = {"cgroup-parent": "CgroupParent", "cgroupns": "CgroupnsMode", "cpuset-cpus": "CpusetCpus",
               "cpuset-mems": "CpusetMems", "ipc": "IpcMode", "isolation": "Isolation", "pid": "PidMode",
               "runtime": "Runtime", "userns": "UsernsMode", "uts": "UTSMode",
               "volume-driver": "VolumeDriver"}  # fmt: skip
_HOST_SIZES = {"memory": "Memory", "memory-reservation": "MemoryReservation", "memory-swap": "MemorySwap",
               "shm-size": "ShmSize"}  # fmt: skip
_HOST_NUMBERS = {"blkio-weight": "BlkioWeight", "cpu-period": "CpuPeriod", "cpu-quota": "CpuQuota",
                 "cpu-shares": "CpuShares", "memory-swappiness": "MemorySwappiness",
                 "oom-score-adj": "OomScoreAdj", "pids-limit": "PidsLimit"}  # fmt: skip
_HOST_LISTS = {"cap-add": "CapAdd", "cap-drop": "CapDrop", "device-cgroup-rule": "DeviceCgroupRules",
               "dns": "Dns", "dns-option": "DnsOptions", "dns-search": "DnsSearch", "group-add": "GroupAdd",
               "link": "Links", "volumes-from": "VolumesFrom"}  # fmt: skip
_HOST_PAIRS = {"annotation": "Annotations", "storage-opt": "StorageOpt", "sysctl": "Sysctls"}
_HOST_SWITCHES = {"init": "Init", "oom-kill-disable": "OomKillDisable", "privileged": "Privileged",
                  "publish-all": "PublishAllPorts", "read-only": "ReadonlyRootfs", "rm": "AutoRemove"}  # fmt: skip
_STREAMS = ("stdin", "stdout", "stderr")


def create_body(values: Values, image: str, command: list[str], *, detach: bool = False) -> Body:
    """The whole document. Raises Failure for what can be seen to be wrong from here."""
    body = _config(values, image, command, detach)
    host = _host(values)
    binds, nameless = split_volumes(values.many("volume"))
    if binds:
        host["Binds"] = binds
    if nameless:
        body["Volumes"] = {target: {} for target in nameless}
    _ports(values, body, host)
    _networks(values, body, host)
    body["HostConfig"] = host
    return body


def attached(values: Values, *, detach: bool) -> set[str]:
    """Which streams this command line connects. Raises Failure for a name that is none."""
    if detach:
        return set()
    wanted = {name.lower() for name in values.many("attach")}
    if not wanted <= set(_STREAMS):
        wrong = next(name for name in values.many("attach") if name.lower() not in _STREAMS)
        raise BadFlags(
            f'invalid argument "{wrong}" for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR'
        )
    return (wanted or {"stdout", "stderr"}) | ({"stdin"} if values.on("interactive") else set())


def _config(values: Values, image: str, command: list[str], detach: bool) -> Body:
    streams = attached(values, detach=detach)
    body: Body = {"Image": image}
    body |= {key: values.text(flag) for flag, key in _TEXTS.items() if values.text(flag)}
    for name in _STREAMS:
        body[f"Attach{name.capitalize()}"] = name in streams
    body["Tty"] = values.on("tty")
    body["OpenStdin"] = values.on("interactive")
    body["StdinOnce"] = values.on("interactive") and "stdin" in streams
    body["Env"] = environment(values.many("env"), values.many("env-file"))
    body["Labels"] = labels(values.many("label"), values.many("label-file"))
    if command:
        body["Cmd"] = command
    if values.given("entrypoint"):
        body["Entrypoint"] = [values.text("entrypoint")]
    if values.given("stop-timeout"):
        body["StopTimeout"] = values.whole("stop-timeout")
    health = _health(values)
    if health:
        body["Healthcheck"] = health
    return body


def _health(values: Values) -> Body:
    durations = {"health-interval": "Interval", "health-timeout": "Timeout", "health-start-period": "StartPeriod",
                 "health-start-interval": "StartInterval"}  # fmt: skip
    health: Body = {key: values.nanoseconds(flag) for flag, key in durations.items() if values.given(flag)}
    if values.given("health-retries"):
        health["Retries"] = values.whole("health-retries")
    if values.given("health-cmd"):
        health["Test"] = ["CMD-SHELL", values.text("health-cmd")]
    if values.on("no-healthcheck"):
        if health:
            raise Failure("--no-healthcheck conflicts with --health-* options", 125)
        return {"Test": ["NONE"]}
    return health


def _host(values: Values) -> Body:
    host: Body = {key: values.text(flag) for flag, key in _HOST_TEXTS.items() if values.text(flag)}
    host |= {key: values.size(flag) for flag, key in _HOST_SIZES.items() if values.given(flag)}
    host |= {key: values.whole(flag) for flag, key in _HOST_NUMBERS.items() if values.given(flag)}
    host |= {key: values.many(flag) for flag, key in _HOST_LISTS.items() if values.given(flag)}
    host |= {key: values.pairs(flag) for flag, key in _HOST_PAIRS.items() if values.given(flag)}
    host |= {key: values.on(flag) for flag, key in _HOST_SWITCHES.items() if values.given(flag)}
    if values.given("cpus"):
        host["NanoCpus"] = values.billionths("cpus")
    if values.given("add-host"):
        host["ExtraHosts"] = [_host_line(text) for text in values.many("add-host")]
    if values.given("log-driver") or values.given("log-opt"):
        host["LogConfig"] = {"Type": values.text("log-driver"), "Config": values.pairs("log-opt")}
    if values.given("timeout"):  # podman's flag; kept by the shim, so no daemon is needed for it
        host["Annotations"] = {
            **host.get("Annotations", {}),
            "io.hakobune.timeout": str(values.whole("timeout")),
        }
    _host_languages(values, host)
    return host


def _host_languages(values: Values, host: Body) -> None:
    host["RestartPolicy"] = restart(values.text("restart", "no"))
    if values.on("rm") and host["RestartPolicy"]["Name"] != "no":
        raise Failure("conflicting options: cannot specify both --restart and --rm", 125)
    if values.given("ulimit"):
        host["Ulimits"] = [ulimit(text) for text in values.many("ulimit")]
    if values.given("device"):
        host["Devices"] = [device(text) for text in values.many("device")]
    if values.given("mount"):
        host["Mounts"] = [mount(text) for text in values.many("mount")]
    if values.given("tmpfs"):
        host["Tmpfs"] = tmpfs(values.many("tmpfs"))
    if values.given("security-opt"):
        host["SecurityOpt"], open_paths = security(values.many("security-opt"))
        if open_paths:
            host["MaskedPaths"], host["ReadonlyPaths"] = [], []


def _host_line(text: str) -> str:
    """`NAME:IP`, also written `NAME=IP`."""
    name, equals, address = text.partition("=")
    if not equals or ":" in name:
        name, equals, address = text.partition(":")
    if not equals or not name or not address:
        raise BadFlags(f'invalid argument "{text}" for "--add-host" flag: bad format for add-host: "{text}"')
    return f"{name}:{address.strip('[]')}"


def _ports(values: Values, body: Body, host: Body) -> None:
    bindings = published(values.many("publish"))
    if bindings:
        host["PortBindings"] = bindings
    ports = [*bindings, *exposed(values.many("expose"))]
    if ports:
        body["ExposedPorts"] = {port: {} for port in ports}


def _networks(values: Values, body: Body, host: Body) -> None:
    wanted: list[tuple[str, Body]] = [
        _network(text) for text in (*values.many("network"), *values.many("net"))
    ] or [("default", {})]
    host["NetworkMode"] = wanted[0][0]
    first = wanted[0][1]
    aliases = [*values.many("network-alias"), *values.many("net-alias")]
    if aliases:
        first["Aliases"] = [*first.get("Aliases", []), *aliases]
    addresses = {"ip": "IPv4Address", "ip6": "IPv6Address"}
    ipam: Body = {key: values.text(flag) for flag, key in addresses.items() if values.given(flag)}
    if values.given("link-local-ip"):
        ipam["LinkLocalIPs"] = values.many("link-local-ip")
    if ipam:
        first["IPAMConfig"] = first.get("IPAMConfig", {}) | ipam
    if values.given("mac-address"):
        first["MacAddress"] = values.text("mac-address")
    body["NetworkingConfig"] = {"EndpointsConfig": dict(wanted)}


def _network(text: str) -> tuple[str, Body]:
    """A name, or `name=NET,alias=A,ip=1.2.3.4,…`."""
    if "=" not in text or ":" in text.partition("=")[0]:
        return text, {}
    name = ""
    endpoint: Body = {}
    for field in fields(text):
        key, _, value = field.partition("=")
        if key == "name":
            name = value
        elif key == "alias":
            endpoint.setdefault("Aliases", []).append(value)
        elif key == "mac-address":
            endpoint["MacAddress"] = value
        elif key in ("ip", "ip6"):
            endpoint.setdefault("IPAMConfig", {})["IPv4Address" if key == "ip" else "IPv6Address"] = value
        elif key == "gw-priority":
            endpoint["GwPriority"] = int(value)
        elif key == "driver-opt":
            option, _, setting = value.partition("=")
            endpoint.setdefault("DriverOpts", {})[option] = setting
        else:
            raise Failure(f"invalid field key {key}", 125)
    if not name:
        raise Failure("network name is empty", 125)
    return name, endpoint
