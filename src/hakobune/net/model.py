"""The vocabulary of this room, as frozen data.

A *network* is a bridge with a subnet (or one of the two without: `host`, `none`). A container that runs has a
*sandbox*: a network namespace with one *endpoint* (veth pair, address, MAC) for each of its networks, and
*ports* of the host that lead to it. Sandboxes come with `attach` and go with `detach`; networks stay.
Imports: nothing of the project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

# Docker's own default pools: (base, prefix length of the subnets cut from it).
DEFAULT_POOLS = (
    ("172.17.0.0/16", 16),
    ("172.18.0.0/16", 16),
    ("172.19.0.0/16", 16),
    ("172.20.0.0/14", 16),
    ("172.24.0.0/14", 16),
    ("172.28.0.0/14", 16),
    ("192.168.0.0/16", 20),
)

OPTION_NAME = "com.docker.network.bridge.name"
OPTION_ICC = "com.docker.network.bridge.enable_icc"
OPTION_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
OPTION_HOST_IP = "com.docker.network.bridge.host_binding_ipv4"
OPTION_MTU = "com.docker.network.driver.mtu"


@dataclass(frozen=True, slots=True)
class Settings:
    """What one engine is told. `bip` is the bridge's own address with prefix length; empty: choose a free one."""

    bridge: str = "hako0"
    bip: str = ""
    pools: tuple[tuple[str, int], ...] = DEFAULT_POOLS
    state_dir: str = ""
    default_gateway: str = ""
    fixed_cidr: str = ""
    host_ip: str = "0.0.0.0"
    icc: bool = True
    ip_masq: bool = True
    ip_forward: bool = True
    mtu: int = 1500
    userland_proxy: bool = False  # known to Docker; here the kernel does its work


@dataclass(frozen=True, slots=True)
class CreateNetwork:
    """A request for a network; empty texts are chosen. Only the driver `bridge` can be made."""

    name: str
    driver: str = "bridge"
    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    internal: bool = False
    attachable: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """A network that exists. `driver` is bridge, host or null; `created` in ns since the epoch."""

    id: str
    name: str
    driver: str
    created: int
    subnet: str = ""
    gateway: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    internal: bool = False
    bridge_name: str = ""
    ip_range: str = ""
    attachable: bool = False

    @property
    def range(self) -> IPv4Network:
        """The subnet. Only of bridge networks."""
        return IPv4Network(self.subnet)

    @property
    def interface(self) -> IPv4Interface:
        """The bridge's own address with the prefix length. Only of bridge networks."""
        return IPv4Interface(f"{self.gateway}/{self.range.prefixlen}")

    @property
    def icc(self) -> bool:
        """Whether its containers may talk to each other."""
        return _flag(self.options, OPTION_ICC)

    @property
    def masquerade(self) -> bool:
        """Whether its containers leave with the host's address."""
        return not self.internal and _flag(self.options, OPTION_MASQUERADE)

    @property
    def mtu(self) -> int:
        """Its MTU in bytes; 0 when none was asked for."""
        return int(self.options.get(OPTION_MTU) or 0)

    @property
    def host_ip(self) -> str:
        """The address of the host on which its ports are published when none is named."""
        return self.options.get(OPTION_HOST_IP) or "0.0.0.0"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A wish for an endpoint: empty texts are chosen."""

    network: str
    aliases: tuple[str, ...] = ()
    ipv4: str = ""
    mac: str = ""


@dataclass(frozen=True, slots=True)
class PortBinding:
    """A wish for a published port. `host_port` 0: any; with `host_port_end` the first free one of the range."""

    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    host_port: int = 0
    host_port_end: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a container asks for. `mode`: bridge, none, host or a network's name; `name` is the container's.

    `gw` names the network that gives the default route; empty: the first that is not internal.
    """

    mode: str = "bridge"
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[PortBinding, ...] = ()
    hostname: str = ""
    gw: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """An endpoint as it is."""

    network_id: str
    endpoint_id: str
    ip: str
    prefix_len: int
    gateway: str
    mac: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attachment:
    """A sandbox as it is. `netns_path` is empty for the host's namespace."""

    netns_path: str
    endpoints: Mapping[str, EndpointState] = field(default_factory=dict)
    ports: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of the host that leads to a container: what the store keeps and the rules show."""

    container_id: str
    protocol: str
    host_ip: str
    host_port: int
    ip: str
    port: int

    @property
    def key(self) -> str:
        """Docker's spelling of the container's side."""
        return f"{self.port}/{self.protocol}"


def mac_of(address: str) -> str:
    """The MAC that goes with an IPv4 address: the same again with the same address, so no neighbour goes stale."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in IPv4Address(address).packed)


def _flag(options: Mapping[str, str], name: str) -> bool:
    return options.get(name, "true").lower() not in ("false", "0", "f", "no")
