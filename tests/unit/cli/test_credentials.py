"""Credentials in docker's files, by its helpers and its store; progress on a terminal."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from hakobune.cli import credentials, moving
from hakobune.cli.failure import Failure

HELPER = """#!/bin/sh
echo "$1 $(cat)" >> {log}
case "$1" in get) cat {answer} ;; esac
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker"


def _config(directory: Path, **content: object) -> None:
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(content))


def _helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> Path:
    (tmp_path / "answer").write_text(answer)
    program = tmp_path / "docker-credential-tests"
    program.write_text(HELPER.format(log=tmp_path / "log", answer=tmp_path / "answer"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "log"


@pytest.mark.parametrize(
    ("image", "server"),
    [
        ("alpine", credentials.HUB),
        ("user/app", credentials.HUB),
        ("docker.io/user/app", credentials.HUB),
        ("localhost/app", "localhost"),
        ("localhost:5000/app", "localhost:5000"),
        ("ghcr.io/a/b", "ghcr.io"),
    ],
)
def test_whose_credentials(image: str, server: str) -> None:
    assert credentials.server_of(image) == server


def test_kept_and_forgotten(directory: Path) -> None:
    assert credentials.store("a.test", "me", "se:cret", "") == f"{directory}/config.json"
    assert stat.S_IMODE((directory / "config.json").stat().st_mode) == 0o600
    assert credentials.get("a.test") == {"username": "me", "password": "se:cret", "serveraddress": "a.test"}
    header = credentials.header("a.test/app")["X-Registry-Auth"]
    assert json.loads(base64.urlsafe_b64decode(header))["password"] == "se:cret"
    assert credentials.header("b.test/app") == {}
    assert credentials.erase("a.test")
    assert not credentials.erase("a.test")
    assert credentials.get("a.test") == {}


def test_other_settings_stay(directory: Path) -> None:
    _config(directory, psFormat="x", auths={"b.test": {"auth": "eA=="}})
    credentials.store("a.test", "me", "x", "")
    credentials.erase("a.test")
    assert json.loads((directory / "config.json").read_text()) == {
        "psFormat": "x",
        "auths": {"b.test": {"auth": "eA=="}},
    }


def test_an_identity_token_takes_the_password_s_place(directory: Path) -> None:
    credentials.store("a.test", "me", "secret", "token")
    assert "secret" not in (directory / "config.json").read_text()
    assert base64.b64encode(b"me:secret").decode() not in (directory / "config.json").read_text()
    assert credentials.get("a.test") == {"identitytoken": "token", "serveraddress": "a.test"}


@pytest.mark.parametrize("key", ["https://a.test", "https://a.test/v1/", "a.test"])
def test_other_spellings(directory: Path, key: str) -> None:
    _config(directory, auths={key: {"auth": base64.b64encode(b"me:x").decode()}})
    assert credentials.get("a.test")["username"] == "me"


@pytest.mark.parametrize("setting", [{"credsStore": "tests"}, {"credHelpers": {"a.test": "tests"}}])
def test_a_helper_is_asked(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: dict[str, object]
) -> None:
    _config(directory, **setting)
    log = _helper(tmp_path, monkeypatch, '{"ServerURL":"a.test","Username":"me","Secret":"x"}')
    assert credentials.get("a.test") == {"username": "me", "password": "x", "serveraddress": "a.test"}
    assert credentials.store("a.test", "me", "other", "") == ""
    credentials.erase("a.test")
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["get", "store", "erase"]
    assert "other" in log.read_text()
    assert "other" not in (directory / "config.json").read_text()


def test_a_helper_that_keeps_a_token(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _config(directory, credsStore="tests")
    _helper(tmp_path, monkeypatch, '{"Username":"<token>","Secret":"t"}')
    assert credentials.get("a.test") == {"identitytoken": "t", "serveraddress": "a.test"}


def test_a_helper_that_is_not_there(directory: Path) -> None:
    _config(directory, credsStore="of-nobody")
    with pytest.raises(Failure, match="docker-credential-of-nobody"):
        credentials.get("a.test")


def test_a_broken_file_is_named(directory: Path) -> None:
    directory.mkdir()
    (directory / "config.json").write_text("{")
    with pytest.raises(Failure, match=r"config\.json"):
        credentials.get("a.test")


def test_lines_without_a_terminal() -> None:
    said: list[str] = []
    events = [
        {"status": "Pulling from a", "id": "1"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "abc"},
        {"status": "Downloading", "progressDetail": {"current": 1, "total": 2}, "id": "abc"},
        {"aux": {"Digest": "x"}},
        {"status": "Done"},
    ]
    assert moving.show(events, said.append, live=True) == [{"Digest": "x"}]
    assert said == ["1: Pulling from a", "abc: Pulling fs layer", "Done"]


def test_an_error_is_the_engine_s() -> None:
    with pytest.raises(Failure, match="Error response from daemon: no"):
        moving.show([{"error": "no"}], print, live=False)


def test_rows_are_written_again(capsys: pytest.CaptureFixture[str]) -> None:
    board = moving.Board()
    for name, status in (("a", "one"), ("b", "one"), ("a", "two")):
        board.show({"id": name, "status": status, "progressDetail": {}})
    assert capsys.readouterr().out == (
        "\n\x1b[1A\r\x1b[2Ka: one\r\x1b[1B\n\x1b[1A\r\x1b[2Kb: one\r\x1b[1B\x1b[2A\r\x1b[2Ka: two\r\x1b[2B"
    )
    assert moving.bar(50, 100).startswith("[" + "=" * 25 + ">")
    assert moving.bar(100, 100).startswith("[" + "=" * 50 + "]")
