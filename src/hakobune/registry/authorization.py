"""Who we say we are: Authorization values for one registry host, tokens fetched and kept.

Tokens are kept by scope until shortly before their end; a 401 in the middle of a pull drops the one that it refuses.
Credentials go to the registry that asks (Basic) or to the token server that it names (Bearer), to that one only over
TLS unless the registry itself is without, and to nobody else. Source: distribution, docs/spec/auth/token.md, oauth.md.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from hakobune.errors import InvalidArgument, PermissionDenied, Unauthenticated
from hakobune.registry import challenge
from hakobune.registry.challenge import Challenge
from hakobune.registry.hosts import Host
from hakobune.registry.http import Answer, Http, Tls
from hakobune.registry.replies import sentence
from hakobune.registry.repository import Ask, Credentials

CLIENT_ID = "hakobune"
_MARGIN_SECONDS = 10.0
_LEAST_SECONDS = 60  # of a token's life, when the server says less or nothing (token.md)
_LARGEST_ANSWER = 1 << 20


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    until: float


class Authorization:
    """For one host. `value` is what to send, `refused` learns from a 401."""

    def __init__(
        self, http: Http, host: Host, ask: Ask, base: Callable[[], str], *, keep: bool = False
    ) -> None:
        self._keep = keep
        self._http = http
        self._base = base  # where the host is really spoken to, its scheme among it
        self._host = host
        self._ask = ask
        self._credentials: Credentials | None = None
        self._challenge: Challenge | None = None
        self._tokens: dict[str, _Token] = {}
        self._lock = asyncio.Lock()
        self.identity_token = ""  # that a token server has given

    async def value(self, scope: str) -> str:
        """The Authorization for a request that needs `scope`; "" while nobody has asked for one.

        Raises Unauthenticated, PermissionDenied, Unavailable, InvalidArgument.
        """
        async with self._lock:
            asked = self._challenge
            if asked is None:
                return ""
            if asked.scheme == "basic":
                return await self._basic()
            return await self._bearer(asked, scope)

    async def refused(self, challenges: tuple[str, ...], scope: str, sent: str) -> bool:
        """A request was answered with 401; whether another value than `sent` can be tried."""
        asked = challenge.pick(challenge.parse(challenges))
        if asked is None:
            return False
        async with self._lock:
            self._challenge = asked
            kept = self._tokens.get(_scope(asked, scope))
            if kept is not None and sent == f"Bearer {kept.text}":
                del self._tokens[_scope(asked, scope)]
            if asked.scheme == "basic":
                value = await self._basic()
                return bool(value) and value != sent
            own = await self._own()
            return own.header != sent if own.header else True

    async def _own(self) -> Credentials:
        if self._credentials is None:
            self._credentials = await self._ask(self._host.name)
        return self._credentials

    async def _basic(self) -> str:
        own = await self._own()
        if own.header:
            return own.header
        return _basic(own) if own.username else ""

    async def _bearer(self, asked: Challenge, scope: str) -> str:
        own = await self._own()
        if own.header:
            return own.header
        scope = _scope(asked, scope)
        kept = self._tokens.get(scope)
        if kept is None or kept.until < time.monotonic():
            kept = self._tokens[scope] = await self._fetch(asked, scope, own)
        return f"Bearer {kept.text}"

    def _realm(self, asked: Challenge) -> str:
        """The token server. Raises InvalidArgument for one that must not see credentials."""
        realm = asked.parameters.get("realm", "")
        parts = urlsplit(realm)
        ours = urlsplit(self._base())
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise InvalidArgument(f"registry {self._host.name} names no token server: realm {realm!r}")
        if parts.scheme == "http" and ours.scheme == "https":
            raise PermissionDenied(
                f"registry {self._host.name} names a token server without TLS ({realm}): no credentials are sent there"
            )
        return realm

    def _tls(self, realm: str) -> Tls:
        """As the registry's own on the same host; elsewhere without our certificate, and always verified."""
        same = urlsplit(realm).hostname == urlsplit(self._host.base).hostname
        return self._host.tls if same else Tls(self._host.tls.authorities)

    async def _fetch(self, asked: Challenge, scope: str, own: Credentials) -> _Token:
        realm = self._realm(asked)
        service = asked.parameters.get("service", "")
        if own.secret and not own.username:
            answer = await self._post(realm, service, scope, own)
        else:
            answer = await self._get(realm, service, scope, own)
        async with answer:
            return await self._token(answer, realm)

    async def _get(self, realm: str, service: str, scope: str, own: Credentials) -> Answer:
        fields = [("account", own.username)] if own.username else []
        fields += [("service", service)] if service else []
        fields += [("scope", one) for one in scope.split(" ") if one]
        if own.username:
            fields += [("client_id", CLIENT_ID)]
            fields += [("offline_token", "true")] if self._keep else []
        joint = "&" if urlsplit(realm).query else "?"
        headers = {"Authorization": _basic(own)} if own.username else {}
        url = f"{realm}{joint}{urlencode(fields, quote_via=quote)}" if fields else realm
        return await self._http.request("GET", url, headers, tls=self._tls(realm))

    async def _post(self, realm: str, service: str, scope: str, own: Credentials) -> Answer:
        form = {
            "grant_type": "refresh_token", "service": service, "client_id": CLIENT_ID, "refresh_token": own.secret,
        } | ({"scope": scope} if scope else {})  # fmt: skip
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._http.request(
            "POST", realm, headers, tls=self._tls(realm), body=urlencode(form).encode()
        )

    async def _token(self, answer: Answer, realm: str) -> _Token:
        if answer.status in (401, 403):
            raise Unauthenticated(
                f"authorization failed: {sentence(answer.status, await answer.beginning(4096))}"
            )
        if answer.status != 200:
            raise InvalidArgument(
                f"token server {realm}: {sentence(answer.status, await answer.beginning(4096))}"
            )
        document = _document(await answer.read(_LARGEST_ANSWER), realm)
        text = document.get("token") or document.get("access_token") or ""
        if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable():
            raise Unauthenticated(f"authorization failed: token server {realm} gave no token")
        if isinstance(document.get("refresh_token"), str):
            self.identity_token = document["refresh_token"]
        life = document.get("expires_in")
        seconds = max(life, _MARGIN_SECONDS + 1) if isinstance(life, int) and life > 0 else _LEAST_SECONDS
        return _Token(text, time.monotonic() + seconds - _MARGIN_SECONDS)


def _scope(asked: Challenge, scope: str) -> str:
    """What the registry wants together with what we are about, each once."""
    words = [*asked.parameters.get("scope", "").split(" "), *scope.split(" ")]
    return " ".join(dict.fromkeys(word for word in words if word))


def _basic(own: Credentials) -> str:
    return f"Basic {base64.b64encode(f'{own.username}:{own.secret}'.encode()).decode()}"


def _document(data: bytes, realm: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InvalidArgument(f"token server {realm}: the answer is not a JSON object")
    return document
