"""Answers that tell how far the engine is: one JSON object a line, an error as the last one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from hakobune.engine.http.errors import status_of
from hakobune.errors import HakoError


def line(**fields: Any) -> bytes:
    """One message."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\r\n"


async def guarded(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines; a failure becomes the last one, since the answer's status has gone out already."""
    try:
        async for one in lines:
            yield one
    except HakoError as err:
        detail = {"code": status_of(err), "message": err.message}
        yield line(errorDetail=detail, error=err.message)
