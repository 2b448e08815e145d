"""Networks of one engine: made, listed, removed; containers attached to them and detached.

`Networks` is all that is done; an event loop asks for it through `net.door`. It talks to the kernel over netlink
alone, and every call is synchronous: an attach takes some 2 ms, most of it inside the kernel, and more while a
namespace ends. All that an engine makes carries its mark (bridges) or its name (the rules' table), so several
engines run side by side. Errors of the kernel that nobody foresees come out as Internal. Imports: linux, persist, errors, the room's own.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator
from ipaddress import IPv4Network

from hakobune.errors import Conflict, FailedPrecondition, HakoError, Internal, PermissionDenied
from hakobune.linux import rtnetlink as rt
from hakobune.linux.netlink import NETLINK_NETFILTER, Netlink
from hakobune.net import bridge
from hakobune.net.catalog import PREDEFINED, Catalog
from hakobune.net.model import (
    Attachment,
    CreateNetwork,
    Endpoint,
    EndpointState,
    Network,
    PortBinding,
    Settings,
    Wanted,
)
from hakobune.net.rules import Rules
from hakobune.net.sandbox import Sandboxes
from hakobune.net.store import Store
from hakobune.persist.database import Database

__all__ = [
    "Attachment",
    "CreateNetwork",
    "Endpoint",
    "EndpointState",
    "Network",
    "Networks",
    "PortBinding",
    "Settings",
    "Wanted",
]

_log = logging.getLogger(__name__)

# Named here because `list` means the method within the class.
Listing = list[Network]
Names = list[str]
Subnets = list[IPv4Network]


class Networks:
    """Life cycle: made, `start`, used from one thread (`list` and `get` from any), `close`. Killed at any point,
    the next start repairs.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        """The database is ours from now on: `close` closes it."""
        self._database = database
        self._settings = settings
        self._store = Store(database)
        self._catalog = Catalog(self._store, settings)
        self._bridges: dict[str, int] = {}  # network id -> index of its bridge
        self._netlink = Netlink()
        self._filter = Netlink(NETLINK_NETFILTER)
        self._rules = Rules(self._filter, settings.bridge)
        self._sandboxes = Sandboxes(
            self._store, self._catalog, settings, self._bridges, self._netlink, self._rules
        )

    def start(self) -> None:
        """Make or repair bridges, switches and rules; forget sandboxes whose namespace is gone.

        Idempotent; what runs is not disturbed. Raises FailedPrecondition when the default bridge's name or
        subnet is used by others; a network of users that cannot be made is logged and stays out of order.
        """
        with _kernel("start of the network"):
            before = [network for network in self._catalog.bridged() if network.name == "bridge"]
            self._catalog.ensure_predefined(self._foreign_subnets())
            self._rename(before)
            for network in self._catalog.bridged():
                try:
                    self._ensure(network)
                except (HakoError, OSError) as err:
                    if network.name == "bridge":
                        raise
                    _log.error("network %s is out of order: %s", network.name, err)
            self._forget_dead()
            if self._settings.ip_forward:
                bridge.set_switch("net/ipv4/ip_forward", "1")
            self._rebuild()

    def close(self, *, remove: bool) -> None:
        """Let go of descriptors and the database; with `remove` (no container runs) also take all out of the kernel."""
        with _kernel("end of the network"):
            self._sandboxes.close(remove=remove)
            if remove:
                self._rules.remove()
                for network in self._catalog.bridged():
                    bridge.remove(self._netlink, network)
                self._bridges.clear()
        self._netlink.close()
        self._filter.close()
        self._database.close()

    # --- networks ---

    def list(self) -> Listing:
        """All networks, oldest first."""
        return self._catalog.all()

    def get(self, reference: str) -> Network:
        """By name, id, or unambiguous beginning of the id. Raises NotFound, InvalidArgument."""
        return self._catalog.get(reference)

    def create(self, request: CreateNetwork) -> Network:
        """Make a bridge network. Raises as `Catalog.plan`; FailedPrecondition when the bridge is others'."""
        with _kernel(f"network {request.name}"):
            network = self._catalog.plan(request, self._foreign_subnets())
            self._ensure(network)
            try:
                self._catalog.save(network)
                self._rebuild()
            except BaseException:
                self._catalog.forget(network)
                self._discard(network)
                raise
        return network

    def remove(self, reference: str) -> None:
        """Take a network away. Raises NotFound, PermissionDenied (predefined, or containers are on it)."""
        network = self._catalog.get(reference)
        if network.name in PREDEFINED:
            raise PermissionDenied(f"{network.name} is a pre-defined network and cannot be removed")
        if users := self.in_use(network.id):
            names = ", ".join(user[:12] for user in users)
            raise PermissionDenied(
                f"error while removing network: network {network.name} has active endpoints ({names})"
            )
        with _kernel(f"network {network.name}"):
            self._catalog.forget(network)
            self._rebuild()
            self._discard(network)

    def prune(self, used: Collection[str]) -> Names:
        """Remove users' networks on which nothing is, except `used` (names or ids); returns their names."""
        removed: Names = []
        for network in self._catalog.all():
            if (
                network.name in PREDEFINED
                or {network.name, network.id} & set(used)
                or self.in_use(network.id)
            ):
                continue
            self.remove(network.id)
            removed.append(network.name)
        return removed

    def in_use(self, reference: str) -> Names:
        """Ids of the containers attached to a network. Raises NotFound."""
        network = self._catalog.get(reference)
        if not network.bridge_name:
            return [box.container_id for box in self._store.sandboxes() if box.mode == network.name]
        return sorted(self._sandboxes.states(network))

    def endpoints(self, reference: str) -> dict[str, EndpointState]:
        """container id -> endpoint, of one network. Raises NotFound."""
        network = self._catalog.get(reference)
        return self._sandboxes.states(network) if network.bridge_name else {}

    # --- containers ---

    def attach(self, container_id: str, wanted: Wanted) -> Attachment:
        """Make the container's namespace with all it asks for; one that was there is replaced.

        Raises NotFound (network), InvalidArgument, PermissionDenied (address in use), ResourceExhausted
        (addresses), Internal (port in use, in Docker's words). After a failure nothing is left.
        """
        with _kernel(f"network of container {container_id[:12]}"):
            return self._sandboxes.attach(container_id, wanted)

    def adopt(self, container_id: str, init_pid: int) -> Attachment:
        """After a new start of the engine: hold a running container's namespace and ports again.

        Raises NotFound when it was never attached, FailedPrecondition when the process is gone.
        """
        with _kernel(f"network of container {container_id[:12]}"):
            return self._sandboxes.adopt(container_id, init_pid)

    def detach(self, container_id: str) -> None:
        """Give back veth, addresses, ports, rules and the namespace; nothing to give back is fine."""
        with _kernel(f"network of container {container_id[:12]}"):
            self._sandboxes.detach(container_id)

    def containers(self) -> set[str]:
        """Ids of all that are attached."""
        return {box.container_id for box in self._store.sandboxes()}

    def keep(self, containers: Collection[str]) -> None:
        """After a crash: detach whatever is none of these containers."""
        for container_id in self.containers().difference(containers):
            self.detach(container_id)

    def attachment(self, container_id: str) -> Attachment | None:
        """How a container is attached now, or None."""
        return self._sandboxes.attachment(container_id)

    def connect(self, container_id: str, reference: str, endpoint: Endpoint) -> EndpointState | None:
        """One network more for a container that runs; None when it is not attached (nothing is done).

        Raises NotFound, PermissionDenied (already there, or host and none), and as attach.
        """
        network = self._catalog.get(reference)
        with _kernel(f"network {network.name}"):
            return self._sandboxes.connect(container_id, network, endpoint)

    def disconnect(self, container_id: str, reference: str) -> None:
        """One network less. Raises NotFound when the container is not on it."""
        network = self._catalog.get(reference)
        with _kernel(f"network {network.name}"):
            self._sandboxes.disconnect(container_id, network)

    # --- inner ---

    def _ensure(self, network: Network) -> None:
        mtu = network.mtu or self._settings.mtu
        self._bridges[network.id] = bridge.ensure(self._netlink, network, mtu=mtu)

    def _rename(self, before: Listing) -> None:
        """Another name for the default bridge than at the last run: the old one goes with its table."""
        for network in before:
            if network.bridge_name != self._settings.bridge:
                # a start that was refused may have left the name of another engine's bridge here
                if bridge.remove(self._netlink, network):
                    Rules(self._filter, network.bridge_name).remove()

    def _discard(self, network: Network) -> None:
        bridge.remove(self._netlink, network)
        self._bridges.pop(network.id, None)

    def _rebuild(self) -> None:
        self._rules.rebuild(self._catalog.all(), self._store.ports())

    def _foreign_subnets(self) -> Subnets:
        """Subnets that the host has a route to, other than by our bridges."""
        names = {network.bridge_name for network in self._catalog.bridged()}
        ours = {link.index for link in rt.list_links(self._netlink) if link.name in names}
        return [subnet for subnet, index in rt.routes(self._netlink) if index not in ours]

    def _forget_dead(self) -> None:
        """A namespace that is gone took its veths with it; a veth of ours that nobody knows goes, too."""
        present = {link.name for link in rt.list_links(self._netlink)}
        places = self._store.places()
        living = {place.container_id for place in places if place.veth in present}
        for container_id in {place.container_id for place in places} - living:
            self._store.delete(container_id)
        bridge.sweep(self._netlink, self._bridges.values(), {place.veth for place in places})


@contextlib.contextmanager
def _kernel(what: str) -> Iterator[None]:
    """Errors of the kernel as errors of ours."""
    try:
        yield
    except FileExistsError as err:
        raise Conflict(f"{what}: {err}") from err
    except PermissionError as err:
        raise FailedPrecondition(f"{what}: {err}") from err
    except OSError as err:
        raise Internal(f"{what}: {err}") from err
