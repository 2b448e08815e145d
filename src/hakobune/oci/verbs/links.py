"""linux.netDevices: devices of the host that go to the container, with their addresses, and up.

They come back, or end, with the container's network namespace, as the kernel has it for each kind. Source: runtime-spec
1.3, config-linux.md, Network Devices. Imports: linux.rtnetlink.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from hakobune.errors import InvalidArgument
from hakobune.linux import rtnetlink
from hakobune.linux import syscalls as sys
from hakobune.linux.netlink import Netlink, NetlinkError


def give(devices: Mapping[str, str], pid: int) -> None:
    """Each device by its name here, and the one that it has there; `pid` is in the container's network namespace.

    Raises InvalidArgument, OSError; nothing is moved when one of them cannot be found.
    """
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with Netlink() as host, _inside(there) as inside:
            found = {}
            for name in devices:
                link = rtnetlink.find_link(host, name)
                if link is None:
                    raise InvalidArgument(f"linux.netDevices.{name}: there is no such network device")
                found[name] = link.index
            for name, index in found.items():
                try:
                    _give(host, inside, index, there, devices[name])
                except NetlinkError as err:
                    raise OSError(err.errno, f"linux.netDevices.{name}: {err.strerror}") from err
    finally:
        os.close(there)


def _give(host: Netlink, inside: Netlink, index: int, there: int, name: str) -> None:
    addresses = rtnetlink.lasting_addresses(host, index)
    host.run([rtnetlink.move_link(index, there, name)])
    link = rtnetlink.find_link(inside, name)
    if link is None:
        raise NetlinkError(19, "has gone on its way")
    inside.run([rtnetlink.add_again(link.index, one) for one in addresses] + [rtnetlink.set_up(link.index)])


def _inside(there: int) -> Netlink:
    """A socket of that namespace; we are back when it is made."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        sys.setns(there, sys.CLONE_NEWNET)
        try:
            return Netlink()
        finally:
            sys.setns(here, sys.CLONE_NEWNET)
    finally:
        os.close(here)
