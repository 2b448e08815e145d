"""The three ways in which a containerd asks for a shim."""

from __future__ import annotations

import json

import pytest

from hakobune.errors import InvalidArgument
from hakobune.shim import starting
from hakobune.wire import pb

FLAGS = {"namespace": "n", "id": "c", "address": "/g"}


def test_argv_alone() -> None:
    asked = starting.read(b"", FLAGS, {})
    assert asked == starting.Asked("n", "c", "/g", "/g.ttrpc", 0)
    assert starting.answer(asked, "unix:///s") == b"unix:///s"


def test_json_is_for_those_who_say_that_they_know_it() -> None:
    asked = starting.read(b"", FLAGS, {"MAX_SHIM_VERSION": "2", "TTRPC_ADDRESS": "/t"})
    assert asked.events == "/t"
    assert json.loads(starting.answer(asked, "unix:///s")) == {
        "version": 2,
        "address": "unix:///s",
        "protocol": "ttrpc",
    }


def test_bootstrap_params() -> None:
    raw = pb.field(1, "c") + pb.field(2, "n") + pb.field(5, "/t2") + pb.field(6, "/g2")
    assert starting.read(raw, FLAGS, {}) == starting.Asked("n", "c", "/g2", "/t2", 3)


@pytest.mark.parametrize("raw", [pb.field(1, "some.Options") + pb.field(2, b"\x08\x01"), b"\xff\xff", b"{}"])
def test_options_are_not_taken_for_params(raw: bytes) -> None:
    assert starting.read(raw, FLAGS, {}).version == 0


def test_names_are_needed() -> None:
    with pytest.raises(InvalidArgument, match="-namespace and -id"):
        starting.read(b"", {"id": "c"}, {})
