"""What can be published, and the sentences for what cannot."""

from __future__ import annotations

import socket

import pytest

from hakobune.errors import HakoError, Internal, InvalidArgument, Unimplemented
from hakobune.net import ports
from hakobune.net.model import PortBinding, mac_of


@pytest.mark.parametrize(
    ("binding", "error"),
    [
        (PortBinding(80, "icmp"), InvalidArgument),
        (PortBinding(0), InvalidArgument),
        (PortBinding(70000), InvalidArgument),
        (PortBinding(80, host_port=70000), InvalidArgument),
        (PortBinding(80, host_ip="localhost"), InvalidArgument),
        (PortBinding(80, host_ip="::1"), Unimplemented),
    ],
)
def test_refusals(binding: PortBinding, error: type[HakoError]) -> None:
    with pytest.raises(error):
        ports.check(binding)


def test_any_port_and_a_port_in_use() -> None:
    sock, number = ports.hold(PortBinding(80), "127.0.0.1", ip="10.0.0.2", endpoint="web (e)")
    with sock, pytest.raises(Internal) as caught:
        ports.hold(PortBinding(80, host_port=number), "127.0.0.1", ip="10.0.0.2", endpoint="web (e)")
    assert str(caught.value) == (
        "driver failed programming external connectivity on endpoint web (e): failed to bind host port for "
        f"127.0.0.1:{number}:10.0.0.2:80/tcp: address already in use"
    )


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(
        Internal, match=r"192\.0\.2\.200:1:10\.0\.0\.2:80/tcp: cannot assign requested address"
    ):
        ports.hold(PortBinding(80, host_port=1), "192.0.2.200", ip="10.0.0.2", endpoint="web (e)")


def test_udp_is_held_too() -> None:
    sock, number = ports.bind("udp", "127.0.0.1", 0)
    with (
        sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
        pytest.raises(OSError, match="in use"),
    ):
        other.bind(("127.0.0.1", number))


def test_macs() -> None:
    assert mac_of("172.17.0.2") == "02:42:ac:11:00:02"
