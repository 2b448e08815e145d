"""The suite of content stores, on ours and on the real containerd's."""

from __future__ import annotations

import pytest

from hakobune.containerd.client import Client
from hakobune.testing import contents
from hakobune.testing.manager import run as loop

pytestmark = [pytest.mark.root, pytest.mark.slow]
CHECKS = contents.checks()


@pytest.mark.parametrize("check", CHECKS)
def test_a_content_store(address: str, check: str) -> None:
    async def body() -> None:
        client = Client(address, f"suite-{check.replace('_', '-')}")
        await client.ready(30)
        try:
            await CHECKS[check](client)
        finally:
            await client.close()

    loop(body())
