"""Real packets: between containers, to and from the host, out of it and in again."""

from __future__ import annotations

import os
import socket
import struct
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from hakobune.errors import Internal
from hakobune.net.model import mac_of
from hakobune.net.networks import CreateNetwork, Endpoint, Networks, PortBinding, Wanted

from .conftest import Neighbour, Site, dial, inside, listen, ping, talk

pytestmark = pytest.mark.root

WEB = Wanted(name="web", ports=(PortBinding(80),))
A, B = "a" * 64, "b" * 64


def _port(attachment: object, key: str = "80/tcp") -> int:
    return int(attachment.ports[key][0][1])  # type: ignore[attr-defined]


def test_a_container_reaches_the_host_and_itself(networks: Networks) -> None:
    box = networks.attach(A, Wanted())
    state = box.endpoints["bridge"]
    assert ping(box.netns_path, "127.0.0.1")
    assert ping(box.netns_path, state.gateway)
    with socket.create_server((state.gateway, 0)) as server:
        server.settimeout(5)
        assert talk(dial(box.netns_path, state.gateway, server.getsockname()[1]), server) == state.ip


def test_the_host_reaches_a_container(networks: Networks) -> None:
    box = networks.attach(A, Wanted())
    with listen(box.netns_path) as server:
        client = socket.create_connection((box.endpoints["bridge"].ip, 80), 5)
        assert talk(client, server) == box.endpoints["bridge"].gateway


def test_out_through_the_bridge_with_the_hosts_address(networks: Networks, neighbour: Neighbour) -> None:
    box = networks.attach(A, Wanted())
    assert ping(box.netns_path, neighbour.address)
    with listen(neighbour.fd, port=8000) as server:
        assert talk(dial(box.netns_path, neighbour.address, 8000), server) == neighbour.ours


def test_a_published_port_from_127_0_0_1(networks: Networks) -> None:
    box = networks.attach(A, WEB)
    with listen(box.netns_path) as server:
        client = socket.create_connection(("127.0.0.1", _port(box)), 5)
        assert talk(client, server) == box.endpoints["bridge"].gateway


def test_a_published_port_from_outside_keeps_the_callers_address(
    networks: Networks, neighbour: Neighbour
) -> None:
    box = networks.attach(A, WEB)
    with listen(box.netns_path) as server:
        assert talk(dial(neighbour.fd, neighbour.ours, _port(box)), server) == neighbour.address


def test_a_published_port_from_the_container_itself_and_from_its_neighbour(
    networks: Networks, neighbour: Neighbour
) -> None:
    box, other = networks.attach(A, WEB), networks.attach(B, Wanted())
    with listen(box.netns_path) as server:
        talk(dial(box.netns_path, neighbour.ours, _port(box)), server)
        talk(dial(other.netns_path, neighbour.ours, _port(box)), server)
        talk(dial(other.netns_path, box.endpoints["bridge"].gateway, _port(box)), server)


def test_a_published_port_from_a_container_of_another_network(networks: Networks) -> None:
    networks.create(CreateNetwork("other"))
    box, other = networks.attach(A, WEB), networks.attach(B, Wanted(mode="other"))
    with listen(box.netns_path) as server:
        talk(dial(other.netns_path, other.endpoints["other"].gateway, _port(box)), server)


def test_a_port_on_one_address_of_the_host_only(networks: Networks, neighbour: Neighbour) -> None:
    box = networks.attach(A, Wanted(ports=(PortBinding(80, host_ip="127.0.0.1"),)))
    assert box.ports["80/tcp"][0][0] == "127.0.0.1"
    with listen(box.netns_path) as server:
        talk(socket.create_connection(("127.0.0.1", _port(box)), 5), server)
        with pytest.raises(OSError, match=r"refused|timed out"):
            dial(neighbour.fd, neighbour.ours, _port(box), timeout=1)


def test_udp(networks: Networks, neighbour: Neighbour) -> None:
    box = networks.attach(A, Wanted(ports=(PortBinding(53, "udp"),)))

    with _udp(box.netns_path, 53) as server, _udp("/proc/self/ns/net") as here, _udp(neighbour.fd) as there:
        for client, host in ((here, "127.0.0.1"), (there, neighbour.ours)):
            target = (host, _port(box, "53/udp"))
            client.sendto(b"who", target)
            word, sender = server.recvfrom(64)
            assert word == b"who"
            server.sendto(b"me", sender)
            assert client.recvfrom(64) == (b"me", target)


def _udp(netns: str | int, port: int = 0) -> socket.socket:
    def make() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(2)
        sock.bind(("0.0.0.0", port))
        return sock

    return inside(netns, make)


def test_a_caller_of_udp_that_goes_on_sending_reaches_the_next_container(networks: Networks) -> None:
    base = networks.create(CreateNetwork("fixed")).range.network_address
    first = networks.attach(A, _udp_at(str(base + 10)))
    port = _port(first, "53/udp")
    with _udp("/proc/self/ns/net") as caller:
        caller.connect(("127.0.0.1", port))
        with _udp(first.netns_path, 53) as server:
            caller.send(b"one")
            assert server.recv(16) == b"one"
        networks.detach(A)
        second = networks.attach(B, _udp_at(str(base + 11), port))
        with _udp(second.netns_path, 53) as server:
            caller.send(b"two")
            assert server.recv(16) == b"two"


def _udp_at(ip: str, port: int = 0) -> Wanted:
    return Wanted(
        mode="fixed",
        endpoints=(Endpoint("fixed", ipv4=ip),),
        ports=(PortBinding(53, "udp", host_port=port),),
    )


def test_unpublished_ports_cannot_be_reached_from_outside(networks: Networks, neighbour: Neighbour) -> None:
    box = networks.attach(A, WEB)
    with listen(box.netns_path, port=81), pytest.raises(OSError, match="timed out"):
        dial(neighbour.fd, box.endpoints["bridge"].ip, 81, timeout=0.5)
    assert not ping(neighbour.fd, box.endpoints["bridge"].ip, timeout=0.3)


def test_a_container_cannot_reach_the_hosts_loopback(networks: Networks) -> None:
    """`route_localnet` opens that door; the guard shuts it."""
    box = networks.attach(A, Wanted())
    state = box.endpoints["bridge"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind(("127.0.0.1", 0))
        service.settimeout(0.3)
        target = service.getsockname()
        frames = [_frame(state.ip, address, mac_of(state.gateway), target[1]) for address in ("127.0.0.1",)]

        def send() -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
                wire.bind(("eth0", 0))
                for frame in frames:
                    wire.send(frame)

        inside(box.netns_path, send)
        with pytest.raises(TimeoutError):
            service.recv(16)
    assert (
        Path(f"/proc/sys/net/ipv4/conf/{networks.get('bridge').bridge_name}/route_localnet").read_text()
        == "1\n"
    )


def _frame(source: str, target: str, mac: str, port: int) -> bytes:
    udp = struct.pack("!HHHH", 4000, port, 12, 0) + b"evil"
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0,
        IPv4Address(source).packed, IPv4Address(target).packed,
    )  # fmt: skip
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    own = mac_of(source).replace(":", "")
    return bytes.fromhex(mac.replace(":", "") + own + "0800") + head + udp


def test_containers_of_one_network_talk_and_of_two_do_not(networks: Networks) -> None:
    networks.create(CreateNetwork("one"))
    networks.create(CreateNetwork("two"))
    first = networks.attach(A, Wanted(mode="one"))
    second = networks.attach(B, Wanted(mode="one"))
    third = networks.attach("c" * 64, Wanted(mode="two"))
    assert ping(first.netns_path, second.endpoints["one"].ip)
    assert not ping(first.netns_path, third.endpoints["two"].ip, timeout=0.3)


def test_without_icc_containers_do_not_talk(site: Site) -> None:
    networks = site.engine(icc=False)
    first, second = networks.attach(A, Wanted()), networks.attach(B, Wanted())
    assert ping(first.netns_path, first.endpoints["bridge"].gateway)
    assert not ping(first.netns_path, second.endpoints["bridge"].ip, timeout=0.3)


def test_an_internal_network_leads_nowhere(networks: Networks, neighbour: Neighbour) -> None:
    networks.create(CreateNetwork("inner", internal=True))
    first = networks.attach(A, Wanted(mode="inner", ports=(PortBinding(80),)))
    second = networks.attach(B, Wanted(mode="inner"))
    assert first.ports == {}
    assert first.endpoints["inner"].gateway == ""
    assert ping(first.netns_path, second.endpoints["inner"].ip)
    assert not ping(first.netns_path, neighbour.address, timeout=0.3)


def test_two_engines_side_by_side(site: Site, tmp_path: Path) -> None:
    second = Site(tmp_path / "second")
    second.area = site.area
    here, there = site.engine(), second.engine()
    try:
        first, other = here.attach(A, WEB), there.attach(A, WEB)
        assert here.get("bridge").subnet != there.get("bridge").subnet
        with listen(first.netns_path) as one, listen(other.netns_path) as two:
            talk(socket.create_connection(("127.0.0.1", _port(first)), 5), one)
            talk(socket.create_connection(("127.0.0.1", _port(other)), 5), two)
    finally:
        there.close(remove=True)


def test_a_connection_outlives_the_tables_rebuild(networks: Networks) -> None:
    box = networks.attach(A, WEB)
    with listen(box.netns_path) as server:
        client = socket.create_connection(("127.0.0.1", _port(box)), 5)
        networks.create(CreateNetwork("more"))
        networks.start()
        talk(client, server)


def test_connect_and_disconnect_while_it_runs(networks: Networks, neighbour: Neighbour) -> None:
    networks.create(CreateNetwork("extra"))
    networks.attach(A, Wanted(mode="extra"))
    box = networks.attach(B, WEB)
    peer = networks.endpoints("extra")[A]
    state = networks.connect(B, "extra", Endpoint("extra", aliases=("db",)))
    assert state is not None
    assert ping(box.netns_path, peer.ip)
    networks.disconnect(B, "bridge")
    with listen(box.netns_path) as server:
        assert talk(dial(box.netns_path, state.ip, 80), server) == state.ip
        client = socket.create_connection(("127.0.0.1", _port(box)), 5)
        assert talk(client, server) == state.gateway
    assert ping(box.netns_path, neighbour.address)
    networks.disconnect(B, "extra")
    assert networks.in_use("extra") == [A]


def test_port_in_use(networks: Networks) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Internal) as caught:
            networks.attach(A, Wanted(name="web", ports=(PortBinding(80, host_port=port),)))
    words = str(caught.value)
    assert words.startswith("driver failed programming external connectivity on endpoint web (")
    assert f"failed to bind host port for 0.0.0.0:{port}:" in words
    assert words.endswith(":80/tcp: address already in use")
    assert networks.in_use("bridge") == []
    assert networks.attachment(A) is None
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_published_port_is_held(networks: Networks) -> None:
    port = _port(networks.attach(A, WEB))
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("0.0.0.0", port))
    with pytest.raises(Internal, match="address already in use"):
        networks.attach(B, Wanted(ports=(PortBinding(80, host_port=port),)))
    networks.detach(A)
    networks.attach(B, Wanted(ports=(PortBinding(80, host_port=port),)))


def test_the_first_free_port_of_a_range(networks: Networks) -> None:
    start = _port(networks.attach(A, WEB))
    box = networks.attach(B, Wanted(ports=(PortBinding(80, host_port=start, host_port_end=start + 30),)))
    assert start < _port(box) <= start + 30
