"""`hako/starter`: a shell and the core utilities out of this host's own files, so that any machine has an image."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from typing import IO, TYPE_CHECKING

from hakobune.engine.images.document import new_config
from hakobune.layers.starter import write_tar
from hakobune.logs.json_file import rfc3339

if TYPE_CHECKING:
    from hakobune.engine.images.images import Images

NAME = "hako/starter"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PART = 1 << 20


def wanted(text: str) -> bool:
    """Whether a name means this image."""
    return text in (NAME, f"{NAME}:latest", f"docker.io/{NAME}", f"docker.io/{NAME}:latest")


async def build(images: Images) -> None:
    """Make it, in a thread: reading the host's programs takes a moment."""
    config = new_config(
        {"Cmd": ["/bin/sh"], "Env": [_PATH], "Labels": {"io.hakobune.image": "starter"}},
        created=rfc3339(time.time_ns()),
        comment="made from this host's own files",
    )
    with tempfile.TemporaryFile(dir=os.environ.get("TMPDIR")) as file:
        await asyncio.to_thread(_write, file)
        await images.add(_parts(file), config, NAME)


def _write(file: IO[bytes]) -> None:
    write_tar(file)
    file.seek(0)


async def _parts(file: IO[bytes]) -> AsyncIterator[bytes]:
    while part := file.read(_PART):
        yield part
