"""Identifiers, mounts of a layer's target, and what the wire must agree on."""

from __future__ import annotations

import pytest

from hakobune.containerd.diff.unpack import target_of
from hakobune.containerd.serving import check_name
from hakobune.errors import InvalidArgument
from hakobune.shim import manager_client, rpc, zygote
from hakobune.spec.mount import Mount


@pytest.mark.parametrize("name", ["a", "A1", "a-b.c_d", "x" * 76, "0123abc"])
def test_good_names(name: str) -> None:
    assert check_name("id", name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "a--b", "a/b", "..", "a b", "x" * 77, "a\n", "é"])
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidArgument):
        check_name("id", name)


def test_target_of_mounts() -> None:
    overlay = Mount("overlay", "overlay", "", ("index=off", "workdir=/w", "upperdir=/u", "lowerdir=/a:/b"))
    assert target_of([overlay]) == ("/u", ("/a", "/b"))
    assert target_of([Mount("bind", "/x", "", ("rw", "rbind"))]) == ("/x", ())
    for bad in (
        [],
        [overlay, overlay],
        [Mount("bind", "/x", "", ("ro",))],
        [Mount("overlay", "o", "", ("lowerdir=/a",))],
    ):
        with pytest.raises(InvalidArgument):
            target_of(bad)


def test_numbers_that_two_rooms_share() -> None:
    assert manager_client.VERSION == zygote.VERSION
    assert manager_client.RENEW[0] == rpc.OWN
