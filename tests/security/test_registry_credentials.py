"""Credentials go to the registry that they are for, and nowhere else (CVE-2020-15157, CVE-2025-6032)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from hakobune.errors import HakoError, PermissionDenied, Unavailable
from hakobune.registry.remote import Remote, open_repository
from hakobune.registry.repository import Access, Credentials
from hakobune.spec.descriptor import Descriptor
from hakobune.testing.registry import Certificates, LyingRegistry, Request, sample, serving

USER, SECRET = "me", "geheim"
BASIC = "Basic " + base64.b64encode(f"{USER}:{SECRET}".encode()).decode()


class Elsewhere:
    """Another host, which remembers what it is told and asks for credentials when `greedy`."""

    def __init__(self, content: dict[str, bytes], *, greedy: bool = False) -> None:
        self.seen: list[dict[str, str]] = []
        self._content = content
        self._greedy = greedy
        self.server = serving(self._answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def _answer(self, request: Request) -> None:
        self.seen.append({name.lower(): value for name, value in request.headers.items()})
        if self._greedy and "Authorization" not in request.headers:
            request.reply(401, "", WWW_Authenticate="Basic realm=evil")
            return
        request.reply(200, self._content.get(request.path.rpartition("/")[2], b""))

    def told(self) -> str:
        """All of it."""
        return json.dumps(self.seen)


@pytest.fixture
def registry() -> Iterator[LyingRegistry]:
    """Asks for Basic credentials and has one layer."""
    with LyingRegistry(sample(50_000)) as made:

        def door(request: Request, data: bytes) -> bool:
            if request.headers.get("Authorization") == BASIC:
                return False
            request.reply(401, "", WWW_Authenticate="Basic realm=tests")
            return True

        made.lies["manifest"] = door
        yield made


async def mine(host: str) -> Credentials:
    return Credentials(USER, SECRET)


def asking(name: str, work: Callable[[Remote], Coroutine[Any, Any, Any]], access: Access) -> Any:
    async def body() -> Any:
        async with open_repository(f"{name}/some/app", access) as repository:
            return await work(repository)

    return asyncio.run(asyncio.wait_for(body(), 30))


def read(*urls: str) -> Callable[[Remote], Coroutine[Any, Any, bytes]]:
    """Resolve, so that the registry knows us, and read the layer."""

    async def work(repository: Remote) -> bytes:
        await repository.resolve("latest")
        layer = Descriptor("x", LAYER.digest, LAYER.size)
        async with contextlib.aclosing(repository.blob(layer, urls=urls)) as parts:
            return b"".join([part async for part in parts])

    return work


LAYER = Descriptor("x", "", 0)


@pytest.fixture(autouse=True)
def the_layer(registry: LyingRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = registry.image.layers[0]
    monkeypatch.setitem(globals(), "LAYER", Descriptor("x", digest, len(registry.image.blobs[digest])))


def test_a_redirect_to_another_host_tells_nothing(registry: LyingRegistry, tmp_path: Path) -> None:
    directory = tmp_path / f"localhost_{registry.name.partition(':')[2]}_"
    directory.mkdir()
    (directory / "hosts.toml").write_text(
        f'server = "http://{registry.name}"\n[header]\nx-secret = "of the file"\n'
    )
    other = Elsewhere({"there": registry.image.blobs[LAYER.digest]})

    def lie(request: Request, data: bytes) -> bool:
        request.reply(307, "", Location=f"{other.url}/there")
        return True

    registry.lies[LAYER.digest] = lie
    access = Access(mine, str(tmp_path), headers={"x-mine": "of the request"})
    assert asking(registry.name, read(), access) == registry.image.blobs[LAYER.digest]
    home = registry.asked(LAYER.digest)[0]
    assert (home["Authorization"], home["x-secret"], home["x-mine"]) == (
        BASIC,
        "of the file",
        "of the request",
    )
    assert not {"authorization", "x-secret", "x-mine", "cookie"} & other.seen[0].keys()
    assert SECRET not in other.told()
    other.server.server_close()


def test_a_redirect_within_the_host_keeps_them(registry: LyingRegistry) -> None:
    moved = iter([True])
    registry.lies[LAYER.digest] = lambda request, data: (
        next(moved, False) and (request.reply(307, "", Location=request.path) or True)
    )
    asking(registry.name, read(), Access(mine))
    assert [headers.get("Authorization") for headers in registry.asked(LAYER.digest)] == [BASIC, BASIC]


def test_a_port_is_another_host(registry: LyingRegistry) -> None:
    """A redirect to another port of the same machine tells nothing either."""
    other = Elsewhere({"there": registry.image.blobs[LAYER.digest]}, greedy=True)
    registry.lies[LAYER.digest] = lambda request, data: (
        request.reply(307, "", Location=f"{other.url}/there") or True
    )
    with pytest.raises(HakoError):
        asking(registry.name, read(), Access(mine))
    assert "authorization" not in other.told()
    other.server.server_close()


def test_where_a_foreign_layer_lies_is_told_nothing(registry: LyingRegistry) -> None:
    greedy = Elsewhere({"layer": registry.image.blobs[LAYER.digest]}, greedy=True)
    with pytest.raises(HakoError):
        asking(registry.name, read(f"{greedy.url}/layer"), Access(mine))
    plain = Elsewhere({"layer": registry.image.blobs[LAYER.digest]})
    assert (
        asking(registry.name, read(f"{plain.url}/layer"), Access(mine)) == registry.image.blobs[LAYER.digest]
    )
    assert "authorization" not in greedy.told() + plain.told()
    for one in (greedy, plain):
        one.server.server_close()


def test_a_mirror_is_not_told(registry: LyingRegistry, tmp_path: Path) -> None:
    """The credentials are asked for by host, and there are none for the mirror."""
    asked: list[str] = []
    mirror = Elsewhere({}, greedy=True)
    directory = tmp_path / "_default"
    directory.mkdir()
    (directory / "hosts.toml").write_text(f'server = "http://{registry.name}"\n[host."{mirror.url}"]\n')

    async def by_host(host: str) -> Credentials:
        asked.append(host)
        return Credentials(USER, SECRET) if host == registry.name else Credentials()

    assert asking(registry.name, read(), Access(by_host, str(tmp_path))) == registry.image.blobs[LAYER.digest]
    assert mirror.url.removeprefix("http://") in asked
    assert "authorization" not in mirror.told()
    mirror.server.server_close()


@pytest.mark.parametrize("realm", ["http://{}/token", "ftp://x/token", "http://me:geheim@{}/token", ""])
def test_a_token_server_without_tls_is_told_nothing(realm: str) -> None:
    """A registry with TLS names a token server without: the password stays here."""
    thief = Elsewhere({})
    where = realm.format(thief.url.removeprefix("http://"))
    with Certificates() as certificates:
        server = serving(lambda request: request.reply(401, "", WWW_Authenticate=f'Bearer realm="{where}"'))
        server.socket = _tls(certificates, server.socket)
        with pytest.raises(HakoError) as failure:
            asking(f"localhost:{server.server_port}", lambda one: one.resolve("latest"), Access(mine))
        server.shutdown()
        server.server_close()
    assert isinstance(failure.value, PermissionDenied) or "token server" in str(failure.value)
    assert not thief.seen
    thief.server.server_close()


def _tls(certificates: Certificates, listening: socket.socket) -> socket.socket:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    return context.wrap_socket(listening, server_side=True)


def test_tls_is_verified_unless_somebody_said_otherwise(tmp_path: Path) -> None:
    """A name that is not loopback's own, with a certificate of nobody: the request is never made."""
    heard: list[str] = []
    with Certificates() as certificates:
        server = serving(lambda request: heard.append(request.path) or request.reply(200, "{}"))
        server.socket = _tls(certificates, server.socket)
        name = f"localhost:{server.server_port}"
        (tmp_path / f"localhost_{server.server_port}_").mkdir()
        (tmp_path / f"localhost_{server.server_port}_" / "hosts.toml").write_text(
            f'server = "https://{name}"\n'
        )
        with pytest.raises(Unavailable, match="failed to verify certificate"):
            asking(name, lambda one: one.resolve("latest"), Access(mine, str(tmp_path)))
        server.shutdown()
        server.server_close()
    assert not heard


def test_no_plain_http_for_other_machines() -> None:
    """Only loopback and what is configured so may do without TLS: a server that does not speak it hears no request."""
    heard: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def hear() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    heard.append(connection.recv(1000))
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    threading.Thread(target=hear, daemon=True).start()
    port = listening.getsockname()[1]

    async def resolve(repository: Remote) -> object:
        return await repository.resolve("latest")

    from hakobune.registry.hosts import Host

    async def body() -> None:
        async with open_repository(f"localhost:{port}/app", Access(mine)) as repository:
            strict = Host(f"https://localhost:{port}/v2")  # as any name that is not loopback's
            for one in repository._sessions:
                one.host, one._fallback = strict, False
            await repository.resolve("latest")

    with pytest.raises(Unavailable):
        asyncio.run(body())
    listening.close()
    assert heard
    assert not any(b"HTTP/1.1" in data or SECRET.encode() in data for data in heard)


def test_no_error_names_a_secret(registry: LyingRegistry) -> None:
    registry.lies["manifest"] = lambda request, data: (
        request.reply(401, "", WWW_Authenticate="Basic realm=x") or True
    )
    with pytest.raises(HakoError) as failure:
        asking(registry.name, read(), Access(mine))
    assert SECRET not in str(failure.value)
    assert BASIC.removeprefix("Basic ") not in str(failure.value)
