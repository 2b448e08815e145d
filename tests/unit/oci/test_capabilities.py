"""Names, masks, and the arithmetic of adding and dropping."""

from __future__ import annotations

import pytest

from hakobune.errors import InvalidArgument
from hakobune.oci import capabilities as caps


@pytest.mark.parametrize("name", ["net_admin", "NET_ADMIN", "CAP_NET_ADMIN", " cap_net_admin "])
def test_spellings(name: str) -> None:
    assert caps.normalize(name) == "CAP_NET_ADMIN"


def test_unknown() -> None:
    with pytest.raises(InvalidArgument, match="unknown capability"):
        caps.normalize("NET_ADMINISTRATOR")


def test_numbers_of_the_header() -> None:
    assert caps.NUMBERS["CAP_SYS_ADMIN"] == 21
    assert caps.NUMBERS["CAP_CHECKPOINT_RESTORE"] == 40
    assert len(caps.DEFAULT) == 14
    assert caps.mask(caps.DEFAULT) == 0xA80425FB


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ([], [], set(caps.DEFAULT)),
        (["NET_ADMIN"], ["chown"], set(caps.DEFAULT) - {"CAP_CHOWN"} | {"CAP_NET_ADMIN"}),
        (["ALL"], ["SYS_ADMIN"], set(caps.available()) - {"CAP_SYS_ADMIN"}),
        (["KILL"], ["ALL"], {"CAP_KILL"}),
        ([], ["all"], set()),
        (["MKNOD"], ["MKNOD"], set(caps.DEFAULT)),
    ],
)
def test_tweak(add: list[str], drop: list[str], expected: set[str]) -> None:
    assert set(caps.tweak(add, drop)) == expected


def test_privileged_is_everything() -> None:
    assert caps.tweak([], ["ALL"], privileged=True) == caps.available()


def test_names_of_a_mask() -> None:
    assert set(caps.names(caps.mask(caps.DEFAULT))) == set(caps.DEFAULT)
