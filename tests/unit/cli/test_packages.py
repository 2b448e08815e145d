"""A Debian image of packages: the command that makes it, and what becomes of its output and of its failure."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_engine import FakeEngine

from hakobune.cli.failure import Failure
from hakobune.cli.flags import Parser
from hakobune.cli.packages import COMMANDS, line

Run = Callable[..., tuple[int, str, str]]


def built(*words: str, codename: str = "") -> list[str]:
    values, arguments = Parser(COMMANDS["from-packages"].table()).parse(list(words))
    return line(values, arguments, codename)


def test_the_command() -> None:
    assert built("--suite", "trixie", "nginx-light", "curl") == [
        "mmdebstrap", "--format=tar", "--variant=minbase", "--include=nginx-light,curl", "trixie", "-",
    ]  # fmt: skip
    assert built("--variant", "apt", "--arch", "arm64", "--mirror", "http://m/debian", codename="sid") == [
        "mmdebstrap", "--format=tar", "--variant=apt", "--architectures=arm64", "sid", "-", "http://m/debian",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Bad_Name"], "invalid package name: 'Bad_Name'"),
        (["a,b"], "invalid package name"),
        (["--suite", "-x"], "invalid suite"),
        (["--suite", "sid", "--mirror", "--setup-hook=x"], "invalid mirror"),
        ([], "name the release with --suite"),
    ],
)
def test_what_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(Failure, match=said):
        built(*words)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A mmdebstrap of the test's own."""

    def make(script: str) -> None:
        (tmp_path / "mmdebstrap").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "mmdebstrap").chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return make


def test_its_output_is_imported(hako: Run, fake: FakeEngine, program: Callable[[str], None]) -> None:
    program("echo archive of $#")
    fake.answer("POST /images/create", {"status": "sha256:1"})
    assert hako("image", "from-packages", "--suite", "sid", "mine:1", "curl") == (0, "sha256:1\n", "")
    (asked,) = fake.seen
    assert (asked.query["fromSrc"], asked.query["repo"]) == ("-", "mine:1")
    assert asked.query["changes"] == 'CMD ["/bin/sh"]'
    assert asked.body == b"archive of 5\n"


def test_its_failure_is_told_and_makes_no_image(
    hako: Run, fake: FakeEngine, program: Callable[[str], None]
) -> None:
    program("echo half; exit 3")
    fake.answer("POST /images/create", {"status": "sha256:1"})
    code, out, err = hako("image", "from-packages", "--suite", "sid", "mine:1")
    assert (code, out, "mmdebstrap failed with exit code 3" in err) == (1, "", True)


def test_where_it_is_not_installed(hako: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = hako("image", "from-packages", "--suite", "sid", "mine:1")
    assert (code, "mmdebstrap is not installed on this machine" in err) == (1, True)
