"""POST /images/create?fromSrc=URL: an import of an archive that the engine fetches itself, telling how far it is.

Only http and https, as many redirects as browsers follow; proxies of the engine's environment count. What speaks
HTTP as a client is loaded when somebody asks. Imports: the room's own modules, registry (its HTTP client).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from hakobune.engine.images import importing
from hakobune.engine.images.images import Images
from hakobune.engine.images.model import Image
from hakobune.engine.images.moving import bar
from hakobune.engine.images.progress import line
from hakobune.errors import InvalidArgument, NotFound, Unavailable

if TYPE_CHECKING:
    from hakobune.registry.http import Answer

_MOVED = (301, 302, 303, 307, 308)
_REDIRECTS = 10
_EVERY = 1 << 20  # bytes between two lines about the progress


def whole(source: str) -> str:
    """The URL that a client means: http where no scheme stands. Raises InvalidArgument for any other scheme."""
    url = source if "://" in source else f"http://{source}"
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise InvalidArgument(f"invalid source {source!r}: an http or https URL is needed, or -")
    return url


async def lines(images: Images, asked: importing.Wanted, url: str) -> AsyncGenerator[bytes, None]:
    """What the client sees; the image's id at the end. Raises HakoError as `importing.load` does, Unavailable and
    NotFound for what cannot be fetched; then, and when it is closed, nothing is left."""
    yield line(status=f"Downloading from {url}")
    async with contextlib.aclosing(_fetched(url)) as parts:
        told = _Told()
        loading = asyncio.ensure_future(importing.load(images, asked, told.counted(parts)))
        try:
            while (count := await told.next(loading)) is not None:
                detail = {"current": count, "total": told.total}
                yield line(status="Downloading", progressDetail=detail, progress=bar(count, told.total))
            yield line(status=(await loading).id)
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)


class _Told:
    """How much has come, for somebody who waits to say it."""

    def __init__(self) -> None:
        self.total = 0
        self._count = 0
        self._said = 0
        self._news = asyncio.Event()

    async def counted(self, parts: AsyncIterator[tuple[bytes, int]]) -> AsyncIterator[bytes]:
        """The same parts."""
        async for part, total in parts:
            self.total = max(total, 0)
            self._count += len(part)
            if self._count - self._said >= _EVERY:
                self._news.set()
            yield part

    async def next(self, until: asyncio.Future[Image]) -> int | None:
        """The count when there is something to say; None when `until` is done."""
        waiting = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait((waiting, until), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if until.done():
            return None
        self._news.clear()
        self._said = self._count
        return self._count


async def _fetched(url: str) -> AsyncGenerator[tuple[bytes, int], None]:
    """(part, length of the whole or -1). Raises NotFound, Unavailable, InvalidArgument."""
    from hakobune.registry.http import Http

    http = Http()
    try:
        for _ in range(_REDIRECTS + 1):
            async with await http.request("GET", url, {}) as answer:
                there = answer.headers.get("location", "")
                if answer.status in _MOVED and there:
                    url = whole(urljoin(url, there))
                    continue
                _check(answer, url)
                async for part in answer.parts():
                    yield part, answer.length
                return
        raise InvalidArgument(f"{url}: more than {_REDIRECTS} redirects")
    finally:
        http.close()


def _check(answer: Answer, url: str) -> None:
    if answer.status == 200:
        return
    kind = NotFound if answer.status in (404, 410) else Unavailable
    raise kind(f"{url}: the server answered with HTTP status {answer.status}")
