"""Bridges: made with an owner's mark, recognised by it, repaired, taken away.

The mark is the device's alias, `hakobune NETWORK PID STARTTIME`: a bridge of this name that carries another
mark, or none, is somebody else's, unless the engine that made it is dead and no container hangs on it.
Imports: linux.rtnetlink, errors, model.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection
from ipaddress import IPv4Interface

from hakobune.errors import FailedPrecondition, InvalidArgument
from hakobune.linux import rtnetlink as rt
from hakobune.linux.netlink import Netlink
from hakobune.net.model import Network, mac_of

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_MARK = "hakobune"


def check_name(name: str) -> None:
    """Whether the kernel and we take this as a device's name. Raises InvalidArgument."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"invalid bridge name: {name}")


def ensure(netlink: Netlink, network: Network, *, mtu: int) -> int:
    """Make the network's bridge, or put the one that is there in order; returns its index.

    Raises FailedPrecondition when the name belongs to somebody else, OSError from the kernel.
    """
    name = network.bridge_name
    link = rt.find_link(netlink, name)
    if link is not None and not _ours(link, network) and _abandoned(netlink, link):
        netlink.run([rt.delete_link(name)])
        link = None
    if link is None:
        netlink.run([rt.add_bridge(name, mac=mac_of(network.gateway), mtu=mtu)])
        netlink.run([rt.set_alias(name, _mark(network))])
        link = rt.find_link(netlink, name)
    if link is None or not _ours(link, network):
        raise FailedPrecondition(f"bridge {name} is used by another program or engine")
    _repair(netlink, link, network, mtu)
    return link.index


def _repair(netlink: Netlink, link: rt.Link, network: Network, mtu: int) -> None:
    address = network.interface
    name = link.name
    others = [have for index, have in rt.addresses(netlink) if index == link.index and have != address]
    netlink.run([
        rt.set_alias(name, _mark(network)),
        *(rt.delete_address(link.index, IPv4Interface(other)) for other in others),
        rt.add_address(link.index, address),
        *([rt.set_mtu(link.index, mtu)] if link.mtu != mtu else []),
        rt.set_up(link.index),
    ])  # fmt: skip
    # Connections from 127.0.0.1 to a published port come back by this device.
    set_switch(f"net/ipv4/conf/{name}/route_localnet", "1")


def sweep(netlink: Netlink, indices: Collection[int], keep: Collection[str]) -> None:
    """Delete the veths on these bridges whose names are not in `keep`. Raises OSError."""
    netlink.run([
        rt.delete_link(link.name)
        for link in rt.list_links(netlink)
        if link.master in indices and link.kind == "veth" and link.name not in keep
    ])  # fmt: skip


def remove(netlink: Netlink, network: Network) -> bool:
    """Take the bridge away if it is ours; none is fine, False when it is somebody else's. Raises OSError."""
    link = rt.find_link(netlink, network.bridge_name)
    if link is None:
        return True
    if not _ours(link, network):
        return False
    netlink.run([rt.delete_link(network.bridge_name)])
    return True


def set_switch(name: str, value: str) -> None:
    """Write a file of /proc/sys when it holds something else. Raises OSError."""
    fd = os.open(f"/proc/sys/{name}", os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.read(fd, 64).strip() != value.encode():
            os.pwrite(fd, value.encode(), 0)
    finally:
        os.close(fd)


def _mark(network: Network) -> str:
    return f"{_MARK} {network.id} {os.getpid()} {_start_time(os.getpid())}"


def _ours(link: rt.Link, network: Network) -> bool:
    return link.kind == "bridge" and link.alias.startswith(f"{_MARK} {network.id} ")


def _abandoned(netlink: Netlink, link: rt.Link) -> bool:
    words = link.alias.split()
    if link.kind != "bridge" or len(words) != 4 or words[0] != _MARK or not words[2].isdigit():
        return False
    if _start_time(int(words[2])) == words[3]:
        return False
    return not any(other.master == link.index for other in rt.list_links(netlink))


def _start_time(pid: int) -> str:
    """Field 22 of /proc/PID/stat; empty when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except OSError as err:
        if err.errno in (errno.ENOENT, errno.ESRCH):
            return ""
        raise
