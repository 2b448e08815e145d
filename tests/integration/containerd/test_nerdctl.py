"""nerdctl, the Docker-like command line of containerd, on our manager. Without CNI plug-ins: no bridge networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from hakobune.testing.clients import Cli, found
from hakobune.testing.conformance import Check, checks_for, outcome, prepared
from hakobune.testing.manager import PrivateManager

pytestmark = [pytest.mark.root, pytest.mark.slow]

CLIENTS = [cli for cli in found() if cli.name == "nerdctl"]
REFUSED: dict[str, str] = {}


@pytest.mark.parametrize("cli", CLIENTS or [None], ids=lambda cli: cli.title if cli else "none")
@pytest.mark.parametrize("check", checks_for("nerdctl"), ids=lambda check: check.command)
def test_command(cli: Cli | None, check: Check, manager: PrivateManager, tmp_path_factory) -> None:
    if cli is None:
        pytest.skip("peer not installed: nerdctl")
    scratch: Path = tmp_path_factory.getbasetemp()
    said = outcome(prepared(cli, check, manager.address, scratch, "io.containerd.hako.v1"), check)
    if said == "not in this version":
        pytest.skip(f"{cli.title} has no `{check.command}`")
    if check.command in REFUSED:
        assert REFUSED[check.command] in said
    else:
        assert said == "works"
