"""The edge of networks: documents and refusals in Docker's shape, connect and disconnect of containers."""

from __future__ import annotations

from typing import Any, Protocol

from hakobune.engine.containers.deps import Bus
from hakobune.engine.containers.model import Container
from hakobune.engine.containers.start import endpoint_of, settings
from hakobune.engine.containers.store import Store
from hakobune.engine.http.message import Request, Response, json_response
from hakobune.engine.http.router import Route
from hakobune.engine.schema.filters import Filters
from hakobune.engine.schema.shape import checked
from hakobune.engine.schema.times import rfc3339
from hakobune.errors import Conflict, InvalidArgument, NotFound, PermissionDenied
from hakobune.net.model import Attachment, CreateNetwork, Endpoint, EndpointState, Network

_CREATE: dict[str, tuple[type, Any]] = {
    "Name": (str, ""),
    "Driver": (str, "bridge"),
    "IPAM": (dict, {}),
    "Internal": (bool, False),
    "Attachable": (bool, False),
    "EnableIPv6": (bool, False),
    "Options": (dict, {}),
    "Labels": (dict, {}),
}
_FILTERS = ("dangling", "driver", "id", "label", "name", "scope", "type")
PREDEFINED = ("bridge", "host", "none")


class Networks(Protocol):
    """What this edge calls; see net.networks."""

    def list(self) -> list[Network]: ...
    def get(self, reference: str) -> Network: ...
    def create(self, request: CreateNetwork) -> Network: ...
    def remove(self, reference: str) -> None: ...
    def endpoints(self, reference: str) -> dict[str, EndpointState]: ...
    def connect(self, container_id: str, reference: str, endpoint: Endpoint) -> EndpointState | None: ...
    def disconnect(self, container_id: str, reference: str) -> None: ...
    def attachment(self, container_id: str) -> Attachment | None: ...


class Edge:
    """The handlers of /networks."""

    def __init__(self, networks: Networks, store: Store, bus: Bus) -> None:
        self._networks = networks
        self._store = store
        self._bus = bus

    # --- documents ---

    def _document(self, network: Network, *, containers: bool) -> dict[str, Any]:
        config = [{"Subnet": network.subnet, "Gateway": network.gateway}] if network.subnet else []
        if config and network.ip_range:
            config[0]["IPRange"] = network.ip_range
        return {
            "Name": network.name,
            "Id": network.id,
            "Created": rfc3339(network.created),
            "Scope": "local",
            "Driver": network.driver,
            "EnableIPv4": True,
            "EnableIPv6": False,
            "IPAM": {"Driver": "default", "Options": None, "Config": config},
            "Internal": network.internal,
            "Attachable": network.attachable,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": self._containers(network) if containers else {},
            "Options": dict(network.options),
            "Labels": dict(network.labels),
        }

    def _containers(self, network: Network) -> dict[str, Any]:
        found = {}
        for identity, state in self._networks.endpoints(network.id).items():
            container = self._store.find(identity)
            found[identity] = {
                "Name": container.name if container else identity[:12],
                "EndpointID": state.endpoint_id,
                "MacAddress": state.mac,
                "IPv4Address": f"{state.ip}/{state.prefix_len}" if state.ip else "",
                "IPv6Address": "",
            }
        return found

    def _fits(self, network: Network, filters: Filters) -> bool:
        own = network.name not in PREDEFINED
        if "type" in filters and ("custom" if own else "builtin") not in filters.get("type"):
            return False
        if "dangling" in filters:
            dangling = own and not self._networks.endpoints(network.id)
            if filters.bool("dangling", True) != dangling:
                return False
        names, ids = filters.get("name"), filters.get("id")
        if names and not any(wanted in network.name for wanted in names):
            return False
        if ids and not any(network.id.startswith(wanted) for wanted in ids):
            return False
        return (
            filters.any_of("driver", [network.driver])
            and filters.any_of("scope", ["local"])
            and filters.labels(network.labels)
        )

    # --- handlers ---

    async def listing(self, request: Request) -> Response:
        """GET /networks."""
        filters = request.query.filters()
        filters.check(_FILTERS)
        return json_response(
            [
                self._document(one, containers=False)
                for one in self._networks.list()
                if self._fits(one, filters)
            ]
        )

    async def show(self, request: Request) -> Response:
        """GET /networks/{id}."""
        return json_response(self._document(self._networks.get(request.params["id"]), containers=True))

    async def create(self, request: Request) -> Response:
        """POST /networks/create."""
        body = checked(await request.json(), _CREATE, "NetworkCreate")
        if not body["Name"]:
            raise InvalidArgument("network name is empty: give it one")
        if body["Driver"] != "bridge":
            raise NotFound(
                f'could not find plugin {body["Driver"]} in v1 plugin registry: plugin "{body["Driver"]}" not found'
            )
        if body["EnableIPv6"]:
            raise InvalidArgument("IPv6 networks are not served yet")
        pools = body["IPAM"].get("Config") or [{}]
        if len(pools) > 1:
            raise InvalidArgument("bridge driver doesn't support multiple subnets")
        network = self._networks.create(
            CreateNetwork(
                name=body["Name"],
                subnet=pools[0].get("Subnet") or "",
                gateway=pools[0].get("Gateway") or "",
                ip_range=pools[0].get("IPRange") or "",
                labels=body["Labels"],
                options=body["Options"],
                internal=body["Internal"],
                attachable=body["Attachable"],
            )
        )
        self._tell("create", network)
        return json_response({"Id": network.id, "Warning": ""}, 201)

    async def remove(self, request: Request) -> Response:
        """DELETE /networks/{id}."""
        network = self._networks.get(request.params["id"])
        if network.name in PREDEFINED:
            raise PermissionDenied(f"{network.name} is a pre-defined network and cannot be removed")
        if users := self._containers(network):
            words = " ".join(
                f'name:"{user["Name"]}" id:"{identity[:12]}"' for identity, user in users.items()
            )
            raise PermissionDenied(
                f"error while removing network: network {network.name} has active endpoints ({words})"
            )
        self._networks.remove(network.id)
        self._tell("destroy", network)
        return Response(204)

    async def prune(self, request: Request) -> Response:
        """POST /networks/prune."""
        filters = request.query.filters()
        filters.check(("label", "label!", "until"))
        wanted = {name for one in self._store for name in (one.host["NetworkMode"], *one.endpoints)}
        gone = []
        for network in self._networks.list():
            used = network.name in wanted or network.id in wanted or self._networks.endpoints(network.id)
            if network.name in PREDEFINED or used or not filters.labels(network.labels):
                continue
            self._networks.remove(network.id)
            self._tell("destroy", network)
            gone.append(network.name)
        return json_response({"NetworksDeleted": gone or None})

    async def connect(self, request: Request) -> Response:
        """POST /networks/{id}/connect."""
        body = checked(
            await request.json(), {"Container": (str, ""), "EndpointConfig": (dict, {})}, "NetworkConnect"
        )
        network = self._networks.get(request.params["id"])
        container = self._store.get(body["Container"])
        _check_mode(container, network)
        async with container.lock:
            if network.name in container.endpoints or network.name == container.host["NetworkMode"]:
                raise PermissionDenied(
                    f"endpoint with name {container.name} already exists in network {network.name}"
                )
            if container.state.running:
                self._networks.connect(
                    container.id, network.id, endpoint_of(network.name, body["EndpointConfig"], container)
                )
                self._refresh(container)
            container.endpoints[network.name] = body["EndpointConfig"]
            self._store.save(container)
        self._tell("connect", network, container=container.id)
        return Response(200)

    async def disconnect(self, request: Request) -> Response:
        """POST /networks/{id}/disconnect."""
        body = checked(
            await request.json(), {"Container": (str, ""), "Force": (bool, False)}, "NetworkDisconnect"
        )
        network = self._networks.get(request.params["id"])
        container = self._store.get(body["Container"])
        async with container.lock:
            if network.name not in container.endpoints and network.name != container.host["NetworkMode"]:
                raise PermissionDenied(f"container {container.id} is not connected to network {network.name}")
            if container.state.running:
                self._networks.disconnect(container.id, network.id)
                self._refresh(container)
            container.endpoints.pop(network.name, None)
            if container.host["NetworkMode"] == network.name:
                container.host["NetworkMode"] = next(iter(container.endpoints), "none")
            self._store.save(container)
        self._tell("disconnect", network, container=container.id)
        return Response(200)

    def _refresh(self, container: Container) -> None:
        attachment = self._networks.attachment(container.id)
        if attachment is not None:
            container.network = settings(attachment)

    def _tell(self, action: str, network: Network, **more: str) -> None:
        self._bus.publish(
            "network", action, network.id, {"name": network.name, "type": network.driver, **more}
        )


def _check_mode(container: Container, network: Network) -> None:
    mode = container.host["NetworkMode"]
    if network.name in ("host", "none") or mode in ("host", "none") or mode.startswith("container:"):
        name = network.name if network.name in ("host", "none") else mode
        raise Conflict(f"container cannot be connected to network {network.name}: one of the two is {name}")


def routes(networks: Networks, store: Store, bus: Bus) -> list[Route]:
    """The table."""
    edge = Edge(networks, store, bus)
    return [
        Route("GET", "/networks", edge.listing),
        Route("POST", "/networks/create", edge.create, uninterrupted=True),
        Route("POST", "/networks/prune", edge.prune, uninterrupted=True),
        Route("GET", "/networks/{id}", edge.show),
        Route("DELETE", "/networks/{id}", edge.remove, uninterrupted=True),
        Route("POST", "/networks/{id}/connect", edge.connect, uninterrupted=True),
        Route("POST", "/networks/{id}/disconnect", edge.disconnect, uninterrupted=True),
    ]
