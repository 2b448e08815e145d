"""Blobs and manifests into a registry: what is there is not sent, what lies beside is mounted, cut uploads go on.

Source: distribution-spec, "Push".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlencode, urljoin, urlsplit

from hakobune.errors import DataLoss, InvalidArgument, Unavailable
from hakobune.registry.http import Answer
from hakobune.registry.replies import AGAIN, LARGEST_ERROR, failure
from hakobune.registry.repository import Open
from hakobune.registry.session import TRIES, Session, pause
from hakobune.spec.descriptor import Descriptor

PUSHED, EXISTS = "pushed", "exists"
MONOLITHIC = 4 << 20  # up to here a cut upload is simply begun again
_STREAM = {"Content-Type": "application/octet-stream"}


class Upload:
    """Into the repository `path` of a session's registry."""

    def __init__(self, session: Session, path: str) -> None:
        self._session = session
        self._path = path
        self._scope = f"repository:{path}:pull,push"

    async def blob(self, descriptor: Descriptor, read: Open, sources: Sequence[str]) -> str:
        """ "exists", the source that it was mounted from, or "pushed"."""
        if await self._known(f"blobs/{descriptor.digest}"):
            return EXISTS
        location = ""
        for source in sources:
            location = await self._begin(descriptor, source)
            if not location:
                return source
        location = location or await self._begin(descriptor)
        await self._send(descriptor, read, location)
        return PUSHED

    async def _known(self, rest: str, digest: str = "") -> bool:
        async with self._session.ask(
            "HEAD", f"{self._path}/{rest}", self._scope, headers={"Accept": "*/*"}
        ) as answer:
            if answer.status == 200:
                return not digest or answer.headers.get("docker-content-digest") == digest
            return False  # also when it was refused: the next request's answer has words for it

    async def _failure(self, answer: Answer, rest: str) -> Exception:
        body = await answer.beginning(LARGEST_ERROR)
        return failure(f"{self._path}/{rest}", answer.status, body, self._session.host.name)

    async def _begin(self, descriptor: Descriptor, source: str = "") -> str:
        """The URL to send to; "" when it was mounted from `source`."""
        path, scope = f"{self._path}/blobs/uploads/", self._scope
        if source:
            path += "?" + urlencode({"mount": descriptor.digest, "from": source})
            scope += f" repository:{source}:pull"
        async with self._session.ask("POST", path, scope) as answer:
            if source and answer.status == 201:
                return ""
            if answer.status != 202:
                raise await self._failure(answer, "blobs/uploads/")
            return _location(answer)

    async def _send(self, descriptor: Descriptor, read: Open, location: str) -> None:
        offset = 0
        for attempt in range(TRIES):
            try:
                if descriptor.size <= MONOLITHIC:
                    await self._put(descriptor, location, lambda: read(0), descriptor.size)
                else:
                    location = await self._patch(descriptor, read, location, offset)
                    await self._put(descriptor, location, None, 0)
                return
            except Unavailable:
                if attempt == TRIES - 1:
                    raise
                await asyncio.sleep(pause(attempt))
                location, offset = await self._go_on(descriptor, location)

    async def _patch(self, descriptor: Descriptor, read: Open, location: str, offset: int) -> str:
        if offset >= descriptor.size:
            return location
        headers = {**_STREAM, "Content-Range": f"{offset}-{descriptor.size - 1}"}
        async with self._session.ask(
            "PATCH", location, self._scope, headers=headers, tries=1, body=lambda: read(offset),
            length=descriptor.size - offset,
        ) as answer:  # fmt: skip
            if answer.status in AGAIN:
                raise Unavailable(f"{self._path}: upload of {descriptor.digest}: status {answer.status}")
            if answer.status not in (202, 204):
                raise await self._failure(answer, "blobs/uploads/")
            return _location(answer)

    async def _put(self, descriptor: Descriptor, location: str, read: object, length: int) -> None:
        joint = "&" if urlsplit(location).query else "?"
        url = f"{location}{joint}{urlencode({'digest': descriptor.digest})}"

        def body() -> AsyncIterator[bytes] | bytes:
            return read() if callable(read) else b""

        async with self._session.ask(
            "PUT", url, self._scope, headers=_STREAM, tries=1, body=body, length=length
        ) as answer:
            if answer.status in AGAIN:
                raise Unavailable(f"{self._path}: upload of {descriptor.digest}: status {answer.status}")
            if answer.status != 201:
                raise await self._failure(answer, "blobs/uploads/")

    async def _go_on(self, descriptor: Descriptor, location: str) -> tuple[str, int]:
        """(URL, bytes that have arrived) of a cut upload; a new one when the registry has forgotten it."""
        if descriptor.size > MONOLITHIC:
            async with self._session.ask("GET", location, self._scope) as answer:
                last = answer.headers.get("range", "").removeprefix("bytes=").partition("-")[2]
                if answer.status == 204 and last.isascii() and last.isdigit():
                    arrived = int(last) + 1 if int(last) else 0
                    return _location(answer), min(arrived, descriptor.size)
        return await self._begin(descriptor), 0

    async def manifest(self, label: str, descriptor: Descriptor, body: bytes) -> bool:
        """Put it under a tag, or its digest; False when the registry has just this there."""
        if await self._known(f"manifests/{label}", descriptor.digest):
            return False
        headers = {"Content-Type": descriptor.media_type}
        path = f"{self._path}/manifests/{label}"
        async with self._session.ask("PUT", path, self._scope, headers=headers, body=lambda: body) as answer:
            if answer.status not in (200, 201):
                raise await self._failure(answer, f"manifests/{label}")
            found = answer.headers.get("docker-content-digest", descriptor.digest)
        if found != descriptor.digest:
            raise DataLoss(
                f"{self._path}:{label}: the registry stored {found!r:.100} instead of {descriptor.digest}"
            )
        return True


def _location(answer: Answer) -> str:
    """Whole. Raises InvalidArgument when the registry names none."""
    there = answer.headers.get("location", "")
    if not there:
        raise InvalidArgument("the registry does not say where to upload to")
    return urljoin(answer.url, there)
