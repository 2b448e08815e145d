"""The engine's settings, frozen: command line and daemon.json, each key checked, none given in both.

Names and meanings are dockerd's. Raises InvalidArgument with the key and what to do. Imports: engine.runtimes, errors.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hakobune.engine.images.pressure import Marks, marks
from hakobune.engine.images.registries import CERTS_DIR, check_insecure, check_mirror
from hakobune.engine.runtimes import DEFAULT, Runtimes, declaration, from_flag
from hakobune.errors import InvalidArgument

_T = TypeVar("_T")

DATA_ROOT = "/var/lib/hakobune"
EXEC_ROOT = "/run/hakobune"
CONFIG_FILE = "/etc/hakobune/daemon.json"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that an engine is told when it starts."""

    hosts: tuple[str, ...]
    data_root: str = DATA_ROOT
    exec_root: str = EXEC_ROOT
    pidfile: str = ""
    containerd: str = ""  # empty: a private one
    group: str = "docker"
    bridge: str = "hako0"
    bip: str = ""
    pools: tuple[tuple[str, int], ...] = ()
    mtu: int = 1500
    icc: bool = True
    host_ip: str = "0.0.0.0"
    log_driver: str = "json-file"
    log_opts: Mapping[str, str] = field(default_factory=dict)
    runtimes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # see engine.runtimes
    default_runtime: str = DEFAULT
    labels: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()  # of Docker's registry
    insecure: tuple[str, ...] = ()  # registries that may be without TLS, or with a certificate of nobody
    certs_dir: str = CERTS_DIR  # of containerd's hosts.toml directories
    image_gc: Marks = field(default_factory=Marks)  # off
    debug: bool = False
    validate: bool = False  # say that the settings are right, and end

    @property
    def containerd_root(self) -> str:
        """The private manager's --root."""
        return os.path.join(self.data_root, "containerd")

    @property
    def containerd_state(self) -> str:
        """The private manager's --state."""
        return os.path.join(self.exec_root, "containerd")

    @property
    def containerd_address(self) -> str:
        """The manager's socket."""
        return self.containerd or os.path.join(self.exec_root, "containerd.sock")


# daemon.json key -> (attribute of the parsed arguments, type)
_KEYS: dict[str, tuple[str, Any]] = {
    "hosts": ("hosts", list),
    "data-root": ("data_root", str),
    "exec-root": ("exec_root", str),
    "pidfile": ("pidfile", str),
    "containerd": ("containerd", str),
    "group": ("group", str),
    "bridge": ("bridge", str),
    "bip": ("bip", str),
    "default-address-pools": ("pools", list),
    "mtu": ("mtu", int),
    "icc": ("icc", bool),
    "ip": ("host_ip", str),
    "log-driver": ("log_driver", str),
    "log-opts": ("log_opts", dict),
    "labels": ("labels", list),
    "dns": ("dns", list),
    "registry-mirrors": ("mirrors", list),
    "insecure-registries": ("insecure", list),
    "image-gc-high": ("image_gc_high", int),
    "image-gc-low": ("image_gc_low", int),
    "image-gc-age": ("image_gc_age", int),
    "image-gc-every": ("image_gc_every", int),
    "debug": ("debug", bool),
    "live-restore": ("live_restore", bool),
    "default-runtime": ("default_runtime", str),
    "runtimes": ("runtimes", Mapping),
}


# keys and flags of dockerd that mean something which is not here
_NOT_YET = (
    "authorization-plugins", "cgroup-parent", "default-ipc-mode",
    "default-ulimits", "dns-opts", "dns-search", "exec-opts", "features", "fixed-cidr", "init",
    "ipv6", "proxies", "seccomp-profile",
    "storage-driver", "storage-opts", "tls", "tlscacert", "tlscert", "tlskey", "tlsverify", "userns-remap",
)  # fmt: skip
_NOT_YET_FLAGS = ("tls", "tlsverify")
_NOT_YET_OPTIONS = ("tlscacert", "tlscert", "tlskey", "storage-driver")


class _Parser(argparse.ArgumentParser):
    """Errors are the project's own."""

    def error(self, message: str) -> Any:
        raise InvalidArgument(f"{message}; see hakod --help")


_REFUSED = "not_yet"


def _refused(name: str) -> Callable[[str], str]:
    """Takes the value of an option and remembers only the option."""
    return lambda value: name


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="hakod",
        description="Hakobune's engine: the Docker API, on a hako-containerd of its own or the one you name.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    option = parser.add_argument
    option("-H", "--host", dest="hosts", action="append", metavar="ADDRESS",
           help="listen here: unix://PATH or tcp://HOST:PORT; may repeat (unix://EXEC-ROOT/docker.sock)")  # fmt: skip
    option("--data-root", metavar="DIR", help=f"what survives a reboot ({DATA_ROOT})")
    option("--exec-root", metavar="DIR", help=f"what does not ({EXEC_ROOT})")
    option("-p", "--pidfile", metavar="FILE", help="write the process id here (EXEC-ROOT/hakod.pid)")
    option("--config-file", metavar="FILE", default=CONFIG_FILE, help=f"settings in JSON ({CONFIG_FILE})")
    option(
        "--containerd", metavar="ADDRESS", help="socket of a running containerd (a private one is started)"
    )
    option("-G", "--group", metavar="NAME", help="group that may use the unix socket (docker)")
    option("-b", "--bridge", metavar="NAME", help="bridge of the default network (hako0)")
    option("--bip", metavar="CIDR", help="address and prefix of that bridge (a free one)")
    option("--default-address-pool", dest="pools", action="append", metavar="base=CIDR,size=N",
           help="where new networks take their subnets from; may repeat")  # fmt: skip
    option("--mtu", type=int, metavar="BYTES", help="MTU of container networks (1500)")
    option(
        "--icc",
        type=_truth,
        metavar="true|false",
        help="containers of the default network may talk to each other (true)",
    )
    option(
        "--ip",
        dest="host_ip",
        metavar="ADDRESS",
        help="where ports are published that name no address (0.0.0.0)",
    )
    option("--log-driver", metavar="NAME", help="json-file or none (json-file)")
    option(
        "--log-opt",
        dest="log_opts",
        action="append",
        metavar="K=V",
        help="option of the log driver; may repeat",
    )
    option("--label", dest="labels", action="append", metavar="K=V", help="label of this engine; may repeat")
    option("--dns", action="append", metavar="ADDRESS", help="DNS server of containers; may repeat")
    option("--registry-mirror", dest="mirrors", action="append", metavar="URL",
           help="ask here first for images of docker.io; may repeat")  # fmt: skip
    option("--insecure-registry", dest="insecure", action="append", metavar="REGISTRY",
           help="host:port or network that may be without TLS; may repeat")  # fmt: skip
    option("--certs-dir", metavar="DIR", help=f"certificates and hosts.toml for each registry ({CERTS_DIR})")
    option("--image-gc-high", type=int, metavar="PERCENT",
           help="remove images that nothing uses, the longest unused first, when the disk is so full (0: never)")  # fmt: skip
    option(
        "--image-gc-low", type=int, metavar="PERCENT", help="until it is so full (ten below the high mark)"
    )
    option("--image-gc-age", type=int, metavar="SECONDS", help="none that was used so short a time ago (120)")
    option("--image-gc-every", type=int, metavar="SECONDS", help="how often to look (60)")
    option("--live-restore", action="store_true", help="accepted: containers always outlive the daemons")
    option("--add-runtime", dest="runtimes", action="append", metavar="NAME=PATH",
           help="a program with the command line of runc, for `run --runtime NAME`; may repeat")  # fmt: skip
    option("--default-runtime", metavar="NAME", help=f"what containers get that name none ({DEFAULT})")
    for name in _NOT_YET_FLAGS:
        option(f"--{name}", dest=_REFUSED, action="append_const", const=name, help="not served yet")
    for name in _NOT_YET_OPTIONS:
        option(f"--{name}", dest=_REFUSED, action="append", type=_refused(name), help="not served yet")
    option("-l", "--log-level", metavar="LEVEL", help="accepted")
    option("-D", "--debug", action="store_true", help="say more")
    option("--validate", action="store_true", help="check the settings and end")
    option("-v", "--version", action="store_true", help="say the version and end")
    return parser


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"true or false is needed, got {text!r}")
    return text.lower() in ("true", "1")


def parse(argv: Sequence[str]) -> Config | None:
    """The settings; None when only the version was asked for. Raises InvalidArgument."""
    given = vars(_parser().parse_args(argv))
    if given.pop("version", False):
        return None
    path = given.pop("config_file")
    if "log_opts" in given:
        given["log_opts"] = dict(_pair(text, "log-opt") for text in given["log_opts"])
    if "runtimes" in given:
        given["runtimes"] = dict(from_flag(text) for text in given["runtimes"])
    from_file = _read(path, must=path != CONFIG_FILE)
    for key, (attribute, _kind) in _KEYS.items():
        if key in from_file and attribute in given:
            raise InvalidArgument(
                f"the following directives are specified both as a flag and in the configuration file: {key}: "
                f"(from flag: {given[attribute]}, from file: {from_file[key]}): remove one of them"
            )
        if key in from_file:
            given[attribute] = from_file[key]
    return _config(given)


def _read(path: str, *, must: bool) -> dict[str, Any]:
    try:
        with open(path) as file:
            document = json.load(file)
    except FileNotFoundError as err:
        if must:
            raise InvalidArgument(f"configuration file {path}: no such file") from err
        return {}
    except (OSError, ValueError) as err:
        raise InvalidArgument(f"configuration file {path}: {err}") from err
    if not isinstance(document, dict):
        raise InvalidArgument(f"configuration file {path}: an object is needed")
    for key, value in document.items():
        if key in _NOT_YET:
            raise InvalidArgument(f"configuration file {path}: {key} is not served yet: remove it")
        if key not in _KEYS:
            raise InvalidArgument(
                f"the following directives don't match any configuration option: {key} (in {path})"
            )
        if not _has_type(value, _KEYS[key][1]):
            raise InvalidArgument(f"configuration file {path}: {key}: {value!r} has the wrong type")
    return document


def _config(given: dict[str, Any]) -> Config:
    if refused := given.pop(_REFUSED, None):
        raise InvalidArgument(f"--{refused[0]} is not served yet")
    given["runtimes"] = {name: declaration(name, one) for name, one in given.get("runtimes", {}).items()}
    Runtimes(given["runtimes"], given.get("default_runtime", DEFAULT), "")
    for accepted in ("live_restore", "log_level"):
        given.pop(accepted, None)
    if given.get("log_driver", "json-file") not in ("json-file", "none"):
        raise InvalidArgument(f"--log-driver: no log driver named '{given['log_driver']}' is registered")
    for name in ("data_root", "exec_root", "pidfile", "containerd", "certs_dir"):
        if given.get(name):
            given[name] = os.path.abspath(given[name].removeprefix("unix://"))
    exec_root = given.get("exec_root", EXEC_ROOT)
    hosts = given.pop("hosts", None) or [f"unix://{exec_root}/docker.sock"]
    given["pools"] = tuple(_pool(pool) for pool in given.get("pools", ()))
    given.setdefault("pidfile", f"{exec_root}/hakod.pid")
    for name in ("labels", "dns", "mirrors", "insecure"):
        given[name] = tuple(given.get(name, ()))
    given["mirrors"] = tuple(check_mirror(str(one)) for one in given["mirrors"])
    given["insecure"] = tuple(check_insecure(str(one)) for one in given["insecure"])
    given["image_gc"] = marks(
        given.pop("image_gc_high", 0), given.pop("image_gc_low", None),
        given.pop("image_gc_age", 120), given.pop("image_gc_every", 60),
    )  # fmt: skip
    _check(given)
    return Config(hosts=tuple(check_host(host) for host in hosts), **given)


def _check(given: Mapping[str, Any]) -> None:
    """Values that only show later that they are wrong. Raises InvalidArgument naming the flag."""
    for name, value in (("ip", given.get("host_ip")), *(("dns", address) for address in given["dns"])):
        if value is not None:
            _parsed(ipaddress.ip_address, name, value)
    if given.get("bip"):
        _parsed(ipaddress.IPv4Interface, "bip", given["bip"])
    for base, size in given["pools"]:
        network = _parsed(ipaddress.IPv4Network, "default-address-pool", base)
        if not network.prefixlen <= size <= 30:
            raise InvalidArgument(f"--default-address-pool: subnets of size {size} cannot be cut from {base}")
    if not 68 <= given.get("mtu", 1500) <= 65535:  # the least that IPv4 allows, the most that a packet has
        raise InvalidArgument(f"--mtu: {given['mtu']} is not between 68 and 65535")
    for label in given["labels"]:
        _pair(label, "label")


def _parsed(read: Callable[[str], _T], name: str, text: str) -> _T:
    try:
        return read(text)
    except ValueError as err:
        raise InvalidArgument(f"--{name}: {err}") from err


def _has_type(value: object, kind: Any) -> bool:
    """JSON's true is no number; lists but those of pools, and objects, hold texts only; a Mapping is looked at later."""
    if kind is int and isinstance(value, bool):
        return False
    if kind is Mapping:
        return isinstance(value, dict)
    if isinstance(value, dict) and kind is dict:
        return all(isinstance(one, str) for one in value.values())
    if isinstance(value, list) and kind is list:
        return all(isinstance(one, str | dict) for one in value)
    return isinstance(value, kind)


def check_host(host: Any) -> str:
    """An address to listen on. Raises InvalidArgument."""
    if not isinstance(host, str):
        raise InvalidArgument(f"unable to parse docker host `{host}`: a text is needed")
    scheme, found, rest = host.partition("://")
    if not found and host.startswith("/"):
        return f"unix://{host}"
    if scheme == "unix" and rest.startswith("/"):
        return host
    port = rest.rpartition(":")[2]
    if scheme == "tcp" and port.isascii() and port.isdigit() and int(port) < 65536:
        return host
    raise InvalidArgument(f"unable to parse docker host `{host}`: unix:///PATH or tcp://HOST:PORT is needed")


def _pair(text: Any, what: str) -> tuple[str, str]:
    if not isinstance(text, str):
        raise InvalidArgument(f"--{what}: {text!r} is not of the form key=value")
    key, found, value = text.partition("=")
    if not found or not key:
        raise InvalidArgument(f"--{what}: {text!r} is not of the form key=value")
    return key, value


def _pool(pool: Any) -> tuple[str, int]:
    """`base=10.0.0.0/8,size=24`, or {"base": …, "size": …}."""
    words = (
        dict(_pair(word, "default-address-pool") for word in pool.split(","))
        if isinstance(pool, str)
        else pool
    )
    try:
        return str(words["base"]), int(words["size"])
    except (KeyError, TypeError, ValueError) as err:
        raise InvalidArgument(f"--default-address-pool: {pool!r}: base=CIDR,size=N is needed") from err
