"""What a container keeps for its later execs."""

from __future__ import annotations

from pathlib import Path

import pytest

from hakobune.oci.init import kept

FILTERS = [
    kept.Filter(None, 0, spawnable=True),
    kept.Filter(None, 0, spawnable=False),
    kept.Filter(b"12345678" * 3, 5, spawnable=True),
    kept.Filter(b"12345678", 0, spawnable=False),
]


@pytest.mark.parametrize("one", FILTERS)
def test_it_is_read_as_it_was_written(tmp_path: Path, one: kept.Filter) -> None:
    kept.write(str(tmp_path / "filter"), one)
    assert kept.read(str(tmp_path / "filter")) == one
    assert [path.name for path in tmp_path.iterdir()] == ["filter"]


@pytest.mark.parametrize("data", [b"", b"\1\0\0\0\0", b"\1\0\0\0\0short"])
def test_what_is_not_whole_is_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "filter").write_bytes(data)
    assert kept.read(str(tmp_path / "filter")) is None


def test_a_file_that_is_not_there_is_nothing(tmp_path: Path) -> None:
    assert kept.read(str(tmp_path / "filter")) is None
    kept.write(str(tmp_path / "no" / "filter"), FILTERS[0])  # told to nobody: execs parse config.json then
