"""Ways to a registry and into it: proxies, certificates on both sides, uploads that are cut."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from hakobune.errors import FailedPrecondition, HakoError, Unauthenticated, Unavailable
from hakobune.registry import http, proxies, session, upload
from hakobune.registry.login import login
from hakobune.registry.remote import Remote, open_repository
from hakobune.registry.repository import Access, Credentials
from hakobune.spec.descriptor import Descriptor
from hakobune.testing.registry import (
    PASSWORD,
    USER,
    Certificates,
    LyingRegistry,
    RealRegistry,
    Request,
    TokenServer,
    free_port,
    program,
    sample,
    serving,
)


def asking(
    name: str, work: Callable[[Remote], Coroutine[Any, Any, Any]], access: Access | None = None
) -> Any:
    async def body() -> Any:
        async with open_repository(f"{name}/some/app", access or Access()) as repository:
            return await work(repository)

    return asyncio.run(asyncio.wait_for(body(), 30))


def resolve(repository: Remote) -> Coroutine[Any, Any, Descriptor]:
    return repository.resolve("latest")


class Proxy(socketserver.ThreadingTCPServer):
    """Passes on what it is asked for: whole URLs, and CONNECT as a tunnel. Remembers the heads."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.heads: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Passing(socketserver.BaseRequestHandler):
    """One connection."""

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (data := self.request.recv(4096)):
                return
            head += data
        assert isinstance(self.server, Proxy)
        self.server.heads.append(head.decode())
        target = head.decode().split()[1]
        where = re.sub("^http://", "", target).partition("/")[0]
        with socket.create_connection(("127.0.0.1", int(where.rpartition(":")[2]))) as server:
            if head.startswith(b"CONNECT"):
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                server.sendall(head.replace(target.encode(), b"/" + target.split("/", 3)[3].encode(), 1))
            other = threading.Thread(target=_pump, args=(self.request, server), daemon=True)
            other.start()
            _pump(server, self.request)
            other.join(5)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """In the environment, and taken for loopback, too."""
    made = Proxy()
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://me:geheim@127.0.0.1:{made.server_address[1]}")
    monkeypatch.setattr(proxies, "is_loopback", lambda host: False)
    yield made
    made.close()


def test_through_a_proxy(proxy: Proxy) -> None:
    with LyingRegistry(sample(1000)) as registry:
        found = asking(registry.name, resolve, Access(default_scheme="http"))
        assert found.digest == registry.image.manifest
    head = proxy.heads[-1]
    assert head.startswith(f"HEAD http://{registry.name}/v2/some/app/manifests/latest HTTP/1.1")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'me:geheim').decode()}" in head
    assert not any("roxy-Authorization" in str(headers) for _, _, headers in registry.seen[1:])


def test_through_a_tunnel(proxy: Proxy, tmp_path: Path) -> None:
    """The proxy sees where to, and nothing else; its password does not go through the tunnel."""
    with Certificates() as certificates, LyingRegistry(sample(1000)) as registry:
        registry._server.socket = _tls(certificates, registry._server.socket)
        _hosts(tmp_path, registry.name, ca=str(certificates.ca))
        found = asking(registry.name, resolve, Access(host_dir=str(tmp_path)))
        assert found.digest == registry.image.manifest
    assert proxy.heads[0].startswith(f"CONNECT {registry.name} HTTP/1.1")
    assert "manifests" not in "".join(proxy.heads)
    assert not any("roxy-Authorization" in str(headers) for _, _, headers in registry.seen)


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match="connection refused"):
        asking("example.test:5000", resolve, Access(default_scheme="http"))


def _tls(certificates: Certificates, listening: socket.socket, *, client: bool = False) -> socket.socket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    if client:
        context.load_verify_locations(certificates.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context.wrap_socket(listening, server_side=True)


def _hosts(directory: Path, name: str, **settings: object) -> None:
    place = directory / f"localhost_{name.rpartition(':')[2]}_"
    place.mkdir()
    lines = [
        f"server = {json.dumps(f'https://{name}')}",
        *(f"{key} = {json.dumps(value)}" for key, value in settings.items()),
    ]
    (place / "hosts.toml").write_text("\n".join(lines))


def test_a_certificate_of_ours(tmp_path: Path) -> None:
    with Certificates() as certificates, LyingRegistry(sample(1000)) as registry:
        registry._server.socket = _tls(certificates, registry._server.socket, client=True)
        without, with_it, wrong = (tmp_path / name for name in ("a", "b", "c"))
        for place in (without, with_it, wrong):
            place.mkdir()
        pair = [[str(certificates.certificate), str(certificates.key)]]
        _hosts(without, registry.name, ca=str(certificates.ca))
        _hosts(with_it, registry.name, ca=str(certificates.ca), client=pair)
        _hosts(wrong, registry.name, ca="not-there.crt")
        with pytest.raises(HakoError):
            asking(registry.name, resolve, Access(host_dir=str(without)))
        with pytest.raises(FailedPrecondition, match=r"not-there\.crt"):
            asking(registry.name, resolve, Access(host_dir=str(wrong)))
        assert asking(registry.name, resolve, Access(host_dir=str(with_it))).digest == registry.image.manifest


class Taking:
    """A registry that takes uploads, and cuts them after so many bytes, so many times."""

    def __init__(self, after: int, times: int, *, forgets: bool = False) -> None:
        self.have = b""
        self.done: dict[str, bytes] = {}
        self.asked: list[str] = []
        self._after, self._times, self._forgets = after, times, forgets
        self.server = serving(self._answer)
        self.name = f"localhost:{self.server.server_port}"

    def _answer(self, request: Request) -> None:
        _, _, query = request.path.partition("?")
        self.asked.append(request.command)
        where = "/v2/some/app/blobs/uploads/one"
        if request.command == "POST":
            self.have = b""
            request.reply(202, "", Location=where)
        elif request.command == "PATCH":
            self._take(request, where)
        elif request.command == "GET" and not self._forgets:
            request.reply(204, "", Location=where, Range=f"0-{max(len(self.have) - 1, 0)}")
        elif request.command == "PUT":
            data = self.have + request.body()
            self.done[query.partition("digest=")[2].replace("%3A", ":")] = data
            request.reply(201, "")
        else:
            request.reply(404, "")

    def _take(self, request: Request, where: str) -> None:
        length = int(request.headers["Content-Length"])
        assert request.headers["Content-Range"].startswith(f"{len(self.have)}-")
        if self._times:
            self._times -= 1
            self.have += request.rfile.read(min(self._after, length))
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        self.have += request.rfile.read(length)
        request.reply(202, "", Location=where)


@pytest.mark.parametrize("forgets", [False, True])
def test_a_cut_upload_goes_on(monkeypatch: pytest.MonkeyPatch, forgets: bool) -> None:
    monkeypatch.setattr(session, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(upload, "MONOLITHIC", 1000)
    data = os.urandom(2_000_000)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    offsets: list[int] = []

    async def read(offset: int) -> AsyncIterator[bytes]:
        offsets.append(offset)
        for at in range(offset, len(data), 100_000):
            yield data[at : at + 100_000]

    taking = Taking(500_000, 2, forgets=forgets)
    said = asking(taking.name, lambda one: one.push_blob(Descriptor("x", digest, len(data)), read))
    taking.server.shutdown()
    taking.server.server_close()
    assert said == "pushed"
    assert taking.done == {digest: data}
    assert offsets == ([0, 0, 0] if forgets else [0, 500_000, 1_000_000])


def test_connections_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[http.Origin] = []
    connect = http.connect

    async def counting(origin: http.Origin) -> Any:
        made.append(origin)
        return await connect(origin)

    monkeypatch.setattr(http, "connect", counting)

    async def work(repository: Remote) -> None:
        for _ in range(5):
            found = await repository.resolve("latest")
            await repository.manifest(found)

    with LyingRegistry(sample(1000)) as registry:
        asking(registry.name, work, Access(default_scheme="http"))
    assert len(made) == 1


@pytest.mark.slow
@pytest.mark.skipif(not program(), reason="peer not installed: docker-registry")
def test_tags_in_pages() -> None:
    """The real registry's list, a page of one at a time."""
    body = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [],
    }).encode()  # fmt: skip
    index = Descriptor(
        "application/vnd.oci.image.index.v1+json", f"sha256:{hashlib.sha256(body).hexdigest()}", len(body)
    )

    async def work(repository: Remote) -> list[str]:
        for tag in ("a", "b", "c"):
            await repository.push_manifest(tag, index, body)
        return await repository.tags()

    with RealRegistry() as registry:
        assert sorted(asking(registry.name, work)) == ["a", "b", "c"]


@pytest.mark.slow
@pytest.mark.skipif(not program(), reason="peer not installed: docker-registry")
def test_an_identity_token_in_place_of_a_password() -> None:
    """Login gets one, and it does for a password afterwards; the password is not sent with it."""

    async def by_password(host: str) -> Credentials:
        return Credentials(USER, PASSWORD)

    async def by_token(host: str) -> Credentials:
        return Credentials(secret=tokens.refresh_token)

    async def push(repository: Remote) -> str:
        return await repository.push_blob(
            Descriptor("x", f"sha256:{hashlib.sha256(b'x').hexdigest()}", 1), one
        )

    async def one(offset: int) -> AsyncIterator[bytes]:
        yield b"x"

    with (
        Certificates() as certificates,
        TokenServer(certificates) as tokens,
        RealRegistry(tokens) as registry,
    ):
        assert asyncio.run(login(registry.name, Access(by_password))) == tokens.refresh_token
        with pytest.raises(Unauthenticated):
            asyncio.run(login(registry.name, Access()))
        assert asking(registry.name, push, Access(by_token)) == "pushed"
