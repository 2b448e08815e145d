"""The edge of networks: documents and refusals in Docker's shape, connect and disconnect of containers."""

from __future__ import annotations

from collections.abc import Mapping
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
from hakobune.errors import InvalidArgument, NotFound, PermissionDenied
from hakobune.net.model import Attachment, CreateNetwork, Endpoint, EndpointState, Network

_CREATE: dict[str, tuple[type, Any]] = {
    "Name": (str, ""),
    "Driver": (str, ""),
    "IPAM": (dict, {}),
    "Internal": (bool, False),
    "Attachable": (bool, False),
    "EnableIPv4": (bool, True),
    "EnableIPv6": (bool, False),
    "Ingress": (bool, False),
    "ConfigOnly": (bool, False),
    "Options": (dict, {}),
    "Labels": (dict, {}),
}
_POOL: dict[str, tuple[type, Any]] = {
    "Subnet": (str, ""),
    "Gateway": (str, ""),
    "IPRange": (str, ""),
    "AuxiliaryAddresses": (dict, {}),
}
_ENDPOINT: dict[str, tuple[type, Any]] = {
    "IPAMConfig": (dict, {}),
    "Aliases": (list, []),
    "MacAddress": (str, ""),
}
_UNSERVED = {"Ingress": "ingress networks of a swarm", "ConfigOnly": "networks that are a configuration only"}
_FILTERS = ("dangling", "driver", "id", "label", "name", "scope", "type")
_NOWHERE = {"MacAddress": "", "IPv4Address": "", "IPv6Address": ""}
PREDEFINED = ("bridge", "host", "none")


class Networks(Protocol):
    """What this edge calls; see net.door."""

    def list(self) -> list[Network]: ...
    def get(self, reference: str) -> Network: ...
    async def create(self, request: CreateNetwork) -> Network: ...
    async def remove(self, reference: str) -> None: ...
    async def endpoints(self, reference: str) -> dict[str, EndpointState]: ...
    async def connect(
        self, container_id: str, reference: str, endpoint: Endpoint
    ) -> EndpointState | None: ...
    async def disconnect(self, container_id: str, reference: str) -> None: ...
    async def attachment(self, container_id: str) -> Attachment | None: ...


class Edge:
    """The handlers of /networks."""

    def __init__(self, networks: Networks, store: Store, bus: Bus) -> None:
        self._networks = networks
        self._store = store
        self._bus = bus

    # --- documents ---

    def _document(self, network: Network, containers: Mapping[str, Any]) -> dict[str, Any]:
        config = [{"Subnet": network.subnet, "Gateway": network.gateway}] if network.subnet else []
        if config and network.ip_range:
            config[0]["IPRange"] = network.ip_range
        builtin = network.name in PREDEFINED
        return {
            "Name": network.name,
            "Id": network.id,
            "Created": rfc3339(network.created),
            "Scope": "local",
            "Driver": network.driver,
            "EnableIPv4": True,
            "EnableIPv6": False,
            "IPAM": {"Driver": "default", "Options": None if builtin else {}, "Config": config},
            "Internal": network.internal,
            "Attachable": network.attachable,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": containers,
            "Options": dict(network.options),
            "Labels": dict(network.labels),
        }

    async def _containers(self, network: Network) -> dict[str, Any]:
        endpoints = await self._endpoints(network)
        found: dict[str, Any] = {}
        if network.name == "none":  # nobody holds a place in it: who has none is in it
            for one in self._store:
                if one.state.running and one.host["NetworkMode"] == "none" and not one.networked:
                    endpoint = (one.network.get("Networks") or {}).get("none") or {}
                    found[one.id] = {
                        "Name": one.name,
                        "EndpointID": endpoint.get("EndpointID", ""),
                        **_NOWHERE,
                    }
        for identity, state in endpoints.items():
            container = self._store.find(identity)
            found[identity] = {
                "Name": container.name if container else identity[:12],
                "EndpointID": state.endpoint_id,
                "MacAddress": state.mac,
                "IPv4Address": f"{state.ip}/{state.prefix_len}" if state.ip else "",
                "IPv6Address": "",
            }
        return found

    async def _endpoints(self, network: Network) -> dict[str, EndpointState]:
        """Of one that may have been removed meanwhile: none then."""
        try:
            return await self._networks.endpoints(network.id)
        except NotFound:
            return {}

    async def _fits(self, network: Network, filters: Filters) -> bool:
        own = network.name not in PREDEFINED
        if "type" in filters and ("custom" if own else "builtin") not in filters.get("type"):
            return False
        if "dangling" in filters:
            dangling = own and not await self._endpoints(network)
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

    def _named(self, network: Network) -> bool:
        """Whether a container, running or not, is to be on it."""
        names = {network.name, network.id}
        return any(one.host["NetworkMode"] in names or names & set(one.endpoints) for one in self._store)

    # --- handlers ---

    async def listing(self, request: Request) -> Response:
        """GET /networks."""
        filters = request.query.filters()
        filters.check(_FILTERS)
        for kind in filters.get("type"):
            if kind not in ("builtin", "custom"):
                raise InvalidArgument(f"invalid filter: 'type'='{kind}'")
        return json_response(
            [self._document(one, {}) for one in self._networks.list() if await self._fits(one, filters)]
        )

    async def show(self, request: Request) -> Response:
        """GET /networks/{id}."""
        network = self._networks.get(request.params["id"])
        return json_response(self._document(network, await self._containers(network)))

    async def create(self, request: Request) -> Response:
        """POST /networks/create."""
        network = await self._networks.create(wanted(await request.json()))
        self._tell("create", network)
        return json_response({"Id": network.id, "Warning": ""}, 201)

    async def remove(self, request: Request) -> Response:
        """DELETE /networks/{id}."""
        network = self._networks.get(request.params["id"])
        if network.name in PREDEFINED:
            raise PermissionDenied(f"{network.name} is a pre-defined network and cannot be removed")
        if users := await self._containers(network):
            words = ", ".join(
                f'name:"{user["Name"]}" id:"{user["EndpointID"][:12]}"' for user in users.values()
            )
            raise PermissionDenied(
                f"error while removing network: network {network.name} has active endpoints ({words})"
            )
        await self._networks.remove(network.id)
        self._tell("destroy", network)
        return Response(204)

    async def prune(self, request: Request) -> Response:
        """POST /networks/prune."""
        filters = request.query.filters()
        filters.check(("label", "label!", "until"))
        gone = []
        for network in self._networks.list():
            if network.name in PREDEFINED or not filters.pruned(network.labels, network.created):
                continue
            if await self._endpoints(network) or self._named(network):
                continue
            try:
                await self._networks.remove(network.id)
            except (NotFound, PermissionDenied):
                continue  # somebody else was faster: it is gone, or in use by now
            self._tell("destroy", network)
            gone.append(network.name)
        return json_response({"NetworksDeleted": gone or None})

    async def connect(self, request: Request) -> Response:
        """POST /networks/{id}/connect."""
        body = checked(
            await request.json(), {"Container": (str, ""), "EndpointConfig": (dict, {})}, "NetworkConnect"
        )
        checked(body["EndpointConfig"], _ENDPOINT, "EndpointConfig")
        network = self._networks.get(request.params["id"])
        container = self._store.get(body["Container"])
        _check_mode(container, network)
        async with container.lock:
            if network.name in container.endpoints or network.name == container.host["NetworkMode"]:
                raise PermissionDenied(
                    f"endpoint with name {container.name} already exists in network {network.name}"
                )
            if container.state.running:
                await self._networks.connect(
                    container.id, network.id, endpoint_of(network.name, body["EndpointConfig"], container)
                )
                await self._refresh(container)
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
                await self._networks.disconnect(container.id, network.id)
                await self._refresh(container)
            container.endpoints.pop(network.name, None)
            if container.host["NetworkMode"] == network.name:
                container.host["NetworkMode"] = next(iter(container.endpoints), "none")
            self._store.save(container)
        self._tell("disconnect", network, container=container.id)
        return Response(200)

    async def _refresh(self, container: Container) -> None:
        attachment = await self._networks.attachment(container.id)
        if attachment is not None:
            container.network = settings(attachment)

    def _tell(self, action: str, network: Network, **more: str) -> None:
        self._bus.publish(
            "network", action, network.id, {"name": network.name, "type": network.driver, **more}
        )


def wanted(document: Any) -> CreateNetwork:
    """A create request, checked. Raises InvalidArgument, NotFound for a driver that nobody has."""
    body = checked(document, _CREATE, "NetworkCreate")
    if not body["Name"]:
        raise InvalidArgument("network name is empty: give it one")
    driver = body["Driver"] or "bridge"
    if driver not in ("bridge", "host", "null"):
        raise NotFound(f'could not find plugin {driver} in v1 plugin registry: plugin "{driver}" not found')
    for name, word in _UNSERVED.items():
        if body[name]:
            raise InvalidArgument(f"{name}: {word} are not served")
    if body["EnableIPv6"]:
        raise InvalidArgument("IPv6 networks are not served yet")
    if not body["EnableIPv4"]:
        raise InvalidArgument("IPv4 cannot be switched off: there would be no addresses")
    pool = _pool(checked(body["IPAM"], {"Driver": (str, ""), "Config": (list, [])}, "NetworkCreate.IPAM"))
    return CreateNetwork(
        name=body["Name"],
        driver=driver,
        subnet=pool["Subnet"],
        gateway=pool["Gateway"],
        ip_range=pool["IPRange"],
        labels=_texts(body, "Labels"),
        options=_texts(body, "Options"),
        internal=body["Internal"],
        attachable=body["Attachable"],
    )


def _pool(ipam: dict[str, Any]) -> dict[str, Any]:
    """The one subnet that is asked for, empty texts where nothing is."""
    if ipam["Driver"] not in ("", "default"):
        raise InvalidArgument(f"invalid ipam driver: {ipam['Driver']}")
    if len(ipam["Config"]) > 1:
        raise InvalidArgument("bridge driver doesn't support multiple subnets")
    pool = checked(next(iter(ipam["Config"]), None), _POOL, "NetworkCreate.IPAM.Config")
    if pool["AuxiliaryAddresses"]:
        raise InvalidArgument("AuxiliaryAddresses are not served")
    return pool


def _texts(body: dict[str, Any], name: str) -> dict[str, str]:
    for key, value in body[name].items():
        if not isinstance(value, str):
            raise InvalidArgument(
                f"invalid JSON: NetworkCreate.{name}.{key}: a string is needed, got {value!r:.60}"
            )
    return dict(body[name])


def _check_mode(container: Container, network: Network) -> None:
    mode = container.host["NetworkMode"]
    if mode.startswith("container:"):
        raise InvalidArgument(
            "container sharing network namespace with another container or host cannot be connected to any other network"
        )
    if "host" in (network.name, mode):
        raise InvalidArgument(
            "container cannot be disconnected from host network or connected to host network"
        )
    if "none" in (network.name, mode):
        raise InvalidArgument(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        )


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
