"""Attributes in and out; answers of the kernel, good and bad, to requests that change nothing."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakobune.linux import rtnetlink as rt
from hakobune.linux.netlink import Message, Netlink, NetlinkError, attributes, pack, parse, walk

_payloads = st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=8)


@given(_payloads)
def test_attributes_come_back(pairs: list[tuple[int, bytes]]) -> None:
    raw = attributes(pairs)
    assert len(raw) % 4 == 0
    assert list(walk(raw)) == pairs


@given(st.binary(max_size=64))
def test_noise_is_survived(data: bytes) -> None:
    for kind, value in walk(data):
        assert 0 <= kind <= 0x3FFF
        assert len(value) <= len(data)


def test_values() -> None:
    assert pack(1, 5) == b"\x08\0\x01\0\x05\0\0\0"
    assert pack(2, "ab") == b"\x07\0\x02\0ab\0\0"
    assert pack(3, [(1, b"x")]) == b"\x0c\0\x03\x80" + b"\x05\0\x01\0x\0\0\0"
    assert parse(pack(3, [(1, b"x")])) == {3: b"\x05\0\x01\0x\0\0\0"}


def test_loopback_is_the_first_link() -> None:
    with Netlink() as netlink:
        link = rt.find_link(netlink, "lo")
        assert link is not None
        assert link.index == rt.LOOPBACK
        assert link in rt.list_links(netlink)
        assert rt.find_link(netlink, "no-such-device") is None


def test_refusals_name_what_was_asked() -> None:
    with Netlink() as netlink:
        with pytest.raises(NetlinkError) as caught:
            netlink.run([rt.settle("no-such-device")])
        assert caught.value.errno == errno.ENODEV
        assert caught.value.filename == "link no-such-device"
        assert rt.find_link(netlink, "lo") is not None  # the socket is still in step


def test_an_unknown_message_is_refused_in_the_kernels_words() -> None:
    with Netlink() as netlink, pytest.raises(NetlinkError) as caught:
        netlink.run([Message(18, b"\0" * 3, 0, "short")])
    assert caught.value.errno


@pytest.mark.parametrize("mac", ["", "02:42", "zz:00:00:00:00:00", "02:42:00:00:00:00:00"])
def test_bad_macs(mac: str) -> None:
    with pytest.raises(ValueError):
        rt.mac_bytes(mac)
