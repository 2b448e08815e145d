"""What every test may use: root and peer checks that skip with a reason, the private engine, the skip report."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from hakobune.testing.engine import PrivateEngine

# How long an example takes says how busy the machine is.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `root` are skipped, and counted, when we are not."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(scope="session")
def peer() -> Callable[[str], Path]:
    """`peer("skopeo")`: the path of a real program, or this test is skipped with its name as the reason."""

    def find(program: str) -> Path:
        found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if not found:
            pytest.skip(f"peer not installed: {program}")
        return Path(found)

    return find


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    """A private hakod with roots, bridge and socket of its own; leaves nothing, and checks that."""
    with PrivateEngine() as running:
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """No test is skipped silently: each reason with its count."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        longrepr = report.longrepr
        reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
        reasons[reason.removeprefix("Skipped: ")] += 1
    terminalreporter.section("skipped tests by reason")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5d}  {reason}")
    terminalreporter.write_line(f"{sum(reasons.values()):5d}  skipped in all")
