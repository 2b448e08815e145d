"""Requests to the hosts of one registry: authorised, redirected, tried again.

A redirect to another origin loses everything that says who we are: Authorization, the configured headers and our
certificate. What failed for reasons that pass (429, 5xx, cut connections) is tried again after a pause.
"""

from __future__ import annotations

import asyncio
import calendar
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from urllib.parse import urljoin

from hakobune.errors import InvalidArgument, Unavailable
from hakobune.registry.authorization import Authorization
from hakobune.registry.hosts import Host
from hakobune.registry.http import Answer, Body, Http, Plain, Tls, split
from hakobune.registry.replies import AGAIN
from hakobune.registry.repository import Access

TRIES = 5
FIRST_PAUSE = 0.2  # seconds, doubled each time
LONGEST_PAUSE = 30.0
_REDIRECTS = 5
_MOVED = frozenset((301, 302, 303, 307, 308))


class Session:
    """One host of a registry; belongs to an `Http` that several may share."""

    def __init__(self, http: Http, host: Host, access: Access) -> None:
        self.host = host
        self._http = http
        self._access = access
        self._base = host.base
        self._fallback = host.fallback
        self.authorization = Authorization(http, host, access.ask, lambda: self._base, keep=access.keep)

    @property
    def base(self) -> str:
        """The URL up to /v2, with the scheme that the host turned out to speak."""
        return self._base

    @contextlib.asynccontextmanager
    async def ask(
        self, method: str, path: str, scope: str, *, headers: Mapping[str, str] | None = None, tries: int = TRIES,
        body: Callable[[], Body] = lambda: None, length: int = 0,
    ) -> AsyncIterator[Answer]:  # fmt: skip
        """One request to `path` below the base, or to a whole URL: the answer's head, whatever its status.

        Raises Unavailable after the last try, and what Authorization raises.
        """
        answer = await self._patiently(method, path, scope, headers or {}, body, length, tries)
        try:
            yield answer
        finally:
            answer.close()

    async def _patiently(
        self, method: str, path: str, scope: str, headers: Mapping[str, str], body: Callable[[], Body], length: int,
        tries: int,
    ) -> Answer:  # fmt: skip
        for attempt in range(tries):
            last = attempt == tries - 1
            try:
                answer = await self._authorised(method, path, scope, headers, body, length)
            except Unavailable:
                if last:
                    raise
                await asyncio.sleep(pause(attempt))
                continue
            if last or answer.status not in AGAIN:
                return answer
            wait = pause(attempt, answer.headers.get("retry-after", ""))
            answer.close()
            await asyncio.sleep(wait)
        raise AssertionError("the last try returns or raises")

    async def _authorised(
        self,
        method: str,
        path: str,
        scope: str,
        headers: Mapping[str, str],
        body: Callable[[], Body],
        length: int,
    ) -> Answer:
        """Without a name first, or with the token that there is; then with what the 401 asks for."""
        value = await self.authorization.value(scope)
        answer = await self._redirected(method, path, value, headers, body, length)
        if answer.status != 401 or not await self.authorization.refused(answer.challenges, scope, value):
            return answer
        async with answer:
            await answer.beginning(4096)
        return await self._redirected(
            method, path, await self.authorization.value(scope), headers, body, length
        )

    async def _redirected(
        self,
        method: str,
        path: str,
        value: str,
        headers: Mapping[str, str],
        body: Callable[[], Body],
        length: int,
    ) -> Answer:
        url = self.url(path)
        tls = self.host.tls
        for _ in range(_REDIRECTS + 1):
            at_home = split(url, tls)[0] == split(self._base, tls)[0]
            own = {**self._access.headers, **self.host.headers} if at_home else {}
            named = {"Authorization": value} if value and at_home else {}
            answer = await self._speak(
                method, url, {**own, **headers, **named}, tls if at_home else _elsewhere(tls), body, length
            )
            there = answer.headers.get("location", "")
            if answer.status not in _MOVED or not there or method not in ("GET", "HEAD"):
                return answer
            answer.close()
            url = urljoin(answer.url, there)
        raise InvalidArgument(f"registry {self.host.name}: more than {_REDIRECTS} redirects")

    async def _speak(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        tls: Tls,
        body: Callable[[], Body],
        length: int,
    ) -> Answer:
        try:
            return await self._http.request(method, url, headers, tls=tls, body=body(), length=length)
        except Plain:
            if not self._fallback or not url.startswith(self.host.base):
                raise
        self._base = self._base.replace("https://", "http://", 1)
        plain = url.replace("https://", "http://", 1)
        headers = {name: text for name, text in headers.items() if name != "Authorization"}
        return await self._http.request(method, plain, headers, tls=tls, body=body(), length=length)

    def url(self, path: str) -> str:
        """Whole."""
        return path if "://" in path else f"{self._base}/{path}"

    @contextlib.asynccontextmanager
    async def foreign(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        """A GET of a layer that lies elsewhere: without a name, whatever it asks for."""
        for _ in range(_REDIRECTS + 1):
            async with await self._http.request("GET", url, headers) as answer:
                there = answer.headers.get("location", "")
                if answer.status not in _MOVED or not there:
                    yield answer
                    return
                url = urljoin(url, there)
        raise InvalidArgument(f"{url}: more than {_REDIRECTS} redirects")


def _elsewhere(tls: Tls) -> Tls:
    return Tls(tls.authorities, (), tls.skip_verify)


def _told(retry_after: str) -> float | None:
    """Seconds, which the header has as a number or as a moment (RFC 9110, 10.2.3)."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    with contextlib.suppress(ValueError):
        moment = calendar.timegm(time.strptime(retry_after, "%a, %d %b %Y %H:%M:%S GMT"))
        return max(moment - time.time(), 0.0)
    return None


def pause(attempt: int, retry_after: str = "") -> float:
    """Seconds before the next try: as the registry says, else doubling, with some chance in it."""
    told = _told(retry_after)
    if told is not None:
        return min(told, LONGEST_PAUSE)
    return min(FIRST_PAUSE * 2.0**attempt, LONGEST_PAUSE) * random.uniform(0.75, 1.25)
