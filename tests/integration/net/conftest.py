"""A private engine's networks, namespaces to work in, and a neighbour on a wire of its own; nothing is left."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface
from pathlib import Path
from typing import TypeVar

import pytest

from hakobune.linux import nftables as nft
from hakobune.linux import rtnetlink as rt
from hakobune.linux.netlink import NETLINK_NETFILTER, Netlink
from hakobune.linux.syscalls import CLONE_NEWNET, setns
from hakobune.net.namespace import Namespace
from hakobune.net.networks import EndpointState, Networks, Settings
from hakobune.net.rules import table_name
from hakobune.net.store import MIGRATIONS
from hakobune.persist.database import Database

T = TypeVar("T")


def inside(netns: str | int, work: Callable[[], T]) -> T:
    """Do `work` in a namespace, in a thread of its own. A socket made there stays there."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC) if isinstance(netns, str) else os.dup(netns)
        try:
            setns(fd, CLONE_NEWNET)
            done.append(work())
        except BaseException as err:
            failed.append(err)
        finally:
            os.close(fd)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


def listen(netns: str | int, address: str = "0.0.0.0", port: int = 80) -> socket.socket:
    """A TCP listener in a namespace."""

    def make() -> socket.socket:
        server = socket.create_server((address, port))
        server.settimeout(5)
        return server

    return inside(netns, make)


def dial(netns: str | int, address: str, port: int, timeout: float = 5) -> socket.socket:
    """A TCP connection from a namespace. Raises OSError, TimeoutError."""
    return inside(netns, lambda: socket.create_connection((address, port), timeout))


def talk(client: socket.socket, server: socket.socket) -> str:
    """One word each way over a connection that `server` accepts; returns the address it came from."""
    with client:
        peer, (address, _port) = server.accept()
        with peer:
            peer.settimeout(5)
            client.sendall(b"ping")
            assert peer.recv(16) == b"ping"
            peer.sendall(b"pong")
            assert client.recv(16) == b"pong"
        return str(address)


def ping(netns: str | int, address: str, timeout: float = 3) -> bool:
    """One ICMP echo."""

    def work() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
            raw.settimeout(timeout)
            try:
                raw.connect((address, 0))
            except OSError:
                return False
            request = struct.pack("!BBHHH", 8, 0, 0, 0x4861, 1)
            total = sum(struct.unpack("!4H", request))
            total = (total & 0xFFFF) + (total >> 16)
            raw.send(request[:2] + struct.pack("!H", ~total & 0xFFFF) + request[4:])
            until = time.monotonic() + timeout
            while time.monotonic() < until:
                try:
                    answer = raw.recv(128)
                except (TimeoutError, OSError):
                    return False
                if answer[20] == 0:
                    return True
            return False

    return inside(netns, work)


class Site:
    """One machine's worth of private names: bridge, subnets, database."""

    def __init__(self, directory: Path) -> None:
        self.tag = os.urandom(3).hex()
        self.bridge = f"hkt{self.tag}"
        self.area = f"10.{random.randrange(100, 250)}"
        self.directory = directory
        self.engines: list[Networks] = []

    def settings(self, **changes: object) -> Settings:
        """Settings of the engine."""
        values: dict[str, object] = {"bridge": self.bridge, "pools": ((f"{self.area}.0.0/17", 24),)}
        return Settings(**{**values, **changes})  # type: ignore[arg-type]

    def engine(self, **changes: object) -> Networks:
        """The engine's networks, started."""
        database = Database.open(f"{self.directory}/network.db", MIGRATIONS)
        networks = Networks(database, self.settings(**changes))
        try:
            networks.start()
        except BaseException:
            networks.close(remove=False)
            raise
        self.engines.append(networks)
        return networks

    def devices(self) -> set[str]:
        """Names of the host's devices."""
        with Netlink() as netlink:
            return {link.name for link in rt.list_links(netlink)}

    def table(self) -> bool:
        """Whether the rules are there."""
        with Netlink(NETLINK_NETFILTER) as netlink:
            return nft.exists(netlink, table_name(self.bridge))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Names for a test, and the check that it left nothing."""
    here = Site(tmp_path)
    yield here
    for engine in here.engines[:-1]:
        engine.close(remove=False)
    last = here.engines[-1] if here.engines else here.engine()  # also after a killed one
    ours = {network.bridge_name for network in last.list()}
    ours |= {veth_of(state) for network in last.list() for state in last.endpoints(network.id).values()}
    last.close(remove=True)
    assert not here.table()
    assert not gone(here, ours)


def veth_of(state: EndpointState) -> str:
    """The host's device of an endpoint."""
    return f"veth{state.endpoint_id[:9]}"


def gone(site: Site, names: set[str]) -> set[str]:
    """Wait until these devices are gone; returns those that are not after some seconds."""
    until = time.monotonic() + 5
    while (left := site.devices() & names) and time.monotonic() < until:
        time.sleep(0.01)
    return left


@pytest.fixture
def networks(site: Site) -> Networks:
    """A started engine."""
    return site.engine()


class Neighbour:
    """Another machine on a wire to this one: `ours` and `address` are the two ends' addresses."""

    def __init__(self, site: Site) -> None:
        self.ours, self.address = f"{site.area}.250.1", f"{site.area}.250.2"
        self._device = f"hkw{site.tag}"
        namespace = Namespace.make()
        self.netlink = namespace.join()
        self.fd = namespace.fd
        with Netlink() as host:
            host.run([rt.add_bridge(self._device, mac="02:42:0a:00:fa:01", mtu=1500)])
            link = rt.find_link(host, self._device)
            assert link is not None
            address = IPv4Interface(f"{self.ours}/24")
            pair = rt.Veth(f"hkv{site.tag}", link.index, "eth0", self.fd, "02:42:0a:00:fa:02", 1500)
            host.run([rt.add_address(link.index, address), rt.set_up(link.index), rt.add_veth(pair)])
        inner = rt.find_link(self.netlink, "eth0")
        assert inner is not None
        self.netlink.run([
            rt.set_up(rt.LOOPBACK),
            rt.add_address(inner.index, IPv4Interface(f"{self.address}/24")),
            rt.set_up(inner.index),
            rt.set_default_route(self.ours),
            rt.settle("eth0"),
        ])  # fmt: skip
        with Netlink() as host:
            host.run([rt.settle(f"hkv{site.tag}"), rt.settle(self._device)])

    def close(self) -> None:
        """Take the wire away."""
        with Netlink() as host:
            host.run([rt.delete_link(self._device)])
        self.netlink.close()
        os.close(self.fd)


@pytest.fixture
def neighbour(site: Site) -> Iterator[Neighbour]:
    """A machine outside."""
    there = Neighbour(site)
    yield there
    there.close()
