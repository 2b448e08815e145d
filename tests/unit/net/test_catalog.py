"""Networks by name and id, planned and revised, without a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from hakobune.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from hakobune.net.catalog import Catalog
from hakobune.net.model import CreateNetwork, Settings
from hakobune.net.store import MIGRATIONS, Store
from hakobune.persist.database import Database


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    database = Database.open(f"{tmp_path}/network.db", MIGRATIONS)
    yield Store(database)
    database.close()


@pytest.fixture
def catalog(store: Store) -> Catalog:
    made = Catalog(store, Settings())
    made.ensure_predefined([])
    return made


def test_three_networks_are_always_there(catalog: Catalog) -> None:
    assert [(network.name, network.driver) for network in catalog.all()] == [
        ("bridge", "bridge"),
        ("host", "host"),
        ("none", "null"),
    ]
    default = catalog.default()
    assert (default.subnet, default.gateway, default.bridge_name) == ("172.17.0.0/16", "172.17.0.1", "hako0")
    assert (default.icc, default.masquerade, default.mtu, default.host_ip) == (True, True, 1500, "0.0.0.0")


def test_they_are_kept_with_their_ids(catalog: Catalog, store: Store) -> None:
    again = Catalog(store, Settings())
    again.ensure_predefined([])
    assert again.all() == catalog.all()


def test_the_default_bridge_follows_the_settings(catalog: Catalog, store: Store) -> None:
    again = Catalog(
        store, Settings(bip="10.9.0.1/24", icc=False, mtu=1400, ip_masq=False, host_ip="127.0.0.1")
    )
    again.ensure_predefined([])
    default = again.default()
    assert default.id == catalog.default().id
    assert (default.subnet, default.gateway) == ("10.9.0.0/24", "10.9.0.1")
    assert (default.icc, default.masquerade, default.mtu, default.host_ip) == (
        False,
        False,
        1400,
        "127.0.0.1",
    )


def test_a_subnet_that_came_into_use_is_left(catalog: Catalog, store: Store) -> None:
    again = Catalog(store, Settings())
    again.ensure_predefined([IPv4Network("172.17.0.0/24")])
    assert again.default().subnet == "172.18.0.0/16"
    with pytest.raises(FailedPrecondition, match="in use"):
        Catalog(store, Settings(bip="10.1.0.1/16")).ensure_predefined([IPv4Network("10.1.2.0/24")])


def test_references(catalog: Catalog) -> None:
    one, two = (
        replace(catalog.default(), id=digit * 64, name=name) for digit, name in (("1", "x"), ("2", "1111"))
    )
    catalog.save(one)
    catalog.save(two)
    catalog.save(replace(one, id="1" * 63 + "0", name="y"))
    assert catalog.get("1" * 64) is one
    assert catalog.get("1111") is two
    with pytest.raises(InvalidArgument, match="ambiguous"):
        catalog.get("111")
    for missing in ("nope", ""):
        with pytest.raises(NotFound, match=f"network {missing} not found"):
            catalog.get(missing)


def test_plans(catalog: Catalog) -> None:
    made = catalog.plan(CreateNetwork("web"), [IPv4Network("172.18.0.0/16")])
    assert (made.subnet, made.gateway, made.bridge_name) == (
        "172.19.0.0/16",
        "172.19.0.1",
        f"br-{made.id[:12]}",
    )
    asked = CreateNetwork(
        "web", subnet="10.3.0.0/24", gateway="10.3.0.9", ip_range="10.3.0.64/26", internal=True
    )
    made = catalog.plan(asked, [IPv4Network("10.0.0.0/8")])
    assert (made.subnet, made.gateway, made.ip_range) == ("10.3.0.0/24", "10.3.0.9", "10.3.0.64/26")
    assert not made.masquerade


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (CreateNetwork("bridge"), PermissionDenied),
        (CreateNetwork("default"), PermissionDenied),
        (CreateNetwork("a b"), InvalidArgument),
        (CreateNetwork(""), InvalidArgument),
        (CreateNetwork("x", driver="overlay"), NotFound),
        (CreateNetwork("x", driver="host"), PermissionDenied),
        (CreateNetwork("x", subnet="172.17.3.0/24"), PermissionDenied),
        (CreateNetwork("x", subnet="fd00::/64"), InvalidArgument),
        (CreateNetwork("x", gateway="10.0.0.1"), InvalidArgument),
        (
            CreateNetwork("x", options={"com.docker.network.bridge.name": "much-too-long-name"}),
            InvalidArgument,
        ),
        (CreateNetwork("x", options={"com.docker.network.bridge.name": "hako0"}), Conflict),
        (CreateNetwork("x", options={"com.docker.network.driver.mtu": "big"}), InvalidArgument),
        (CreateNetwork("x", options={"com.docker.network.bridge.host_binding_ipv4": "x"}), InvalidArgument),
    ],
)
def test_refusals(catalog: Catalog, request_: CreateNetwork, error: type[Exception]) -> None:
    with pytest.raises(error):
        catalog.plan(request_, [])
