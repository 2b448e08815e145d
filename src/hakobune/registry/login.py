"""Whether a registry takes somebody's credentials: one authorised request to /v2/."""

from __future__ import annotations

from dataclasses import replace

from hakobune.registry.hosts import hosts_of
from hakobune.registry.http import Http
from hakobune.registry.replies import LARGEST_ERROR, failure
from hakobune.registry.repository import Access
from hakobune.registry.session import Session


async def login(domain: str, access: Access) -> str:
    """An identity token to be kept in place of the password, "" for none.

    Raises Unauthenticated, PermissionDenied, Unavailable and what a registry's nonsense gives.
    """
    http = Http()
    host = hosts_of(domain, access.host_dir, access.default_scheme)[-1]
    session = Session(http, host, replace(access, keep=True))
    try:
        async with session.ask("GET", "", "", tries=1) as answer:
            if answer.status != 200:
                body = await answer.beginning(LARGEST_ERROR)
                raise failure(f"login to {domain}", answer.status, body, session.host.name)
        return session.authorization.identity_token
    finally:
        http.close()
