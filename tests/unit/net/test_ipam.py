"""Subnets and addresses: chosen in order, never twice, refused in words."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakobune.errors import InvalidArgument, PermissionDenied, ResourceExhausted
from hakobune.net import ipam
from hakobune.net.model import DEFAULT_POOLS

SUBNET = IPv4Network("10.0.0.0/29")


def test_the_first_subnet_is_dockers() -> None:
    assert ipam.choose_subnet(DEFAULT_POOLS, []) == IPv4Network("172.17.0.0/16")


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        (["172.17.0.0/16"], "172.18.0.0/16"),
        (["172.16.0.0/12"], "192.168.0.0/20"),
        (["172.16.0.0/12", "192.168.15.0/24"], "192.168.16.0/20"),
        (["172.17.4.0/24", "10.0.0.0/8"], "172.18.0.0/16"),
    ],
)
def test_subnets_in_use_are_passed_over(taken: list[str], expected: str) -> None:
    assert ipam.choose_subnet(DEFAULT_POOLS, [IPv4Network(one) for one in taken]) == IPv4Network(expected)


def test_no_subnet_left() -> None:
    with pytest.raises(ResourceExhausted, match="fully subnetted"):
        ipam.choose_subnet([("10.0.0.0/24", 24)], [IPv4Network("10.0.0.0/8")])


def test_a_pool_smaller_than_its_parts() -> None:
    with pytest.raises(InvalidArgument, match="larger than its base"):
        ipam.choose_subnet([("10.0.0.0/24", 16)], [])


def test_addresses_are_given_lowest_first() -> None:
    used = {"10.0.0.1"}
    for last in range(2, 7):
        address = ipam.choose_address(SUBNET, used)
        assert address == f"10.0.0.{last}"
        used.add(address)
    with pytest.raises(ResourceExhausted, match="no available IPv4 addresses"):
        ipam.choose_address(SUBNET, used)


def test_a_range_within_the_subnet() -> None:
    subnet = IPv4Network("10.0.0.0/24")
    assert ipam.choose_address(subnet, {"10.0.0.1"}, ip_range="10.0.0.128/25") == "10.0.0.128"
    with pytest.raises(InvalidArgument, match="not within"):
        ipam.choose_address(subnet, (), ip_range="10.0.1.0/25")


@pytest.mark.parametrize("wanted", ["10.0.0.0", "10.0.0.7", "10.0.1.1", "nonsense", "::1"])
def test_wanted_addresses_that_cannot_be(wanted: str) -> None:
    with pytest.raises(InvalidArgument):
        ipam.choose_address(SUBNET, (), wanted=wanted)


def test_a_wanted_address_that_is_taken() -> None:
    assert ipam.choose_address(SUBNET, {"10.0.0.1"}, wanted="10.0.0.5") == "10.0.0.5"
    with pytest.raises(PermissionDenied, match="already in use"):
        ipam.choose_address(SUBNET, {"10.0.0.5"}, wanted="10.0.0.5")


@given(st.integers(16, 30), st.sets(st.integers(1, 50)))
def test_what_is_chosen_is_free_and_inside(prefix: int, taken: set[int]) -> None:
    subnet = IPv4Network(f"10.1.0.0/{prefix}")
    used = {str(subnet.network_address + number) for number in taken}
    try:
        address = ipam.choose_address(subnet, used)
    except ResourceExhausted:
        assert len(taken) >= subnet.num_addresses - 2
        return
    assert address not in used
    assert address in {str(host) for host in subnet.hosts()} if prefix > 24 else True


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.1/31", "10.0.0/24", "fd00::1/64", ""])
def test_bad_bridge_addresses(text: str) -> None:
    with pytest.raises(InvalidArgument):
        ipam.parse_interface(text)


@pytest.mark.parametrize("text", ["10.0.0.0/31", "fd00::/64", "x", "10.0.0.0/33"])
def test_bad_subnets(text: str) -> None:
    with pytest.raises(InvalidArgument):
        ipam.parse_subnet(text)


def test_gateways() -> None:
    assert ipam.choose_gateway(SUBNET, "") == "10.0.0.1"
    assert ipam.choose_gateway(SUBNET, "10.0.0.6") == "10.0.0.6"
    with pytest.raises(InvalidArgument, match="no matching subnet"):
        ipam.choose_gateway(SUBNET, "10.0.1.6")
