"""Networks at the edge: documents, refusals and filters in Docker's words, over a network room of memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hakobune.engine.http.message import Query, Request, Response
from hakobune.engine.http.router import Router
from hakobune.engine.networks.routes import routes, wanted
from hakobune.errors import HakoError, InvalidArgument, NotFound, PermissionDenied
from hakobune.net.model import CreateNetwork, EndpointState, Network

ID = {"bridge": "b" * 64, "host": "c" * 64, "none": "d" * 64}


class Room:
    """What net.door does, without a kernel or a thread."""

    def __init__(self) -> None:
        self.networks = [
            Network(ID["bridge"], "bridge", "bridge", 1, "172.17.0.0/16", "172.17.0.1", bridge_name="hako0"),
            Network(ID["host"], "host", "host", 2),
            Network(ID["none"], "none", "null", 3),
        ]
        self.on: dict[str, dict[str, EndpointState]] = {}

    def list(self) -> Any:
        return list(self.networks)

    def get(self, reference: str) -> Network:
        for network in self.networks:
            if network.name == reference or network.id.startswith(reference):
                return network
        raise NotFound(f"network {reference} not found")

    async def create(self, request: CreateNetwork) -> Network:
        made = Network(
            "e" * 64, request.name, "bridge", 1_000, request.subnet or "172.18.0.0/16", "172.18.0.1",
            request.labels, request.options, request.internal, "br-e", request.ip_range,
        )  # fmt: skip
        self.networks.append(made)
        return made

    async def remove(self, reference: str) -> None:
        self.networks.remove(self.get(reference))

    async def endpoints(self, reference: str) -> dict[str, EndpointState]:
        return self.on.get(self.get(reference).name, {})

    async def connect(self, container_id: str, reference: str, endpoint: Any) -> EndpointState:
        state = EndpointState(
            self.get(reference).id, "f" * 64, "172.18.0.2", 16, "172.18.0.1", "02:42:ac:12:00:02"
        )
        self.on.setdefault(self.get(reference).name, {})[container_id] = state
        return state

    async def disconnect(self, container_id: str, reference: str) -> None:
        del self.on[self.get(reference).name][container_id]

    async def attachment(self, container_id: str) -> None:
        return None


class Edge:
    """The routes over a Room, one container `web` and a bus that remembers."""

    def __init__(self) -> None:
        self.room = Room()
        self.told: list[tuple[str, str, str]] = []
        self.container = SimpleNamespace(
            id="a" * 64, short_id="a" * 12, name="web", host={"NetworkMode": "bridge"}, endpoints={},
            state=SimpleNamespace(running=True), lock=asyncio.Lock(), network={},
        )  # fmt: skip
        store = SimpleNamespace(
            find=lambda reference: self.container if self.container.id.startswith(reference) else None,
            get=lambda _reference: self.container, save=lambda _one: None, __iter__=None,
        )  # fmt: skip
        store_type = type("Store", (), {**vars(store), "__iter__": lambda _self: iter([self.container])})
        for name in ("find", "get", "save"):
            setattr(store_type, name, staticmethod(getattr(store, name)))
        bus = SimpleNamespace(
            publish=lambda kind, action, _actor, attributes: self.told.append(
                (kind, action, attributes["name"])
            )
        )
        self.router = Router(routes(cast("Any", self.room), cast("Any", store_type()), cast("Any", bus)))

    def ask(self, method: str, path: str, query: str = "", body: Any = None) -> Any:
        """The answer's document; raises what the handler raises."""

        async def parts() -> AsyncIterator[bytes]:
            yield b"" if body is None else json.dumps(body).encode()

        request = Request(method, path, Query(query), {}, (1, 51), cast("Any", SimpleNamespace(body=parts)))
        route, request.params = self.router.find(method, path)
        answer = asyncio.run(_run(route.handler(request)))
        assert isinstance(answer, Response)
        return json.loads(cast("bytes", answer.body)) if answer.body else answer.status


async def _run(work: Any) -> Any:
    return await work


@pytest.fixture
def edge() -> Edge:
    return Edge()


def filtered(**wanted_ones: Any) -> str:
    return "filters=" + json.dumps({name.rstrip("_"): value for name, value in wanted_ones.items()})


def test_a_network_has_dockers_shape(edge: Edge) -> None:
    shown = edge.ask("GET", "/networks/bridge")
    assert shown["Id"] == ID["bridge"]
    assert shown["IPAM"] == {
        "Driver": "default", "Options": None, "Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}],
    }  # fmt: skip
    assert shown["Scope"] == "local"
    assert shown["Containers"] == {}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["bridge", "host", "none", "dock"]),
        (filtered(type=["custom"]), ["dock"]),
        (filtered(type=["builtin"]), ["bridge", "host", "none"]),
        (filtered(type={"custom": True}), ["dock"]),
        (filtered(driver=["null", "host"]), ["host", "none"]),
        (filtered(name=["o"]), ["host", "none", "dock"]),
        (filtered(id=["eee"]), ["dock"]),
        (filtered(label=["a"]), ["dock"]),
        (filtered(label=["a=c"]), []),
        (filtered(scope=["swarm"]), []),
        (filtered(dangling=["true"]), ["dock"]),
        (filtered(dangling=["false"]), ["bridge", "host", "none"]),
    ],
)
def test_filters(edge: Edge, query: str, names: list[str]) -> None:
    edge.ask("POST", "/networks/create", body={"Name": "dock", "Labels": {"a": "b"}})
    assert [one["Name"] for one in edge.ask("GET", "/networks", query)] == names


@pytest.mark.parametrize(
    "query", [filtered(nonsense=["x"]), filtered(type=["x"]), "filters=[", 'filters={"id":1}']
)
def test_filters_that_say_nothing(edge: Edge, query: str) -> None:
    with pytest.raises(InvalidArgument):
        edge.ask("GET", "/networks", query)


def test_made_and_removed_with_events(edge: Edge) -> None:
    made = edge.ask(
        "POST", "/networks/create", body={"Name": "dock", "CheckDuplicate": True, "Driver": "bridge"}
    )
    assert made == {"Id": "e" * 64, "Warning": ""}
    assert edge.ask("DELETE", "/networks/dock") == 204
    assert edge.told == [("network", "create", "dock"), ("network", "destroy", "dock")]


def test_predefined_and_busy_ones_stay(edge: Edge) -> None:
    with pytest.raises(PermissionDenied, match="bridge is a pre-defined network and cannot be removed"):
        edge.ask("DELETE", "/networks/bridge")
    edge.ask("POST", "/networks/create", body={"Name": "dock"})
    edge.ask("POST", "/networks/dock/connect", body={"Container": "web"})
    with pytest.raises(PermissionDenied) as refusal:
        edge.ask("DELETE", "/networks/dock")
    assert str(refusal.value) == (
        'error while removing network: network dock has active endpoints (name:"web" id:"ffffffffffff")'
    )
    shown = edge.ask("GET", "/networks/dock")["Containers"]["a" * 64]
    assert shown == {
        "Name": "web", "EndpointID": "f" * 64, "MacAddress": "02:42:ac:12:00:02", "IPv4Address": "172.18.0.2/16",
        "IPv6Address": "",
    }  # fmt: skip


def test_connect_and_disconnect(edge: Edge) -> None:
    edge.ask("POST", "/networks/create", body={"Name": "dock"})
    edge.ask(
        "POST", "/networks/dock/connect", body={"Container": "web", "EndpointConfig": {"Aliases": ["w"]}}
    )
    with pytest.raises(PermissionDenied, match="endpoint with name web already exists in network dock"):
        edge.ask("POST", "/networks/dock/connect", body={"Container": "web"})
    edge.ask("POST", "/networks/dock/disconnect", body={"Container": "web"})
    with pytest.raises(PermissionDenied, match="is not connected"):
        edge.ask("POST", "/networks/dock/disconnect", body={"Container": "web"})
    assert [action for _, action, _ in edge.told] == ["create", "connect", "disconnect"]


@pytest.mark.parametrize("network", ["host", "none"])
def test_host_and_none_take_nobody_in(edge: Edge, network: str) -> None:
    with pytest.raises(InvalidArgument, match="container cannot be"):
        edge.ask("POST", f"/networks/{network}/connect", body={"Container": "web"})


def test_prune_keeps_what_is_used_or_too_young(edge: Edge) -> None:
    edge.ask("POST", "/networks/create", body={"Name": "dock", "Labels": {"keep": ""}})
    for query in (
        filtered(label=["other"]),
        'filters={"label!":["keep"]}',
        filtered(until=["1970-01-01T00:00:00Z"]),
    ):
        assert edge.ask("POST", "/networks/prune", query) == {"NetworksDeleted": None}
    edge.container.host["NetworkMode"] = "dock"
    assert edge.ask("POST", "/networks/prune") == {"NetworksDeleted": None}
    edge.container.host["NetworkMode"] = "bridge"
    assert edge.ask("POST", "/networks/prune", filtered(until=["1h"])) == {"NetworksDeleted": ["dock"]}


@pytest.mark.parametrize(
    "body",
    [
        {}, {"Name": ""}, {"Name": 1}, [], {"Name": "x", "Driver": "overlay"}, {"Name": "x", "EnableIPv6": True},
        {"Name": "x", "EnableIPv4": False}, {"Name": "x", "Labels": {"a": 1}}, {"Name": "x", "Options": {"a": None}},
        {"Name": "x", "IPAM": {"Config": ["10.0.0.0/8"]}}, {"Name": "x", "IPAM": {"Config": {}}},
        {"Name": "x", "IPAM": {"Config": [{}, {}]}}, {"Name": "x", "IPAM": {"Driver": "mine"}},
        {"Name": "x", "IPAM": {"Config": [{"Subnet": 10}]}}, {"Name": "x", "Ingress": True},
        {"Name": "x", "IPAM": {"Config": [{"AuxiliaryAddresses": {"a": "10.0.0.1"}}]}},
    ],
)  # fmt: skip
def test_requests_that_are_refused(body: Any) -> None:
    with pytest.raises(HakoError):
        wanted(body)


def test_a_request_in_full() -> None:
    pool = {"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.7", "IPRange": "10.9.0.128/25"}
    assert wanted(
        {"Name": "x", "IPAM": {"Config": [pool]}, "Internal": True, "Labels": {"a": "b"}, "Driver": None}
    ) == CreateNetwork("x", "bridge", "10.9.0.0/24", "10.9.0.7", "10.9.0.128/25", {"a": "b"}, {}, True)
