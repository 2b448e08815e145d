"""What an engine has read of images the next one knows, as far as it is still true."""

from __future__ import annotations

import io
import sqlite3
import tarfile
from collections.abc import Iterator

import pytest

from hakobune.engine.images.model import host_platform
from hakobune.testing.engine import PrivateEngine
from hakobune.testing.registry import LyingRegistry, listed, sample

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    with PrivateEngine() as running:
        yield running


def ok(engine: PrivateEngine, *words: str, **options: object) -> str:
    done = engine.hako(*words, **options)
    assert done.returncode == 0, done.stderr
    return str(done.stdout).strip()


def load(engine: PrivateEngine, name: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    assert engine.hako("import", "-", name, input=out.getvalue(), text=False).returncode == 0


def shown(engine: PrivateEngine) -> list[object]:
    found: list[object] = engine.client.get("/images/json")
    return found


def again(engine: PrivateEngine, alter: str = "") -> None:
    """End both daemons, change the manager's records, and start."""
    engine.kill()
    if alter:
        with sqlite3.connect(engine.root / "d/containerd/meta.db") as connection:
            connection.execute(alter)
        connection.close()
    engine.start()


def test_the_same_is_shown_after_a_start(engine: PrivateEngine) -> None:
    for name in ("one", "two"):
        load(engine, name)
    before = shown(engine)
    assert len(before) == 2
    with sqlite3.connect(engine.root / "d/engine.db") as connection:
        assert connection.execute("SELECT count(*) FROM image_content").fetchone() == (2,)
    connection.close()
    again(engine)
    assert shown(engine) == before
    ok(engine, "rmi", "one")
    assert [image["RepoTags"] for image in engine.client.get("/images/json")] == [["two:latest"]]


def test_what_is_gone_from_the_store_is_not_shown(engine: PrivateEngine) -> None:
    load(engine, "lost")
    shown(engine)
    identity = engine.client.get("/images/lost/json")["Id"]
    again(engine, f"DELETE FROM contents WHERE digest = '{identity}'")
    assert [image["RepoTags"] for image in engine.client.get("/images/json")] == [["two:latest"]]
    load(engine, "lost")
    assert len(shown(engine)) == 2


def test_a_list_of_which_one_more_platform_is_pulled(engine: PrivateEngine) -> None:
    """This machine's own comes before the other one, whichever was fetched first."""
    here = host_platform()[0]
    other = "arm64" if here != "arm64" else "amd64"
    with LyingRegistry(listed(**{name: sample(1000, architecture=name) for name in (here, other)})) as many:
        name = f"{many.name}/many/platforms:1"
        ok(engine, "pull", "-q", "--platform", f"linux/{other}", name)
        assert ok(engine, "inspect", "-f", "{{.Architecture}}", name) == other
        again(engine)
        assert ok(engine, "inspect", "-f", "{{.Architecture}}", name) == other
        ok(engine, "pull", "-q", name)
        assert ok(engine, "inspect", "-f", "{{.Architecture}}", name) == here
    again(engine)
    assert ok(engine, "inspect", "-f", "{{.Architecture}}", name) == here
    ok(engine, "rmi", name)
