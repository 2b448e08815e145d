"""Our client against a registry that lies: each lie is noticed, bounded, and told apart; what only failed goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from hakobune.errors import (
    DataLoss,
    HakoError,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from hakobune.registry import ranges, session
from hakobune.registry.remote import Remote, open_repository
from hakobune.registry.repository import Access, Credentials
from hakobune.spec.descriptor import Descriptor
from hakobune.testing.registry import LyingRegistry, Request, Sample, cut, endless, sample, serving

LAYER = "application/vnd.oci.image.layer.v1.tar"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are kept out of the tests."""
    monkeypatch.setattr(session, "FIRST_PAUSE", 0.001)


@pytest.fixture
def registry() -> Iterator[LyingRegistry]:
    with LyingRegistry(sample(300_000)) as made:
        yield made


def layer(image: Sample) -> Descriptor:
    return Descriptor(LAYER, image.layers[0], len(image.blobs[image.layers[0]]))


def asking(
    registry: LyingRegistry, work: Callable[[Remote], Coroutine[Any, Any, Any]], access: Access | None = None
) -> Any:
    async def body() -> Any:
        async with open_repository(f"{registry.name}/some/app", access or Access()) as repository:
            return await work(repository)

    return asyncio.run(asyncio.wait_for(body(), 30))


def blob(registry: LyingRegistry, **options: Any) -> bytes:
    async def work(repository: Remote) -> bytes:
        async with contextlib.aclosing(repository.blob(layer(registry.image), **options)) as parts:
            return b"".join([part async for part in parts])

    found: bytes = asking(registry, work)
    return found


def truth(registry: LyingRegistry) -> bytes:
    return registry.image.blobs[registry.image.layers[0]]


def test_the_truth(registry: LyingRegistry) -> None:
    assert blob(registry) == truth(registry)
    assert blob(registry, offset=1000) == truth(registry)[1000:]
    assert blob(registry, offset=1000, end=2000) == truth(registry)[1000:2000]


def test_without_ranges(registry: LyingRegistry) -> None:
    def whole(request: Request, data: bytes) -> bool:
        request.reply(200, data)
        return True

    registry.lies[registry.image.layers[0]] = whole
    assert blob(registry, offset=1000) == truth(registry)[1000:]
    assert blob(registry, offset=1000, end=2000) == truth(registry)[1000:2000]


@pytest.mark.parametrize("more", [-1, 1])
def test_a_wrong_length(registry: LyingRegistry, more: int) -> None:
    registry.lies[registry.image.layers[0]] = lambda request, data: (
        request.reply(200, (data + b"x")[: len(data) + more]) or True
    )
    with pytest.raises(InvalidArgument, match="bytes where"):
        blob(registry)


def test_an_endless_body(registry: LyingRegistry) -> None:
    registry.lies[registry.image.layers[0]] = endless
    with pytest.raises(InvalidArgument, match="more bytes came than"):
        blob(registry)


def test_an_endless_manifest(registry: LyingRegistry) -> None:
    registry.lies["manifest"] = lambda request, data: endless(request, b" " * 65536)
    with pytest.raises(InvalidArgument, match="longer than"):
        asking(registry, lambda repository: repository.resolve("latest"))


def test_an_endless_error(registry: LyingRegistry) -> None:
    def lie(request: Request, data: bytes) -> bool:
        request.send_response(403)
        request.end_headers()
        with contextlib.suppress(OSError):
            while True:
                request.wfile.write(b"no " * 10000)
        return True

    registry.lies["manifest"] = lie
    with pytest.raises(HakoError) as failure:
        asking(registry, lambda repository: repository.resolve("latest"))
    assert len(str(failure.value)) < 1000


@pytest.mark.parametrize("at", [0, 1, 99_999])
def test_cut_connections_go_on_where_they_were(registry: LyingRegistry, at: int) -> None:
    times = iter([True, True, False])
    registry.lies[registry.image.layers[0]] = lambda request, data: (
        next(times, False) and cut(request, data, at)
    )
    assert blob(registry) == truth(registry)
    asked = [headers.get("Range", "") for headers in registry.asked(registry.image.layers[0])]
    size = len(truth(registry))
    assert asked == ["", f"bytes={at}-{size - 1}" if at else "", f"bytes={2 * at}-{size - 1}" if at else ""]


def test_one_that_is_always_cut_is_given_up(registry: LyingRegistry) -> None:
    registry.lies[registry.image.layers[0]] = lambda request, data: cut(request, data, 0)
    with pytest.raises(Unavailable):
        blob(registry)
    assert len(registry.asked(registry.image.layers[0])) == session.TRIES


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_what_passes_is_tried_again(registry: LyingRegistry, status: int) -> None:
    times = iter([True, True])
    registry.lies[registry.image.layers[0]] = lambda request, data: (
        next(times, False) and (request.reply(status, "", Retry_After="0") or True)
    )
    assert blob(registry) == truth(registry)


def test_retry_after_is_obeyed() -> None:
    assert session.pause(0, "7") == 7
    assert session.pause(0, "86400") == session.LONGEST_PAUSE
    assert session.pause(50) <= session.LONGEST_PAUSE * 1.25
    assert session.pause(0, "never") < 1


def test_a_rate_limit_is_said_in_the_end(registry: LyingRegistry) -> None:
    said = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": "come back tomorrow"}]})
    registry.lies["manifest"] = lambda request, data: request.reply(429, said, Retry_After="0") or True
    with pytest.raises(ResourceExhausted, match="toomanyrequests"):
        asking(registry, lambda repository: repository.resolve("latest"))


def test_a_page_in_place_of_a_manifest(registry: LyingRegistry) -> None:
    page = "<html><body>Please log in to the wireless network</body></html>"
    registry.lies["manifest"] = lambda request, data: (
        request.reply(200, page, Content_Type="text/html") or True
    )
    with pytest.raises(InvalidArgument, match=r"not a JSON object but begins with '<html>"):
        asking(registry, lambda repository: repository.resolve("latest"))


def test_another_manifest_than_the_digest_says(registry: LyingRegistry) -> None:
    digest = registry.image.manifest

    def lie(request: Request, data: bytes) -> bool:
        request.reply(
            200,
            data.replace(b"schemaVersion", b"schemaversion"),
            Content_Type="application/vnd.oci.image.manifest.v1+json",
        )
        return True

    async def work(repository: Remote) -> bytes:
        return await repository.manifest(await repository.resolve(digest))

    registry.lies["manifest"] = lie
    with pytest.raises(DataLoss):
        asking(registry, work)


def test_a_header_that_names_another_digest(registry: LyingRegistry) -> None:
    other = "sha256:" + "ab" * 32

    def lie(request: Request, data: bytes) -> bool:
        request.reply(
            200, data, Content_Type="application/vnd.oci.image.manifest.v1+json", Docker_Content_Digest=other
        )
        return True

    registry.lies["manifest"] = lie
    with pytest.raises(DataLoss, match="answered with"):
        asking(registry, lambda repository: repository.resolve(registry.image.manifest))


def test_too_many_redirects(registry: LyingRegistry) -> None:
    registry.lies[registry.image.layers[0]] = lambda request, data: (
        request.reply(307, "", Location=request.path) or True
    )
    with pytest.raises(InvalidArgument, match="redirects"):
        blob(registry)


def test_what_is_not_there(registry: LyingRegistry) -> None:
    with pytest.raises(NotFound, match="manifest unknown"):
        asking(registry, lambda repository: repository.resolve("sha256:" + "00" * 32))


def test_pieces_side_by_side_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PIECE", 10_000)
    monkeypatch.setattr(ranges, "WORTH", 20_000)

    async def always(descriptor: Descriptor) -> bool:
        return True

    with LyingRegistry(sample(300_000)) as registry:
        times = iter([False, True, False, True])
        registry.lies[registry.image.layers[0]] = lambda request, data: (
            next(times, False) and cut(request, data, 77)
        )

        async def work(repository: Remote) -> bytes:
            monkeypatch.setattr(repository, "ranges", always)
            parts = ranges.in_order(repository, layer(registry.image), 123)
            async with contextlib.aclosing(parts):
                return b"".join([part async for part in parts])

        assert asking(registry, work) == truth(registry)[123:]


def test_a_token_that_ends_in_the_middle(registry: LyingRegistry) -> None:
    """The second blob is refused with the token that the first one was given for: a new one is fetched."""
    given: list[str] = []

    def tokens(request: Request) -> None:
        given.append(f"token-{len(given)}")
        request.reply(200, json.dumps({"token": given[-1], "expires_in": 3600}))

    server = serving(tokens)
    valid = {"token-0"}

    def door(request: Request, data: bytes) -> bool:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") in valid:
            return False
        challenge = f'Bearer realm="http://127.0.0.1:{server.server_port}/token",service="tests"'
        request.reply(401, "", WWW_Authenticate=challenge)
        return True

    registry.lies["manifest"] = registry.lies[registry.image.layers[0]] = door

    async def work(repository: Remote) -> bytes:
        await repository.resolve("latest")
        valid.clear()
        valid.add("token-1")
        async with contextlib.aclosing(repository.blob(layer(registry.image))) as parts:
            return b"".join([part async for part in parts])

    try:
        assert asking(registry, work) == truth(registry)
        assert given == ["token-0", "token-1"]
    finally:
        server.shutdown()
        server.server_close()


def test_one_that_refuses_everybody_is_not_asked_for_ever(registry: LyingRegistry) -> None:
    registry.lies["manifest"] = lambda request, data: (
        request.reply(401, "", WWW_Authenticate="Basic realm=x") or True
    )

    async def me(host: str) -> Credentials:
        return Credentials("me", "secret")

    with pytest.raises(Unauthenticated):
        asking(registry, lambda repository: repository.resolve("latest"), Access(ask=me))
    assert len(registry.seen) <= 6
