"""What the documents say exists, exists: links, make targets, commands, modules, entry points; and both READMEs agree."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from hakobune.cli import verbs

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "bench/README.md"])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
READMES = (ROOT / "README.md", ROOT / "README.ja.md")
FOREIGN = re.compile(r"https?://|mailto:")


def _without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.S)


def _blocks(text: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", text, flags=re.S)


def _anchors(page: Path) -> set[str]:
    """GitHub's names of the headings: lowercase, punctuation dropped, spaces as hyphens."""
    headings = re.findall(r"^#+ (.*)$", _without_code(page.read_text()), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def _targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _without_code(page.read_text())):
        if FOREIGN.match(target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in _anchors(there), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_make_targets_exist(page: Path) -> None:
    text = page.read_text()
    spoken = re.findall(r"`make ([a-z]+)`", text)
    typed = [word for block in _blocks(text) for word in re.findall(r"^make ([a-z]+)", block, flags=re.M)]
    assert {*spoken, *typed} <= _targets()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_programs_of_the_environment_exist(page: Path) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for program, first in re.findall(r"\.venv/bin/([\w-]+)(?: ([\w./-]+))?", page.read_text()):
        if program == "python":
            assert (ROOT / first).is_file(), first
        else:
            assert program in scripts, program


def test_every_entry_point_is_a_module() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name, place in scripts.items():
        module, function = place.split(":")
        path = ROOT / "src" / (module.replace(".", "/") + ".py")
        assert re.search(rf"^def {function}\(", path.read_text(), flags=re.M), name


def test_every_decision_is_numbered_and_complete() -> None:
    pages = sorted((ROOT / "docs/adr").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    for page in pages:
        text = page.read_text()
        assert text.startswith(f"# {page.name[:4]} · "), page.name
        for part in ("**Context.**", "**Choice.**", "**Consequence.**"):
            assert part in text, f"{page.name}: {part}"


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "docs/dependencies.md").read_text()
    for requirement in project["dependencies"]:
        assert f"| {re.split('[<>=!~ ]', requirement)[0]} |" in text, requirement


def test_every_room_is_on_the_map() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    rooms = {path.parent.name for path in (ROOT / "src/hakobune").glob("*/__init__.py")}
    assert not {room for room in rooms if f"{room}/" not in text}


def test_modules_that_the_map_names_exist() -> None:
    text = _without_code((ROOT / "docs/architecture.md").read_text())
    for name in set(re.findall(r"`((?:[a-z]+/)+[a-z_]+\.py)`", text)):
        assert (ROOT / "src/hakobune" / name).is_file(), name


def test_both_readmes_tell_the_same() -> None:
    english, japanese = (page.read_text() for page in READMES)

    def bare(block: str) -> list[str]:
        return [line.partition("#")[0].rstrip() for line in block.splitlines()]

    assert [bare(block) for block in _blocks(english)] == [bare(block) for block in _blocks(japanese)]
    assert len(re.findall(r"^#", english, flags=re.M)) == len(re.findall(r"^#", japanese, flags=re.M))
    assert len(re.findall(r"^\|", english, flags=re.M)) == len(re.findall(r"^\|", japanese, flags=re.M))
    # what the table of working things names in code is the same in both
    assert sorted(re.findall(r"`[^`]+`", _table(english))) == sorted(re.findall(r"`[^`]+`", _table(japanese)))


def _table(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("|"))


def test_commands_that_are_said_to_work_are_known_to_hako() -> None:
    listed = re.search(r"\| `(version [^`]*)` \|", READMES[0].read_text())
    assert listed is not None
    for verb in listed.group(1).split():
        words = [verb, "ls"] if verb in verbs.GROUPS else [verb]
        command, _rest, _help = verbs.find(words)
        assert command is not None, verb
