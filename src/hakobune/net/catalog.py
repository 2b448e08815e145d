"""The networks of one engine by name and id: checked, numbered, kept. Knows no kernel.

Imports: errors, ipam, store, model.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from ipaddress import IPv4Network

from hakobune.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from hakobune.net import bridge, ipam
from hakobune.net.model import (
    OPTION_HOST_IP,
    OPTION_ICC,
    OPTION_MASQUERADE,
    OPTION_MTU,
    OPTION_NAME,
    CreateNetwork,
    Network,
    Settings,
)
from hakobune.net.store import Store

PREDEFINED = ("bridge", "host", "none")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_OVERLAP = "invalid pool request: Pool overlaps with other one on this address space"


class Catalog:
    """All networks, cached; one engine is the only writer. Other threads may read: the cache is replaced, never changed."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._networks: dict[str, Network] = {network.id: network for network in store.networks()}

    def all(self) -> list[Network]:
        """All, oldest first."""
        return list(self._networks.values())

    def bridged(self) -> list[Network]:
        """Those that have a bridge."""
        return [network for network in self._networks.values() if network.bridge_name]

    def by_id(self, identity: str) -> Network:
        """One that is known to exist."""
        return self._networks[identity]

    def get(self, reference: str) -> Network:
        """By whole id, name, or unambiguous beginning of the id. Raises NotFound, InvalidArgument."""
        networks = self._networks
        if reference in networks:
            return networks[reference]
        for network in networks.values():
            if network.name == reference:
                return network
        found = [network for network in networks.values() if network.id.startswith(reference)]
        if not found or not reference:
            raise NotFound(f"network {reference} not found")
        if len(found) > 1:
            raise InvalidArgument(
                f"network {reference} is ambiguous ({len(found)} matches found based on ID prefix)"
            )
        return found[0]

    def default(self) -> Network:
        """The one that containers join when nothing is said."""
        return self.get("bridge")

    def save(self, network: Network) -> None:
        """Insert or change."""
        self._store.save_network(network)
        self._networks = {**self._networks, network.id: network}

    def forget(self, network: Network) -> None:
        """Remove one that has no endpoint."""
        self._store.delete_network(network.id)
        self._networks = {key: one for key, one in self._networks.items() if key != network.id}

    def plan(self, request: CreateNetwork, foreign: Collection[IPv4Network]) -> Network:
        """What a request makes; nothing is kept yet. `foreign` are subnets of the host that are to be avoided.

        Raises InvalidArgument, NotFound (driver), Conflict (name), PermissionDenied (overlap, predefined),
        ResourceExhausted (pools).
        """
        self._check_name(request.name)
        if request.driver != "bridge":
            if request.driver in ("host", "null"):
                raise PermissionDenied(f'only one instance of "{request.driver}" network is allowed')
            raise NotFound(f"could not find plugin {request.driver}: plugin not found")
        _check_options(request.options)
        subnet = self._subnet(request, foreign)
        gateway = ipam.choose_gateway(subnet, request.gateway)
        if request.ip_range:
            ipam.parse_subnet_of(subnet, request.ip_range)
        identity = os.urandom(32).hex()
        name = request.options.get(OPTION_NAME) or f"br-{identity[:12]}"
        bridge.check_name(name)
        if any(other.bridge_name == name for other in self.bridged()):
            raise Conflict(f"bridge {name} is used by another network")
        return Network(
            id=identity, name=request.name, driver="bridge", created=time.time_ns(), subnet=str(subnet),
            gateway=gateway, labels=dict(request.labels), options=dict(request.options), internal=request.internal,
            bridge_name=name, ip_range=request.ip_range, attachable=request.attachable,
        )  # fmt: skip

    def ensure_predefined(self, foreign: Collection[IPv4Network]) -> None:
        """The three that are always there; the default bridge after the settings of this run.

        Raises FailedPrecondition when its subnet is used by others, InvalidArgument, ResourceExhausted.
        """
        names = {network.name for network in self._networks.values()}
        if "bridge" in names:
            self.save(self._revised(self.default(), foreign))
        else:
            blank = Network(os.urandom(32).hex(), "bridge", "bridge", time.time_ns())
            self.save(self._revised(blank, foreign))
        for name, driver in (("host", "host"), ("none", "null")):
            if name not in names:
                self.save(Network(os.urandom(32).hex(), name, driver, time.time_ns()))

    def _revised(self, network: Network, foreign: Collection[IPv4Network]) -> Network:
        settings = self._settings
        bridge.check_name(settings.bridge)
        taken = [other.range for other in self.bridged() if other.id != network.id]
        if settings.bip:
            interface = ipam.parse_interface(settings.bip)
            subnet, gateway = interface.network, str(interface.ip)
            if other := ipam.overlapping(subnet, [*foreign, *taken]):
                raise FailedPrecondition(f"subnet {subnet} of bridge {settings.bridge} is in use: {other}")
        elif network.subnet and not ipam.overlapping(network.range, [*foreign, *taken]):
            subnet, gateway = network.range, network.gateway
        else:
            subnet = ipam.choose_subnet(settings.pools, [*foreign, *taken])
            gateway = ipam.choose_gateway(subnet, "")
        if settings.fixed_cidr:
            ipam.parse_subnet_of(subnet, settings.fixed_cidr)
        options = {
            "com.docker.network.bridge.default_bridge": "true",
            OPTION_ICC: str(settings.icc).lower(),
            OPTION_MASQUERADE: str(settings.ip_masq).lower(),
            OPTION_HOST_IP: settings.host_ip or "0.0.0.0",
            OPTION_NAME: settings.bridge,
            OPTION_MTU: str(settings.mtu),
        }
        return replace(
            network, subnet=str(subnet), gateway=gateway, options=options, bridge_name=settings.bridge,
            ip_range=settings.fixed_cidr,
        )  # fmt: skip

    def _check_name(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise InvalidArgument(
                f"invalid network name {name!r}: only letters, digits, '_', '.' and '-' are allowed, first a letter or digit"
            )
        if name in (*PREDEFINED, "default", "container"):
            raise PermissionDenied(f"operation is not permitted on predefined {name} network ")
        if any(network.name == name for network in self._networks.values()):
            raise Conflict(f"network with name {name} already exists")

    def _subnet(self, request: CreateNetwork, foreign: Collection[IPv4Network]) -> IPv4Network:
        own = [network.range for network in self.bridged()]
        if not request.subnet:
            if request.gateway or request.ip_range:
                raise InvalidArgument("invalid network config: a gateway or ip range needs a subnet")
            return ipam.choose_subnet(self._settings.pools, [*own, *foreign])
        subnet = ipam.parse_subnet(request.subnet)
        if ipam.overlapping(subnet, own):
            raise PermissionDenied(_OVERLAP)
        return subnet


def _check_options(options: Mapping[str, str]) -> None:
    mtu = options.get(OPTION_MTU) or "0"
    if not mtu.isdigit() or int(mtu) > 65535:
        raise InvalidArgument(f"invalid value for {OPTION_MTU}: {mtu}")
    if address := options.get(OPTION_HOST_IP):
        ipam.parse_address(address)
