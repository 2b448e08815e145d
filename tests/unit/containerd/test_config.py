"""Flags and the TOML file."""

from __future__ import annotations

from pathlib import Path

import pytest

from hakobune.containerd.config import ADDRESS, Config, parse
from hakobune.errors import InvalidArgument, NotFound


def test_defaults_and_flags() -> None:
    assert parse([]) == Config()
    assert parse(["--address", "/a", "--root", "/r", "--state", "/s", "--log-level", "debug"]) == Config(
        "/a", "/r", "/s", "debug"
    )


def test_a_flag_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('version = 2\nroot = "/r"\n[grpc]\naddress = "/f"\n[debug]\nlevel = "warn"\n')
    assert parse(["--config", str(file)]) == Config("/f", "/r", log_level="warn")
    assert parse(["--config", str(file), "--address", "/a"]).address == "/a"
    file.write_text("")
    assert parse(["--config", str(file)]).address == ADDRESS


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        parse(["--config", str(tmp_path / "none")])
    file = tmp_path / "config.toml"
    for text in ("root = [", "root = 3"):
        file.write_text(text)
        with pytest.raises(InvalidArgument):
            parse(["--config", str(file)])
