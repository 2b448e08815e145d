"""Sandboxes: a container's namespace with its endpoints and published ports, from attach to detach.

The order of an attach: addresses and ports are chosen and written down, the namespace is made meanwhile in its
thread, then one batch of messages in the host's namespace and two in the container's, then one for the ports.
What fails is undone whole. Imports: linux, errors, the room's own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface

from hakobune.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from hakobune.failpoint import reach
from hakobune.linux import rtnetlink as rt
from hakobune.linux.netlink import Netlink
from hakobune.net import ipam, ports
from hakobune.net.catalog import Catalog
from hakobune.net.model import (
    Attachment,
    Endpoint,
    EndpointState,
    Network,
    PortBinding,
    PublishedPort,
    Settings,
    Wanted,
    mac_of,
)
from hakobune.net.namespace import Namespace
from hakobune.net.rules import Rules
from hakobune.net.store import Place, Sandbox, Store

_log = logging.getLogger(__name__)
_PATIENCE = 2.0  # seconds


@dataclass(slots=True)
class Held:
    """What this process holds for a container: the namespace (-1 for the host's) and the ports' sockets."""

    netns: int = -1
    sockets: list[socket.socket] = field(default_factory=list)

    def close(self) -> None:
        """Let go of everything; may be called twice."""
        if self.netns >= 0:
            os.close(self.netns)
            self.netns = -1
        while self.sockets:
            self.sockets.pop().close()


class Sandboxes:
    """All sandboxes of one engine. `bridges` maps a network's id to its bridge's index, and is the owner's."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        settings: Settings,
        bridges: Mapping[str, int],
        netlink: Netlink,
        rules: Rules,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._settings = settings
        self._bridges = bridges
        self._netlink = netlink
        self._rules = rules
        self._held: dict[str, Held] = {}
        self._released: deque[tuple[float, str]] = deque()  # when, and which veth

    # --- attach, adopt, detach ---

    def attach(self, container_id: str, wanted: Wanted) -> Attachment:
        """See `Networks.attach`."""
        for binding in wanted.ports:
            ports.check(binding)
        if self._store.sandbox(container_id) is not None:
            self.detach(container_id)
        sandbox = Sandbox(container_id, _mode(wanted), wanted.name, wanted.gw)
        if sandbox.mode == "host":
            self._store.save(sandbox, (), ())
            self._held[container_id] = Held()
            return self._attachment(sandbox, (), ())
        namespace = Namespace.make()
        held = Held()
        reach("net.attach.namespace")
        try:
            places = self._choose_places(sandbox, wanted)
            published = self._hold_ports(sandbox, places, wanted.ports, held)
            self._store.save(sandbox, places, published)
            reach("net.attach.recorded")
        except BaseException:
            held.close()
            _abandon(namespace)
            raise
        self._held[container_id] = held
        try:
            with namespace.join() as inside:
                held.netns = namespace.fd
                inside.run([rt.set_up(rt.LOOPBACK)])
                self._wire(inside, held.netns, places)
                self._set_route(inside, sandbox, places)
                reach("net.attach.wired")
            self._rules.open(published)
            reach("net.attach.open")
        except BaseException:
            self._undo(container_id)
            raise
        return self._attachment(sandbox, places, published)

    def adopt(self, container_id: str, init_pid: int) -> Attachment:
        """See `Networks.adopt`."""
        sandbox = self._store.sandbox(container_id)
        if sandbox is None:
            raise NotFound(f"container {container_id} is not attached to a network")
        self._let_go(container_id)
        held = Held()
        if sandbox.mode != "host":
            try:
                held.netns = os.open(f"/proc/{init_pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            except OSError as err:
                raise FailedPrecondition(
                    f"network namespace of process {init_pid} is gone: {err.strerror}"
                ) from err
        published = self._store.ports(container=container_id)
        for port in published:
            try:
                held.sockets.append(ports.bind(port.protocol, port.host_ip, port.host_port)[0])
            except OSError as err:  # the rules lead it to the container all the same
                _log.warning("port %s:%d cannot be held: %s", port.host_ip, port.host_port, err)
        self._held[container_id] = held
        return self._attachment(sandbox, self._store.places(container=container_id), published)

    def detach(self, container_id: str) -> None:
        """See `Networks.detach`."""
        if self._store.sandbox(container_id) is None:
            self._let_go(container_id)
            return
        places = self._store.places(container=container_id)
        self._shut(self._store.ports(container=container_id))
        reach("net.detach.shut")
        self._unwire(places, namespace_ends=True)
        reach("net.detach.unwired")
        self._delete_leftovers()
        self._store.delete(container_id)
        reach("net.detach.forgotten")
        self._let_go(container_id)

    def close(self, *, remove: bool) -> None:
        """Let go of every namespace and port; what runs keeps its own, unless all is to go. Raises OSError."""
        if remove:
            for sandbox in self._store.sandboxes():
                self.detach(sandbox.container_id)
        for container_id in list(self._held):
            self._let_go(container_id)
        if remove:
            self._delete_leftovers(patience=0)

    # --- one network more or less ---

    def connect(self, container_id: str, network: Network, endpoint: Endpoint) -> EndpointState | None:
        """See `Networks.connect`."""
        sandbox = self._store.sandbox(container_id)
        if sandbox is None or container_id not in self._held:
            return None
        for mode in ("host", "none"):
            if mode in (sandbox.mode, network.name):
                raise PermissionDenied(
                    f"container cannot be connected to network {network.name}: network mode {mode} stands alone"
                )
        places = self._store.places(container=container_id)
        if any(place.network_id == network.id for place in places):
            raise PermissionDenied(
                f"endpoint with name {sandbox.name} already exists in network {network.name}"
            )
        place = self._choose_place(container_id, network, endpoint, taken={one.device for one in places})
        self._store.add_place(place)
        try:
            with self._inside(container_id) as inside:
                self._wire(inside, self._held[container_id].netns, [place])
                self._set_route(inside, sandbox, [*places, place])
        except BaseException:
            self._unwire([place], namespace_ends=False)
            self._store.delete_place(container_id, network.id)
            raise
        return self._state(place)

    def disconnect(self, container_id: str, network: Network) -> None:
        """See `Networks.disconnect`."""
        sandbox = self._store.sandbox(container_id)
        places = self._store.places(container=container_id)
        place = next((one for one in places if one.network_id == network.id), None)
        if sandbox is None or place is None:
            raise NotFound(f"container {container_id} is not connected to the network {network.name}")
        rest = [one for one in places if one is not place]
        self._move_ports(sandbox, place, rest)
        self._unwire([place], namespace_ends=False)
        self._store.delete_place(container_id, network.id)
        if container_id in self._held:
            with self._inside(container_id) as inside:
                self._set_route(inside, sandbox, rest)

    def attachment(self, container_id: str) -> Attachment | None:
        """How a sandbox stands, or None."""
        sandbox = self._store.sandbox(container_id)
        if sandbox is None:
            return None
        places = self._store.places(container=container_id)
        return self._attachment(sandbox, places, self._store.ports(container=container_id))

    # --- choosing ---

    def _choose_places(self, sandbox: Sandbox, wanted: Wanted) -> list[Place]:
        if sandbox.mode == "none":
            return []
        chosen: list[Place] = []
        for endpoint in wanted.endpoints or (Endpoint(sandbox.mode),):
            network = self._catalog.get(_canonical(endpoint.network))
            if any(place.network_id == network.id for place in chosen):
                continue
            taken = {place.device for place in chosen}
            chosen.append(self._choose_place(sandbox.container_id, network, endpoint, taken=taken))
        return chosen

    def _choose_place(
        self, container_id: str, network: Network, endpoint: Endpoint, *, taken: Iterable[str]
    ) -> Place:
        if not network.bridge_name:
            raise PermissionDenied(f"container cannot be connected to network {network.name}")
        if endpoint.ipv4 and network.name == "bridge":
            raise InvalidArgument(
                "invalid config for network bridge: invalid endpoint settings: "
                "user specified IP address is supported on user defined networks only"
            )
        used = self._store.used(network.id) | {network.gateway}
        ip = ipam.choose_address(network.range, used, wanted=endpoint.ipv4, ip_range=network.ip_range)
        try:
            mac = rt.mac_bytes(endpoint.mac or mac_of(ip)).hex(":")
        except ValueError as err:
            raise InvalidArgument(f"invalid MAC address: {endpoint.mac}") from err
        position = next(number for number in range(1000) if f"eth{number}" not in set(taken))
        identity = os.urandom(32).hex()
        return Place(
            container_id, network.id, identity, ip, mac, endpoint.aliases, f"veth{identity[:9]}",
            f"eth{position}", position,
        )  # fmt: skip

    def _hold_ports(
        self, sandbox: Sandbox, places: Sequence[Place], wanted: Iterable[PortBinding], held: Held
    ) -> list[PublishedPort]:
        target = self._outward(sandbox, places)
        if target is None:
            return []
        network = self._catalog.by_id(target.network_id)
        endpoint = f"{sandbox.name or sandbox.container_id[:12]} ({target.endpoint_id})"
        published: list[PublishedPort] = []
        for binding in dict.fromkeys(wanted):
            host_ip = binding.host_ip or network.host_ip
            sock, number = ports.hold(binding, host_ip, ip=target.ip, endpoint=endpoint)
            held.sockets.append(sock)
            published.append(
                PublishedPort(
                    sandbox.container_id, binding.protocol, host_ip, number, target.ip, binding.container_port
                )
            )
        return published

    def _outward(self, sandbox: Sandbox, places: Sequence[Place]) -> Place | None:
        """The endpoint that has the default route and gets the ports."""
        open_ones = [place for place in places if not self._catalog.by_id(place.network_id).internal]
        named = [place for place in open_ones if self._catalog.by_id(place.network_id).name == sandbox.gw]
        return next(iter([*named, *open_ones]), None)

    # --- the kernel's side ---

    def _wire(self, inside: Netlink, netns: int, places: Sequence[Place]) -> None:
        """Make the pairs, number their inner ends, switch all on."""
        messages = []
        for place in places:
            network = self._catalog.by_id(place.network_id)
            master = self._bridges.get(network.id)
            if master is None:
                raise FailedPrecondition(f"network {network.name} is out of order: its bridge cannot be made")
            mtu = network.mtu or self._settings.mtu
            pair = rt.Veth(place.veth, master, place.device, netns, place.mac, mtu)
            messages += [rt.add_veth(pair), rt.set_port(place.veth, isolated=not network.icc)]
        self._netlink.run(messages)
        within = []
        for place in places:
            link = rt.find_link(inside, place.device)
            if link is None:
                raise FailedPrecondition(f"device {place.device} vanished from its namespace")
            prefix = self._catalog.by_id(place.network_id).range.prefixlen
            within += [
                rt.add_address(link.index, IPv4Interface(f"{place.ip}/{prefix}")),
                rt.set_up(link.index),
            ]
        inside.run(within + [rt.settle(place.device) for place in places])
        bridges = [self._catalog.by_id(place.network_id).bridge_name for place in places]
        self._netlink.run([rt.settle(name) for name in [*(place.veth for place in places), *bridges]])

    def _gateway(self, sandbox: Sandbox, places: Sequence[Place]) -> str:
        target = self._outward(sandbox, places)
        return self._gateway_in(self._catalog.by_id(target.network_id)) if target else ""

    def _gateway_in(self, network: Network) -> str:
        if network.internal:
            return ""
        return (network.name == "bridge" and self._settings.default_gateway) or network.gateway

    def _set_route(self, inside: Netlink, sandbox: Sandbox, places: Sequence[Place]) -> None:
        gateway = self._gateway(sandbox, places)
        inside.run([rt.set_default_route(gateway) if gateway else rt.delete_default_route()])

    @contextlib.contextmanager
    def _inside(self, container_id: str) -> Iterator[Netlink]:
        with Namespace.enter(self._held[container_id].netns).join() as inside:
            yield inside

    def _unwire(self, places: Iterable[Place], *, namespace_ends: bool) -> None:
        """Take the pairs away; those of a namespace that ends are left to the kernel, out of use."""
        messages = []
        for place in places:
            if namespace_ends:
                messages.append(rt.release_link(place.veth))
                self._released.append((time.monotonic(), place.veth))
            else:
                messages.append(rt.delete_link(place.veth))
            if place.mac != mac_of(place.ip) and place.network_id in self._bridges:
                messages.append(rt.forget_neighbour(self._bridges[place.network_id], place.ip))
        try:
            self._netlink.run(messages)
        except OSError as err:
            _log.warning("veth cannot be removed: %s", err)

    def _delete_leftovers(self, patience: float = _PATIENCE) -> None:
        """A namespace that somebody else still holds does not end: after a while its pairs go by our hand."""
        while self._released and self._released[0][0] < time.monotonic() - patience:
            veth = self._released.popleft()[1]
            if rt.find_link(self._netlink, veth) is not None:
                self._netlink.run([rt.delete_link(veth)])

    def _shut(self, published: Sequence[PublishedPort]) -> None:
        if not published:
            return
        try:
            self._rules.shut(published)
        except OSError:  # not as we left it: write it anew, without these
            gone = set(published)
            rest = [port for port in self._store.ports() if port not in gone]
            self._rules.rebuild(self._catalog.all(), rest)

    def _move_ports(self, sandbox: Sandbox, place: Place, rest: Sequence[Place]) -> None:
        published = [
            port for port in self._store.ports(container=sandbox.container_id) if port.ip == place.ip
        ]
        if not published:
            return
        self._shut(published)
        if target := self._outward(sandbox, rest):
            self._store.move_ports(sandbox.container_id, target.ip)
            self._rules.open([replace(port, ip=target.ip) for port in published])

    def _undo(self, container_id: str) -> None:
        try:
            self.detach(container_id)
        except Exception as err:
            _log.warning("container %s: half an attachment is left: %s", container_id, err)

    def _let_go(self, container_id: str) -> None:
        held = self._held.pop(container_id, None)
        if held is not None:
            held.close()

    # --- what callers see ---

    def _attachment(
        self, sandbox: Sandbox, places: Iterable[Place], published: Iterable[PublishedPort]
    ) -> Attachment:
        held = self._held.get(sandbox.container_id)
        path = f"/proc/{os.getpid()}/fd/{held.netns}" if held and held.netns >= 0 else ""
        endpoints = {self._catalog.by_id(place.network_id).name: self._state(place) for place in places}
        if sandbox.mode in ("host", "none"):
            network = self._catalog.get(sandbox.mode)
            endpoints[sandbox.mode] = EndpointState(network.id, "", "", 0, "", "")
        listed: dict[str, tuple[tuple[str, int], ...]] = {}
        for port in published:
            listed[port.key] = (*listed.get(port.key, ()), (port.host_ip, port.host_port))
        return Attachment(path, endpoints, listed)

    def _state(self, place: Place) -> EndpointState:
        network = self._catalog.by_id(place.network_id)
        return EndpointState(
            network.id, place.endpoint_id, place.ip, network.range.prefixlen, self._gateway_in(network),
            place.mac, place.aliases,
        )  # fmt: skip

    def states(self, network: Network) -> dict[str, EndpointState]:
        """container id -> endpoint, of one network."""
        return {place.container_id: self._state(place) for place in self._store.places(network=network.id)}


def _canonical(name: str) -> str:
    return "bridge" if name in ("", "default") else name


def _mode(wanted: Wanted) -> str:
    return _canonical(wanted.mode)


def _abandon(namespace: Namespace) -> None:
    with contextlib.suppress(OSError):
        namespace.join().close()
        os.close(namespace.fd)
