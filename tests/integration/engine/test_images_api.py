"""Images and volumes as clients meet them: over HTTP, on a private engine, with a disk that is full."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import os
import signal
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from hakobune.testing.engine import PrivateEngine, on_a_small_disk
from hakobune.testing.registry import LyingRegistry, Request, sample, serving

pytestmark = pytest.mark.root


class Unix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    with PrivateEngine() as made:
        yield made


def ask(engine: PrivateEngine, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """(status, JSON or the lines of a stream)."""
    connection = Unix(str(engine.socket))
    connection.request(method, path, body=body, encode_chunked=False)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    lines = [json.loads(line) for line in text.splitlines() if line.strip()]
    return answer.status, lines[0] if len(lines) == 1 else lines


def as_list(found: Any) -> list[Any]:
    """`ask` gives a list of one line for what is one."""
    return found if isinstance(found, list) else [found]


def archive(size: int = 10) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = size
        tar.addfile(info, io.BytesIO(os.urandom(size)))
    return out.getvalue()


def test_the_life_of_an_image(engine: PrivateEngine) -> None:
    status, answer = ask(
        engine,
        "POST",
        "/images/create?fromSrc=-&repo=box&tag=v1&changes=CMD+a&changes=LABEL+x=y&message=m",
        archive(),
    )
    assert status == 200
    identity = answer["status"]
    status, shown = ask(engine, "GET", "/images/box:v1/json")
    assert (status, shown["Id"], shown["Comment"]) == (200, identity, "m")
    assert shown["Config"]["Cmd"] == ["/bin/sh", "-c", "a"]
    assert ask(engine, "POST", "/images/box:v1/tag?repo=host:5000/team/box&tag=v2")[0] == 201
    wanted = quote('{"label":{"x=y":true}}')
    (line,) = as_list(ask(engine, "GET", f"/images/json?filters={wanted}")[1])
    assert line["RepoTags"] == ["box:v1", "host:5000/team/box:v2"]
    status, history = ask(engine, "GET", "/images/host:5000/team/box:v2/history")
    assert history[0]["Tags"] == ["box:v1", "host:5000/team/box:v2"]
    assert ask(engine, "DELETE", f"/images/{identity[7:19]}")[0] == 409
    assert ask(engine, "DELETE", "/images/box:v1") == (200, [{"Untagged": "box:v1"}])
    assert ask(engine, "DELETE", f"/images/{identity}")[1][1] == {"Deleted": identity}
    assert ask(engine, "GET", "/images/box:v1/json") == (404, {"message": "No such image: box:v1"})


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("POST", "/images/create?fromSrc=-&repo=x", 400, "not a tar archive"),
        ("POST", "/images/create?fromSrc=-&repo=X+Y", 400, "invalid reference format"),
        ("POST", "/images/create?fromSrc=-&repo=x&changes=RUN+x", 400, "run is not a valid change command"),
        ("POST", "/images/create?fromSrc=ftp://a/b", 400, "an http or https URL is needed"),
        ("POST", "/images/create", 400, "fromImage"),
        (
            "POST",
            "/images/create?fromImage=localhost:1/nope&tag=latest",
            500,
            "connect: connection refused",
        ),
        ("GET", "/images/search", 400, "term is not given"),
        ("GET", "/images/get?names=x", 404, "No such image: x"),
        ("POST", "/images/load", 400, "archive"),
        ("POST", "/images/a/b/push?tag=A+B", 400, "invalid tag format"),
        ("GET", "/images/nope/json", 404, "No such image: nope:latest"),
        (
            "GET",
            "/images/UPPER/json",
            400,
            "invalid reference format: repository name (UPPER) must be lowercase",
        ),
        ("POST", "/images/nope/tag?repo=x", 404, "No such image: nope:latest"),
        ("GET", '/images/json?filters={"foo":["x"]}', 400, "invalid filter 'foo'"),
        ("GET", "/volumes/nope", 404, "get nope: no such volume"),
        ("DELETE", "/volumes/nope", 404, "get nope: no such volume"),
    ],
)
def test_refusals(engine: PrivateEngine, method: str, path: str, status: int, words: str) -> None:
    found, answer = ask(engine, method, path, b"junk" * 1000 if method == "POST" else None)
    assert found == status
    assert words in answer["message"]


def test_pull_says_how_far_it_is(engine: PrivateEngine) -> None:
    status, lines = ask(engine, "POST", "/images/create?fromImage=hako/starter&tag=latest")
    assert status == 200
    assert lines[0]["status"] == "Pulling from hako/starter"
    assert lines[-1]["status"].startswith("Status: ")


def test_volumes(engine: PrivateEngine) -> None:
    status, made = ask(engine, "POST", "/volumes/create", json.dumps({"Name": "data", "Labels": {"a": "b"}}))
    assert (status, made["Name"], made["Driver"]) == (201, "data", "local")
    assert os.path.isdir(made["Mountpoint"])
    status, nameless = ask(engine, "POST", "/volumes/create", "{}")
    assert (status, len(nameless["Name"])) == (201, 64)
    status, listed = ask(engine, "GET", "/volumes")
    assert {one["Name"] for one in listed["Volumes"]} == {"data", nameless["Name"]}
    assert ask(engine, "POST", "/volumes/prune")[1]["VolumesDeleted"] == [nameless["Name"]]
    assert ask(engine, "POST", "/volumes/create", '{"Labels": {"a": 1}}')[0] == 400
    run = engine.hako("create", "--name", "user", "-v", "data:/data", "hako/starter")
    assert run.returncode == 0, run.stderr
    status, answer = ask(engine, "DELETE", "/volumes/data")
    assert (status, answer["message"]) == (409, f"remove data: volume is in use - [{run.stdout.strip()}]")
    assert engine.hako("rm", "user").returncode == 0
    assert ask(engine, "DELETE", "/volumes/data")[0] == 204
    assert not os.path.exists(made["Mountpoint"])


@pytest.fixture
def tight() -> Iterator[PrivateEngine]:
    """An engine whose data root holds 24 MB."""
    with on_a_small_disk(24) as made:
        yield made


def blobs(engine: PrivateEngine) -> int:
    """Bytes under the manager's root."""
    root = engine.root / "d/containerd"
    return sum(
        path.stat().st_size for path in root.rglob("*") if path.is_file() and "meta.db" not in path.name
    )


SIZES = pytest.mark.parametrize("size", [40 << 20, 16 << 20], ids=["archive", "unpacked"])


@SIZES
def test_a_full_disk_is_told(tight: PrivateEngine, size: int) -> None:
    status, answer = ask(tight, "POST", "/images/create?fromSrc=-&repo=big", archive(size))
    assert status == 500
    assert "no space left on device" in answer["message"].lower()
    assert ask(tight, "GET", "/images/json") == (200, [])


@SIZES
def test_a_full_disk_is_freed(tight: PrivateEngine, size: int) -> None:
    before = blobs(tight)
    assert ask(tight, "POST", "/images/create?fromSrc=-&repo=big", archive(size))[0] == 500
    deadline = time.monotonic() + 2
    while blobs(tight) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert blobs(tight) == before
    assert ask(tight, "POST", "/images/create?fromSrc=-&repo=small", archive(1 << 20))[0] == 200
    assert ask(tight, "DELETE", "/images/small")[0] == 200


@SIZES
def test_a_full_disk_in_a_pull(tight: PrivateEngine, size: int) -> None:
    before = blobs(tight)
    with LyingRegistry(sample(size)) as registry:
        status, lines = ask(tight, "POST", f"/images/create?fromImage={registry.name}/big&tag=1")
    assert (status, lines[0]["status"]) == (200, "Pulling from big")
    assert "no space left on device" in lines[-1]["error"].lower()
    assert ask(tight, "GET", "/images/json") == (200, [])
    deadline = time.monotonic() + 3
    while blobs(tight) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert blobs(tight) == before
    with LyingRegistry(sample(1000)) as registry:
        status, lines = ask(tight, "POST", f"/images/create?fromImage={registry.name}/small&tag=1")
    assert lines[-1]["status"].startswith("Status: Downloaded newer image")


def test_a_client_that_goes_away_stops_its_pull(engine: PrivateEngine) -> None:
    """The registry is not read any further, and nothing has a name; the next pull has the rest."""
    gone = threading.Event()

    def slowly(request: Request, data: bytes) -> bool:
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        try:
            for at in range(0, len(data), 1 << 16):
                request.wfile.write(data[at : at + (1 << 16)])
                if at > len(data) // 2:
                    time.sleep(0.01)
        except OSError:
            gone.set()
        return True

    with LyingRegistry(sample(20 << 20)) as registry:
        registry.lies[registry.image.layers[0]] = slowly
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(engine.socket))
        where = f"/images/create?fromImage={registry.name}/cut&tag=1"
        sock.sendall(f"POST {where} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        seen = b""
        while b"Downloading" not in seen:
            seen += sock.recv(65536)
        sock.close()
        assert gone.wait(20)
        assert ask(engine, "GET", f"/images/{registry.name}/cut:1/json")[0] == 404
        del registry.lies[registry.image.layers[0]]
        assert ask(engine, "POST", where)[1][-1]["status"].startswith("Status: Downloaded newer image")
        assert ask(engine, "DELETE", f"/images/{registry.name}/cut:1")[0] == 200


@pytest.mark.slow
@pytest.mark.parametrize("who", ["hako-containerd", "hakod"])
def test_a_daemon_that_dies_in_a_pull(who: str) -> None:
    """Its client is told, or cut off; the next pull goes on from what is on disk."""
    held = threading.Event()

    def half(request: Request, data: bytes) -> bool:
        if held.is_set():
            return False
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data[: len(data) // 2])
        held.wait(60)
        request.close_connection = True
        return True

    with PrivateEngine() as engine, LyingRegistry(sample(20 << 20)) as registry:
        layer = registry.image.layers[0]
        registry.lies[layer] = half
        where = f"/images/create?fromImage={registry.name}/cut&tag=1"
        connection = Unix(str(engine.socket))
        connection.request("POST", where)
        answer = connection.getresponse()
        part = engine.root / "d/containerd/io.containerd.content.v1.content/ingest"
        while not any(file.stat().st_size > 9 << 20 for file in part.iterdir()):
            time.sleep(0.01)
        os.kill(engine.daemons()[who], signal.SIGKILL)
        held.set()
        if who == "hakod":
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                answer.read()
            assert engine.process is not None
            engine.process.wait()
            engine.start()
        else:
            assert b'"error"' in answer.read()
        connection.close()
        assert ask(engine, "GET", "/images/json") == (200, [])
        assert ask(engine, "POST", where)[1][-1]["status"].startswith("Status: Downloaded newer image")
        assert registry.asked(layer)[-1].get("Range", "").startswith("bytes=")
        assert ask(engine, "DELETE", f"/images/{registry.name}/cut:1")[0] == 200


def _image_archive(size: int) -> bytes:
    """As `docker save` writes one, of an image `loaded:1` with one layer."""
    layer = archive(size)
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }).encode()  # fmt: skip
    manifest = [{"Config": "config.json", "RepoTags": ["loaded:1"], "Layers": ["layer.tar"]}]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in {
            "config.json": config, "layer.tar": layer, "manifest.json": json.dumps(manifest).encode(),
        }.items():  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.5, 1.0])
@pytest.mark.parametrize("who", ["hako-containerd", "hakod"])
def test_a_daemon_that_dies_in_a_load(who: str, part: float) -> None:
    """With half of the archive there, or all of it and its layer being unpacked: nothing of it is seen, the next load works."""
    sent = _image_archive(20 << 20)
    with PrivateEngine() as engine:
        content = engine.root / "d/containerd/io.containerd.content.v1.content"
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(30)
        sock.connect(str(engine.socket))
        sock.sendall(
            b"POST /images/load HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            % len(sent)
            + sent[: int(len(sent) * part)]
        )
        wanted = (9 if part < 1 else 20) << 20
        while not any(file.stat().st_size > wanted for file in content.rglob("*") if file.is_file()):
            time.sleep(0.002)
        os.kill(engine.daemons()[who], signal.SIGKILL)
        if who == "hakod":
            assert engine.process is not None
            engine.process.wait()
            engine.start()
        with contextlib.suppress(ConnectionError):
            while sock.recv(65536):
                pass
        sock.close()
        assert ask(engine, "GET", "/images/json") == (200, [])
        assert "Loaded image: loaded:1" in str(ask(engine, "POST", "/images/load", sent))
        assert not list((content / "ingest").iterdir())
        assert ask(engine, "DELETE", "/images/loaded:1")[0] == 200


def test_a_client_that_goes_away_leaves_nothing(engine: PrivateEngine) -> None:
    ask(engine, "POST", "/images/prune?filters=" + '{"dangling":["false"]}')
    before = blobs(engine)
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(engine.socket))
    sock.sendall(
        b"POST /images/create?fromSrc=-&repo=cut HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"
    )
    sock.sendall(archive(3 << 20)[: 2 << 20])
    time.sleep(0.3)
    sock.close()
    deadline = time.monotonic() + 5
    while blobs(engine) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert blobs(engine) == before
    assert ask(engine, "GET", "/images/cut/json")[0] == 404


def test_import_from_a_url(engine: PrivateEngine) -> None:
    """As it is sent, by a redirect, and all the ways in which it is none: nothing is left then."""
    data = archive(3 << 20)

    def answer(request: Request) -> None:
        if request.path == "/moved":
            request.send_response(302)
            request.send_header("Location", "/a.tar")
            request.end_headers()
        elif request.path == "/round":
            request.send_response(302)
            request.send_header("Location", "/round")
            request.end_headers()
        elif request.path in ("/a.tar", "/cut", "/html"):
            request.send_response(200)
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            whole = {"/cut": data[: 2 << 20], "/html": b"<html>".ljust(len(data))}.get(request.path, data)
            request.wfile.write(whole)
            request.close_connection = True
        else:
            request.send_response(404)
            request.end_headers()

    server = serving(answer)
    base = f"127.0.0.1:{server.server_port}"
    try:
        for path in ("/a.tar", "/moved"):
            told = as_list(ask(engine, "POST", f"/images/create?fromSrc=http://{base}{path}&repo=fetched")[1])
            assert told[0]["status"] == f"Downloading from http://{base}{path}"
            assert any(line.get("progressDetail", {}).get("total") == len(data) for line in told)
            assert told[-1]["status"].startswith("sha256:")
        (step,) = as_list(ask(engine, "GET", "/images/fetched/history")[1])
        assert step["Comment"] == f"Imported from http://{base}/moved"
        before = ask(engine, "GET", "/images/json")[1]
        for path, words in (
            ("/cut", "in the middle of the answer"),
            ("/html", "not a tar archive"),
            ("/nope", "the server answered with HTTP status 404"),
            ("/round", "more than 10 redirects"),
        ):
            told = as_list(ask(engine, "POST", f"/images/create?fromSrc={base}{path}&repo=no")[1])
            assert words in told[-1]["error"], told
        assert ask(engine, "GET", "/images/json")[1] == before
    finally:
        server.shutdown()
        server.server_close()
    said = as_list(ask(engine, "POST", f"/images/create?fromSrc={base}/a.tar")[1])[-1]
    assert "refused" in said["error"].lower()
