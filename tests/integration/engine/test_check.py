"""system check: all that can break in the store is found and mended, and nothing that is in use is touched."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.conftest import STARTER, on_manager

from hakobune.engine.images.model import host_platform
from hakobune.testing.engine import PrivateEngine
from hakobune.testing.registry import LyingRegistry, RealRegistry, listed, sample

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    """An image on another one, a container that runs on it, and one that does not."""
    with PrivateEngine() as running:
        ok(running, "run", "--name", "first", STARTER, "sh", "-c",
           "echo one >/one; ln /one /twin; ln -s /one /link; rm /etc/os-release; rm -r /home; mkdir /home; mkfifo /fifo")  # fmt: skip
        ok(running, "commit", "first", "upper:1")
        ok(running, "run", "-d", "--name", "runs", "-v", "vol:/vol", "upper:1", "sleep", "600")
        ok(running, "create", "--name", "rests", STARTER)
        yield running


def ok(engine: PrivateEngine, *words: str) -> str:
    done = engine.hako(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def store(engine: PrivateEngine) -> Path:
    return engine.root / "d" / "containerd"


def snapshots(engine: PrivateEngine) -> Path:
    return store(engine) / "io.containerd.snapshotter.v1.overlayfs/snapshots"


def blobs(engine: PrivateEngine) -> Path:
    return store(engine) / "io.containerd.content.v1.content/blobs/sha256"


def place(engine: PrivateEngine, name: str) -> Path:
    """The directory of a snapshot."""
    with sqlite3.connect(f"file:{store(engine)}/meta.db?mode=ro", uri=True) as connection:
        (number,) = connection.execute("SELECT id FROM snapshots WHERE name = ?", (name,)).fetchone()
    connection.close()
    return snapshots(engine) / str(number)


def layers(engine: PrivateEngine, image: str) -> list[str]:
    """Names of an image's snapshots."""
    from hakobune.engine.images.model import chains

    return chains(engine.client.get(f"/images/{image}/json")["RootFS"]["Layers"])


def check(engine: PrivateEngine, *words: str) -> tuple[int, list[str]]:
    done = engine.hako("system", "check", "--older", "0", *words)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


def whole(engine: PrivateEngine) -> None:
    """Nothing is found, what ran runs, and what rests can be started."""
    assert check(engine) == (0, ["everything fits together"])
    assert ok(engine, "exec", "runs", "cat", "/one") == "one"
    assert (
        ok(engine, "run", "--rm", "upper:1", "sh", "-c", "cat /twin; ls /home; test ! -e /etc/os-release")
        == "one"
    )
    ok(engine, "start", "rests")


def test_a_store_that_is_whole(engine: PrivateEngine) -> None:
    whole(engine)


def test_a_layer_that_is_missing(engine: PrivateEngine) -> None:
    """Also under a running container, which has it open."""
    lower, upper = (place(engine, name) for name in layers(engine, "upper:1"))
    shutil.rmtree(upper)
    shutil.rmtree(lower)
    code, told = check(engine)
    assert (code, len(told)) == (1, 3)
    assert all(": missing (its directory is gone)" in line for line in told[:2])
    code, told = check(engine, "--repair")
    assert (code, told[-1]) == (0, "2 found, 2 mended"), told
    assert all("unpacked again from sha256:" in line for line in told[:2])
    ok(engine, "restart", "-t", "0", "runs")
    whole(engine)


def test_a_layer_that_was_altered(engine: PrivateEngine) -> None:
    """Not while something runs on it."""
    fs = place(engine, layers(engine, "upper:1")[1]) / "fs"
    (fs / "one").write_text("two")
    (fs / "planted").write_text("x")
    (fs / "link").unlink()
    (fs / "fifo").chmod(0o777)
    (fs / "etc/os-release").unlink()  # the whiteout
    code, told = check(engine)
    for words in ("/one: has another content", "/planted is not in the layer", "/link is missing", "/fifo: has mode 777",
                  "/etc/os-release is missing"):  # fmt: skip
        assert words in told[0], told
    code, told = check(engine, "--repair")
    assert (code, "a running container lies on it: stop that first" in told[0]) == (1, True), told
    assert (fs / "one").read_text() == "two"
    ok(engine, "stop", "-t", "0", "runs")
    code, told = check(engine, "--repair")
    assert (code, told[-1]) == (0, "1 found, 1 mended"), told
    ok(engine, "start", "runs")
    whole(engine)


def test_blobs_that_are_not_what_they_say(engine: PrivateEngine) -> None:
    """Truncated and altered ones are forgotten; what is built of them stays."""
    (engine.root / "noise").write_bytes(os.urandom(50_000))
    before = set(os.listdir(blobs(engine)))
    ok(engine, "create", "--name", "more", STARTER)
    ok(engine, "cp", str(engine.root / "noise"), "more:/file")
    ok(engine, "commit", "more", "more:1")
    ok(engine, "save", "-o", str(engine.root / "more.tar"), "more:1")
    new = set(os.listdir(blobs(engine))) - before
    layer = max(new, key=lambda name: (blobs(engine) / name).stat().st_size)
    file = blobs(engine) / layer
    data = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(data[:100])
    code, told = check(engine)
    assert (code, told[0]) == (1, f"blob sha256:{layer}: truncated (100 bytes instead of {len(data)})")
    file.write_bytes(bytes(len(data)))
    code, told = check(engine, "--repair")
    assert (code, "altered" in told[0], "forgotten: the next pull or load brings it again" in told[0]) == (
        0,
        True,
        True,
    )
    assert not file.exists()
    assert ok(engine, "run", "--rm", "more:1", "echo", "it still runs") == "it still runs"
    ok(engine, "load", "-i", str(engine.root / "more.tar"))
    assert file.read_bytes() == data
    whole(engine)
    ok(engine, "rm", "more")
    ok(engine, "rmi", "more:1")


def pulled(engine: PrivateEngine, registry: RealRegistry) -> dict[str, str]:
    """A fresh image that the registry has; its blobs by what they are: index, manifest, config, layer."""
    (engine.root / "noise").write_bytes(os.urandom(50_000))
    name = f"{registry.name}/check/image:1"
    ok(engine, "create", "--name", "noisy", STARTER)
    ok(engine, "cp", str(engine.root / "noise"), "noisy:/file")
    ok(engine, "commit", "noisy", name)
    ok(engine, "rm", "noisy")
    ok(engine, "push", "-q", name)
    manifest = ok(engine, "inspect", "-f", "{{.Descriptor.digest}}", name)
    listed = json.loads(file_of(engine, manifest).read_bytes())
    return {"name": name, "manifest": manifest, "config": listed["config"]["digest"],
            "layer": listed["layers"][-1]["digest"]}  # fmt: skip


def file_of(engine: PrivateEngine, digest: str) -> Path:
    return blobs(engine) / digest.removeprefix("sha256:")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": lambda file: file.unlink(),
    "truncated": lambda file: os.truncate(file, 10),
    "altered": lambda file: file.write_bytes(bytes(file.stat().st_size)),
}


@pytest.mark.parametrize("harm", DAMAGE)
@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
def test_a_damaged_blob_is_pulled_again(engine: PrivateEngine, part: str, harm: str) -> None:
    """By its digest, from the registry of its name; when that is gone it is said what to do, and a later try mends it."""
    with RealRegistry() as registry:
        image = pulled(engine, registry)
        name, file = image["name"], file_of(engine, image[part])
        before = file.read_bytes()
        file.chmod(0o600)
        DAMAGE[harm](file)
        code, told = check(engine)
        assert (code, any(f"blob {image[part]}: {harm}" in line for line in told)) == (1, True), told
        code, told = check(engine, "--repair")
        assert (code, any(f"blob {image[part]}: {harm}" in line and "pulled again" in line for line in told)) == (
            0, True,
        ), told  # fmt: skip
        assert file.read_bytes() == before
        assert ok(engine, "run", "--rm", name, "echo", "runs") == "runs"
        whole(engine)
    ok(engine, "rmi", name)


@pytest.mark.parametrize("harm", DAMAGE)
def test_a_damaged_index_is_pulled_again(engine: PrivateEngine, harm: str) -> None:
    with LyingRegistry(
        listed(**{host_platform()[0]: sample(1000, architecture=host_platform()[0])})
    ) as registry:
        name = f"{registry.name}/many/platforms:1"
        ok(engine, "pull", "-q", name)
        file = file_of(engine, ok(engine, "inspect", "-f", "{{.Descriptor.digest}}", name))
        before = file.read_bytes()
        assert b'"manifests"' in before
        file.chmod(0o600)
        DAMAGE[harm](file)
        code, told = check(engine, "--repair")
        assert (code, any(f"{harm}" in line and "pulled again" in line for line in told)) == (0, True), told
        assert file.read_bytes() == before
        whole(engine)
    ok(engine, "rmi", name)


@pytest.mark.parametrize("part", ["manifest", "config"])
def test_a_damaged_document_that_no_registry_has(engine: PrivateEngine, part: str) -> None:
    with RealRegistry() as registry:
        image = pulled(engine, registry)
    name = image["name"]
    file_of(engine, image[part]).unlink()
    code, told = check(engine, "--repair")
    said = next(line for line in told if line.startswith(f"image {name}: lost"))
    assert (code, "cannot be pulled again" in said, "pull or load it, or remove it" in said) == (
        1,
        True,
        True,
    ), told
    ok(engine, "rmi", name)
    whole(engine)


def test_a_damaged_image_that_came_from_nowhere(engine: PrivateEngine) -> None:
    ok(engine, "create", "--name", "own", STARTER, "x")
    identity = ok(engine, "commit", "own", "own:1")
    ok(engine, "rm", "own")
    file_of(engine, identity).unlink()
    code, told = check(engine, "--repair")
    said = next(line for line in told if line.startswith("image docker.io/library/own:1: lost"))
    assert (code, "cannot be pulled again" in said) == (1, True), told
    ok(engine, "rmi", "own:1")
    whole(engine)


def test_what_belongs_to_nothing(engine: PrivateEngine) -> None:
    """And is not of something that is just being made."""
    strange = [
        blobs(engine) / ("a" * 64),
        snapshots(engine) / "9999",
        engine.root / "d/containers" / ("b" * 64),
    ]
    strange[0].write_bytes(b"x")
    for directory in strange[1:]:
        (directory / "in").mkdir(parents=True)
    assert engine.hako("system", "check").stdout == "everything fits together\n"
    code, told = check(engine)
    assert (code, [line.split(": ")[1].split(" ")[0] for line in told[:-1]]) == (1, ["extra"] * 3)
    assert all(path.exists() for path in strange)
    assert check(engine, "--repair")[1][-1] == "3 found, 3 mended"
    assert not any(path.exists() for path in strange)
    whole(engine)


def test_a_volume_and_a_container_that_lost_their_files(engine: PrivateEngine) -> None:
    volume = Path(engine.client.get("/volumes/vol")["Mountpoint"])
    ok(engine, "create", "--name", "poor", STARTER)
    identity = engine.client.get("/containers/poor/json")["Id"]
    shutil.rmtree(volume)
    shutil.rmtree(place(engine, identity))
    code, told = check(engine, "--repair")
    assert any("volume vol: missing" in line and "made again, empty" in line for line in told), told
    assert any(f"snapshot {identity}: missing" in line for line in told), told
    assert volume.is_dir()
    code, told = check(engine)
    assert (code, any("container poor: lost" in line and "remove it" in line for line in told)) == (
        1,
        True,
    ), told
    ok(engine, "rm", "poor")
    ok(engine, "restart", "-t", "0", "runs")
    whole(engine)


def test_under_another_manager_only_the_engine_s_own_is_looked_at() -> None:
    for engine in on_manager("containerd"):
        done = engine.hako("system", "check")
        assert (done.returncode, done.stdout) == (0, "everything fits together\n")
        assert "the manager's store is not looked at" in done.stderr
