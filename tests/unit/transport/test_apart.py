"""Programs of ours for one piece of work: asked, fed, and left in the middle of what they say."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from hakobune.transport import apart


def big(place: Path) -> Path:
    place.mkdir()
    (place / "file").write_bytes(os.urandom(4 << 20))
    return place


def test_done_tells_status_and_both_outputs(tmp_path: Path) -> None:
    async def story() -> None:
        status, out, err = await apart.done("pack", "--upper", str(big(tmp_path / "upper")))
        assert (status, len(out) > 4 << 20) == (0, True)
        assert b"digest" in err
        assert (await apart.done("unpack", "--nonsense"))[0] == 2

    asyncio.run(story())


@pytest.mark.parametrize("read", [0, 100])
def test_it_ends_with_the_context_whatever_it_still_says(tmp_path: Path, read: int) -> None:
    """Its pipe is full by then, and nobody reads it."""

    async def story() -> int:
        async with apart.program("pack", "--upper", str(big(tmp_path / "upper"))) as process:
            assert process.stdout is not None
            await process.stdout.read(read)
            await asyncio.sleep(0.5)
            assert process.returncode is None
        return process.returncode or 0

    assert asyncio.run(asyncio.wait_for(story(), 10)) == -9
