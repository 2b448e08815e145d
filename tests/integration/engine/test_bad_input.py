"""What is wrong gets Docker's status code and one sentence, and leaves nothing behind."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import STARTER

from hakobune.cli.failure import ApiFailure
from hakobune.testing.engine import PrivateEngine

pytestmark = [pytest.mark.root, pytest.mark.slow]


def refused(engine: PrivateEngine, method: str, path: str, body: Any = None) -> tuple[int, str]:
    with pytest.raises(ApiFailure) as caught:
        getattr(engine.client, method)(path, *([body] if method == "post" else []))
    return caught.value.status, caught.value.reason


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"Image": "no-such-image"}, 404, "No such image: no-such-image:latest"),
        ({"Image": "UPPER CASE"}, 400, "invalid reference format"),
        ({"Image": STARTER, "Cmd": ["/bin/true"], "HostConfig": {"Memory": 1000}}, 400, "6MB"),
        ({"Image": STARTER, "Cmd": ["/bin/true"], "HostConfig": {"CapAdd": ["NO_SUCH"]}}, 400, "NO_SUCH"),
        (
            {"Image": STARTER, "Cmd": ["/bin/true"], "HostConfig": {"RestartPolicy": {"Name": "x"}}},
            400,
            "unknown policy",
        ),
        (
            {"Image": STARTER, "Cmd": ["/bin/true"], "HostConfig": {"Binds": ["a:b"]}},
            400,
            "invalid volume specification",
        ),
        ({"Image": STARTER, "Cmd": ["/bin/true"], "WorkingDir": "x"}, 400, "absolute path"),
        ({"Image": STARTER, "Cmd": 5}, 400, "Cmd"),
        ({"Image": STARTER, "Tty": "yes"}, 400, "Tty"),
        ({"Image": STARTER, "HostConfig": {"LogConfig": {"Type": "nosuch"}}}, 400, "nosuch"),
        ({"Image": STARTER, "HostConfig": {"PortBindings": {"x/tcp": []}}}, 400, "port"),
    ],
)
def test_create(engine: PrivateEngine, body: dict[str, Any], status: int, words: str) -> None:
    found, text = refused(engine, "post", "/containers/create", body)
    assert (found, words in text) == (status, True), text
    assert engine.containers() == []


def test_no_such_user(engine: PrivateEngine) -> None:
    made = engine.client.post(
        "/containers/create", {"Image": STARTER, "Cmd": ["/bin/true"], "User": "nobody-here"}
    )
    status, text = refused(engine, "post", f"/containers/{made['Id']}/start")
    assert (status, "unable to find user nobody-here" in text) == (400, True)
    engine.client.delete(f"/containers/{made['Id']}")


def test_unknown_things(engine: PrivateEngine) -> None:
    assert refused(engine, "get", "/containers/nosuch/json") == (404, "No such container: nosuch")
    assert refused(engine, "get", "/no/such/page")[0] == 404
    assert refused(engine, "get", "/v1.99/info")[0] == 400
    assert refused(engine, "get", "/volumes/nosuch")[0] == 404
    assert refused(engine, "get", "/networks/nosuch")[0] == 404
    assert refused(engine, "get", "/exec/nosuch/json")[0] == 404


def test_two_clients_race_for_one_name(engine: PrivateEngine) -> None:
    body = {"Image": STARTER, "Cmd": ["/bin/true"]}

    def one(_: int) -> int:
        try:
            engine.client.post("/containers/create?name=contested", body)
        except ApiFailure as err:
            return err.status
        return 201

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(16)))
    assert sorted(answers) == [201] + [409] * 15
    assert len(engine.containers()) == 1
    engine.client.delete("/containers/contested")


def test_requests_that_are_cut_or_mad(engine: PrivateEngine) -> None:
    def answer(data: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(engine.socket))
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
            return b"".join(parts)

    head = b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    assert answer(head + b'{"Image":').startswith(b"HTTP/1.1 400 ")
    assert answer(b"complete nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert answer(b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 4")
    assert answer(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert engine.containers() == []


def test_an_import_that_is_no_tar(engine: PrivateEngine, tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"this is no tar" * 1000)
    before = engine.client.get("/images/json")
    done = engine.hako("import", str(junk), "junk:latest")
    assert done.returncode == 1
    assert "tar" in done.stderr
    assert engine.client.get("/images/json") == before


def test_the_disk_is_full_while_importing() -> None:
    root = Path(tempfile.mkdtemp(prefix="hk-", dir="/tmp"))
    (root / "d").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(root / "d")], check=True)
    try:
        with PrivateEngine(root=root) as engine:
            big = root / "big"
            with tempfile.TemporaryDirectory() as place:
                (Path(place) / "file").write_bytes(b"\1" * (40 << 20))
                subprocess.run(["tar", "-C", place, "-cf", str(big), "."], check=True)
            done = engine.hako("import", str(big), "big:latest")
            assert done.returncode == 1
            assert "no space left on device" in done.stderr.lower()
            assert json.dumps(engine.client.get("/images/json")) == "[]"
            subprocess.run(["umount", "-l", str(root / "d")], check=False)
    finally:
        subprocess.run(["umount", "-l", str(root / "d")], check=False, capture_output=True)
