"""`manifest inspect`: a manifest as its registry has it, asked for from here and not by the engine."""

from __future__ import annotations

import json

from . import credentials
from .command import Command, Context
from .failure import Failure
from .flags import Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _inspect(context: Context, values: Values, arguments: list[str]) -> int:
    found = _fetch(arguments[0], insecure=values.on("insecure"))
    body = json.loads(found[1])
    if values.on("verbose"):
        kind, digest, size = found[0]
        about = {"mediaType": kind, "digest": digest, "size": size}
        body = {"Ref": arguments[0], "Descriptor": about, "Manifest": body}
    context.say(json.dumps(body, indent="\t", ensure_ascii=False))
    return 0


def _fetch(name: str, *, insecure: bool) -> tuple[tuple[str, str, int], str]:
    """((media type, digest, size), text): the client of registries is loaded for this alone."""
    import asyncio

    from hakobune.errors import HakoError
    from hakobune.registry.remote import open_repository
    from hakobune.registry.repository import Access, Credentials
    from hakobune.spec import reference

    mine = credentials.get(credentials.server_of(name))

    async def ask(host: str) -> Credentials:
        secret = mine.get("identitytoken") or mine.get("password") or ""
        ours = credentials.key_of(host) == credentials.server_of(name)
        return Credentials(mine.get("username", ""), secret) if ours else Credentials()

    async def body() -> Any:
        whole = reference.parse(name).whole()
        access = Access(ask, default_scheme="http" if insecure else "")
        async with open_repository(whole, access) as repository:
            found = await repository.resolve(whole.digest or whole.tag)
            return (found.media_type, found.digest, found.size), (await repository.manifest(found)).decode()

    try:
        found: tuple[tuple[str, str, int], str] = asyncio.run(body())
    except HakoError as err:
        raise Failure(f"hako: no such manifest: {name}: {err}") from None
    return found


COMMANDS = {
    "inspect": Command(
        "manifest inspect [OPTIONS] NAME[:TAG|@DIGEST]",
        "Show a manifest, or a list of them, as the registry has it.",
        _inspect,
        flags="""
    --insecure  The registry does without TLS
-v, --verbose   With its descriptor
""",
        least=1,
        most=1,
    )
}
