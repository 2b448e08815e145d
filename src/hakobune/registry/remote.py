"""A repository as it is read and written over HTTP: the implementation of `repository.Repository`.

Each of the hosts that may serve the name is asked in turn: a mirror that does not have it, or does not answer, is passed
over, and the registry itself has the last word.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from hakobune.errors import DataLoss, HakoError, InvalidArgument, NotFound, Unavailable
from hakobune.registry import manifests
from hakobune.registry.hosts import PULL, PUSH, RESOLVE, hosts_of, is_here
from hakobune.registry.http import Answer, Http
from hakobune.registry.replies import LARGEST_ERROR, failure
from hakobune.registry.repository import LARGEST_MANIFEST, MANIFEST_TYPES, Access, Open
from hakobune.registry.session import TRIES, Session, pause
from hakobune.registry.upload import Upload
from hakobune.spec import reference
from hakobune.spec.descriptor import Descriptor
from hakobune.spec.reference import Reference

_ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES) + ", */*"}
_MIRROR_TRIES = 2
_RESOLVE_TRIES = 3
_MOST_PAGES = 1000
T = TypeVar("T")


def open_repository(name: Reference | str, access: Access) -> Remote:
    """To be entered with `async with`. Raises InvalidArgument for a name or configuration that is wrong."""
    return Remote(reference.parse(name) if isinstance(name, str) else name, access)


class Remote:
    """Belongs to one loop; several blobs may be read at a time."""

    def __init__(self, name: Reference, access: Access) -> None:
        self.name = name
        self._http = Http()
        hosts = hosts_of(name.domain, access.host_dir, access.default_scheme)
        self._sessions = [Session(self._http, host, access) for host in hosts]

    async def __aenter__(self) -> Remote:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._http.close()

    def _scope(self, *actions: str) -> str:
        return f"repository:{self.name.path}:{','.join(actions)}"

    def _path(self, session: Session, rest: str) -> str:
        path = f"{self.name.path}/{rest}"
        if session.host.mirror:
            path += f"{'&' if '?' in path else '?'}ns={self.name.domain}"
        return path

    async def _each(
        self, capability: str, work: Callable[[Session, int], Awaitable[T]], tries: int = TRIES
    ) -> T:
        """The answer of the first host that has one; else what the last one said."""
        able = [one for one in self._sessions if capability in one.host.capabilities]
        for session in able[:-1]:
            try:
                return await work(session, min(tries, _MIRROR_TRIES))
            except HakoError:
                continue
        if not able:
            raise NotFound(f"{self.name.name}: no host is configured that may {capability}: not found")
        return await work(able[-1], tries)

    # --- manifests ---

    async def resolve(self, label: str) -> Descriptor:
        """What a tag or digest stands for."""
        if ":" in label:
            manifests.check_name(label)
        found = await self._each(
            RESOLVE, lambda session, tries: self._resolve(session, label, tries), _RESOLVE_TRIES
        )
        if ":" in label and found.digest != label:
            raise DataLoss(f"{self.name.name}@{label}: the registry answered with {found.digest}")
        manifests.check_size(found)
        return found

    async def _resolve(self, session: Session, label: str, tries: int) -> Descriptor:
        path = self._path(session, f"manifests/{label}")
        async with session.ask("HEAD", path, self._scope("pull"), headers=_ACCEPT, tries=tries) as answer:
            if answer.status == 200:
                digest = answer.headers.get("docker-content-digest", "")
                kind = answer.headers.get("content-type", "").partition(";")[0].strip()
                if reference.is_digest(digest) and kind in MANIFEST_TYPES and answer.length >= 0:
                    return Descriptor(kind, digest, answer.length)
            elif answer.status not in (400, 401, 404, 405):
                raise failure(self._what(label), answer.status, b"", session.host.name)
        kind, body = await self._document(session, label, tries)
        return manifests.described(kind, body, self._what(label))

    def _what(self, label: str) -> str:
        return f"{self.name.name}{'@' if ':' in label else ':'}{label}"

    async def _document(self, session: Session, label: str, tries: int) -> tuple[str, bytes]:
        """(Content-Type, body)."""
        path = self._path(session, f"manifests/{label}")
        async with session.ask("GET", path, self._scope("pull"), headers=_ACCEPT, tries=tries) as answer:
            await self._expect(session, answer, self._what(label), 200)
            try:
                return answer.headers.get("content-type", ""), await answer.read(LARGEST_MANIFEST)
            except InvalidArgument as err:
                raise InvalidArgument(f"manifest {self._what(label)}: {err}") from None

    async def _expect(self, session: Session, answer: Answer, what: str, *statuses: int) -> None:
        if answer.status not in statuses:
            body = await answer.beginning(LARGEST_ERROR)
            raise failure(what, answer.status, body, session.host.name)

    async def manifest(self, descriptor: Descriptor) -> bytes:
        """Its body, checked (manifests.py)."""
        manifests.check_name(descriptor.digest)
        manifests.check_size(descriptor)

        async def fetch(session: Session, tries: int) -> bytes:
            for attempt in range(tries):
                try:
                    _kind, body = await self._document(session, descriptor.digest, tries)
                    return manifests.checked(descriptor, body)
                except Unavailable:  # cut in the middle
                    if attempt == tries - 1:
                        raise
                    await asyncio.sleep(pause(attempt))
            raise AssertionError("the last try returns or raises")

        return await self._each(PULL, fetch)

    # --- blobs ---

    async def blob(
        self, descriptor: Descriptor, *, offset: int = 0, end: int = -1, urls: Sequence[str] = ()
    ) -> AsyncGenerator[bytes, None]:
        """The bytes from `offset` up to `end`; a cut connection is made again and goes on where it was.

        Raises InvalidArgument when the registry gives another number of bytes than the descriptor says.
        """
        manifests.check_name(descriptor.digest)
        end = descriptor.size if end < 0 else end
        able = [one for one in self._sessions if PULL in one.host.capabilities]
        if not able:
            raise NotFound(f"{self.name.name}: no host is configured that may pull: not found")
        failed = 0
        while offset < end:
            session = able[0]
            try:
                async for part in self._range(session, descriptor, offset, end, urls):
                    offset += len(part)
                    failed = 0
                    yield part
            except HakoError as err:
                if len(able) > 1 and not isinstance(err, InvalidArgument):
                    able.pop(0)  # a mirror
                elif isinstance(err, Unavailable) and failed < TRIES - 1:
                    await asyncio.sleep(pause(failed))
                    failed += 1
                else:
                    raise

    async def ranges(self, descriptor: Descriptor) -> bool:
        """False on this machine, where one connection is as fast as the disk, and for a registry that has no ranges."""
        session = self._sessions[0]
        if is_here(session.host.name):
            return False
        path = self._path(session, f"blobs/{manifests.check_name(descriptor.digest)}")
        try:
            async with session.ask("HEAD", path, self._scope("pull"), tries=1) as answer:
                return answer.status == 200 and answer.headers.get("accept-ranges") == "bytes"
        except HakoError:
            return False

    async def _range(
        self, session: Session, descriptor: Descriptor, offset: int, end: int, urls: Sequence[str]
    ) -> AsyncGenerator[bytes, None]:
        part_only = offset > 0 or end < descriptor.size
        headers = {"Range": f"bytes={offset}-{end - 1}"} if part_only else {}
        what = f"{self.name.name}@{descriptor.digest}"
        if urls:
            request = session.foreign(urls[0], headers)
        else:
            path = self._path(session, f"blobs/{descriptor.digest}")
            request = session.ask("GET", path, self._scope("pull"), headers=headers)
        async with request as answer:
            await self._expect(session, answer, what, 200, 206)
            whole = answer.status == 200
            _check_range(answer, what, offset, end, descriptor.size)
            at = 0 if whole else offset
            async for part in answer.parts():
                if at + len(part) > (descriptor.size if whole else end):
                    raise InvalidArgument(f"{what}: more bytes came than the {descriptor.size} that it has")
                wanted = part[max(offset - at, 0) : end - at]
                at += len(part)
                if wanted:
                    yield wanted
                if at >= end and whole and end < descriptor.size:
                    return
            if at < end:
                raise Unavailable(f"{what}: unexpected EOF after {at} of {end} bytes")

    # --- tags ---

    async def tags(self) -> list[str]:
        """All of them, as the registry orders them."""
        return await self._each(RESOLVE, self._tags, _RESOLVE_TRIES)

    async def _tags(self, session: Session, tries: int) -> list[str]:
        found: list[str] = []
        path = self._path(session, "tags/list?n=1000")
        for _ in range(_MOST_PAGES):
            async with session.ask("GET", path, self._scope("pull"), tries=tries) as answer:
                await self._expect(session, answer, self.name.name, 200)
                found += _tags_of(await answer.read(LARGEST_MANIFEST), self.name.name)
                path = _next_page(answer)
            if not path:
                break
        return found

    # --- the other way ---

    async def push_blob(self, descriptor: Descriptor, read: Open, sources: Sequence[str] = ()) -> str:
        """See upload.py."""
        manifests.check_name(descriptor.digest)
        session = self._writable()
        return await Upload(session, self.name.path).blob(descriptor, read, sources)

    async def push_manifest(self, label: str, descriptor: Descriptor, body: bytes) -> bool:
        """See upload.py."""
        session = self._writable()
        return await Upload(session, self.name.path).manifest(label, descriptor, body)

    def _writable(self) -> Session:
        for session in self._sessions:
            if PUSH in session.host.capabilities:
                return session
        raise NotFound(f"{self.name.name}: no host is configured that may be pushed to: not found")


def _check_range(answer: Answer, what: str, offset: int, end: int, size: int) -> None:
    """Raises InvalidArgument when the answer is not about these bytes."""
    expected = size if answer.status == 200 else end - offset
    if answer.length >= 0 and answer.length != expected:
        raise InvalidArgument(f"{what}: the registry has {answer.length} bytes where {expected} are expected")
    if answer.status == 206:
        given = answer.headers.get("content-range", "")
        if not given.startswith(f"bytes {offset}-"):
            raise InvalidArgument(f"{what}: asked for bytes from {offset}, got {given!r:.60}")


def _tags_of(body: bytes, name: str) -> list[str]:
    try:
        document: Any = json.loads(body)
        listed = document["tags"] or []
        return [str(Reference("x", "x").tagged(tag).tag) for tag in listed]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidArgument(f"{name}: the list of tags is not one") from None


def _next_page(answer: Answer) -> str:
    """The URL of `Link: <…>; rel="next"` when it is of the same place, else ""."""
    link, _, rest = answer.headers.get("link", "").partition(">")
    if not link.startswith("<") or 'rel="next"' not in rest.replace("rel=next", 'rel="next"'):
        return ""
    url = urljoin(answer.url, link[1:])
    return url if urlsplit(url)[:2] == urlsplit(answer.url)[:2] else ""
