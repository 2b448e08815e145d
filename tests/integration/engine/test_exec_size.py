"""The size of an exec's terminal: from its create, its start, or a resize at any moment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hakobune.cli.failure import ApiFailure
from hakobune.testing.engine import PrivateEngine

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def path(engine: PrivateEngine) -> Iterator[str]:
    """The API's path of a running container."""
    done = engine.hako("run", "-d", "--network", "none", "hako/starter", "sleep", "600")
    assert done.returncode == 0, done.stderr
    yield f"/containers/{done.stdout.strip()}"
    engine.hako("rm", "-f", done.stdout.strip())


def _create(engine: PrivateEngine, path: str, command: str, **more: Any) -> str:
    body = {"Cmd": ["sh", "-c", command], "Tty": True, "AttachStdin": True, "AttachStdout": True, **more}
    return f"/exec/{engine.client.post(f'{path}/exec', body)['Id']}"


def _start(engine: PrivateEngine, one: str, *, resize: str = "", **more: Any) -> str:
    """What it prints; `resize` is asked for as soon as the connection is there."""
    response = engine.client.open("POST", f"{one}/start", body={"Tty": True, **more}, upgrade=True)
    with response.sock as sock:
        sock.settimeout(20)
        if resize:
            engine.client.post(f"{one}/resize?{resize}")
            sock.sendall(b"go\n")
        seen = response.early
        while data := sock.recv(4096):
            seen += data
    return seen.decode().replace("\r", "")


@pytest.mark.parametrize(
    ("at_create", "at_start", "size"),
    [
        ([31, 91], None, "31 91"),
        (None, [32, 92], "32 92"),
        ([0, 0], [32, 92], "32 92"),
        ([31, 91], [32, 92], "32 92"),
        ([31, 91], [0, 0], "31 91"),
        (None, None, "0 0"),
    ],
)
def test_the_size_it_starts_with(
    engine: PrivateEngine, path: str, at_create: list[int] | None, at_start: list[int] | None, size: str
) -> None:
    one = _create(engine, path, "stty size", ConsoleSize=at_create)
    assert _start(engine, one, ConsoleSize=at_start) == f"{size}\n"


def test_a_resize_before_the_start(engine: PrivateEngine, path: str) -> None:
    one = _create(engine, path, "stty size")
    engine.client.post(f"{one}/resize?h=44&w=144")
    assert _start(engine, one) == "44 144\n"


def test_a_resize_right_after_the_start(engine: PrivateEngine, path: str) -> None:
    for _ in range(10):
        one = _create(engine, path, "read x; stty size", ConsoleSize=[24, 80])
        assert _start(engine, one, resize="h=45&w=145").splitlines()[-1] == "45 145"


@pytest.mark.parametrize("size", [[1], ["a", "b"], [1, 2, 3], [-1, 5], [70000, 5], [True, True]])
def test_no_size(engine: PrivateEngine, path: str, size: list[Any]) -> None:
    with pytest.raises(ApiFailure, match=r"ExecConfig\.ConsoleSize: two numbers") as refused:
        _create(engine, path, "true", ConsoleSize=size)
    assert refused.value.status == 400


def test_a_resize_of_what_has_ended(engine: PrivateEngine, path: str) -> None:
    one = _create(engine, path, "true")
    _start(engine, one)
    with pytest.raises(ApiFailure, match="is not running") as refused:
        engine.client.post(f"{one}/resize?h=24&w=80")
    assert refused.value.status == 409
    with pytest.raises(ApiFailure, match="invalid size") as refused:
        engine.client.post(f"{one}/resize?h=0&w=80")
    assert refused.value.status == 400
