"""The suite of content stores, on ours and on the real containerd's."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from hakobune.containerd.client import Client
from hakobune.testing import contents
from hakobune.testing.containerd import RealContainerd
from hakobune.testing.manager import PrivateManager
from hakobune.testing.manager import run as loop
from hakobune.testing.peers import built

pytestmark = [pytest.mark.root, pytest.mark.slow]
CHECKS = contents.checks()


@pytest.fixture(scope="module", params=["ours", "Debian's containerd", "current containerd"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a manager."""
    if request.param == "ours":
        made = PrivateManager()
        made.start()
        yield made.address
        made.end()
        return
    program = "/usr/bin/containerd" if "Debian" in request.param else built("containerd")
    if not program or not os.path.exists(program):
        pytest.skip(f"peer not installed: {request.param}")
    with RealContainerd(program) as real:
        yield real.address


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
