"""save and load: what we write we read, and so do skopeo and dockerd's own command; what is no archive is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.conftest import STARTER, on_manager

from hakobune.engine.images.model import host_platform
from hakobune.testing.engine import PrivateEngine
from hakobune.testing.registry import LyingRegistry, listed, sample

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module", params=["hako-containerd", "containerd"])
def engine(request: pytest.FixtureRequest) -> Iterator[PrivateEngine]:
    yield from on_manager(request.param)


@pytest.fixture
def saved(engine: PrivateEngine, tmp_path: Path) -> Path:
    """Two names of one image in an archive; the engine has neither any more."""
    ok(engine, "pull", "-q", STARTER)
    ok(engine, "tag", STARTER, "two:x")
    ok(engine, "save", "-o", str(tmp_path / "s.tar"), STARTER, "two:x")
    ok(engine, "rmi", "two:x", STARTER)
    return tmp_path / "s.tar"


def ok(engine: PrivateEngine, *words: str, **options: object) -> str:
    done = engine.hako(*words, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout).strip()


def names(engine: PrivateEngine) -> set[str]:
    return set(ok(engine, "images", "--format", "{{.Repository}}:{{.Tag}}").split())


def test_there_and_back(engine: PrivateEngine, saved: Path) -> None:
    assert sorted(ok(engine, "load", "-i", str(saved)).splitlines()) == [
        f"Loaded image: {STARTER}:latest", "Loaded image: two:x",
    ]  # fmt: skip
    assert names(engine) >= {f"{STARTER}:latest", "two:x"}
    assert ok(engine, "run", "--rm", "two:x", "echo", "ran") == "ran"
    assert "<none>:<none>" not in names(engine)


def test_compressed_from_a_pipe(engine: PrivateEngine, saved: Path) -> None:
    with gzip.open(saved.with_suffix(".gz"), "wb", 1) as file:
        file.write(saved.read_bytes())
    with saved.with_suffix(".gz").open("rb") as file:
        assert "Loaded image: two:x" in ok(engine, "load", stdin=file)


def test_docker_and_skopeo_read_and_write_it(engine: PrivateEngine, saved: Path) -> None:
    docker, skopeo = shutil.which("docker"), shutil.which("skopeo")
    if not docker or not skopeo:
        pytest.skip("peer not installed: docker, skopeo")
    host = ["docker", "-H", engine.host]
    subprocess.run([*host, "load", "-i", str(saved)], check=True, capture_output=True)
    again = subprocess.run([*host, "save", "two:x"], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(again)) as tar:
        listed = json.load(tar.extractfile("manifest.json") or io.BytesIO())
    assert listed[0]["RepoTags"] == ["two:x"]
    layout = saved.with_name("o.tar")
    subprocess.run([skopeo, "copy", f"docker-archive:{saved}:two:x", f"oci-archive:{layout}:three:y"], check=True,
                   capture_output=True)  # fmt: skip
    assert ok(engine, "load", "-i", str(layout)) == "Loaded image: three:y"
    assert ok(engine, "run", "--rm", "three:y", "echo", "ran") == "ran"
    nameless = saved.with_name("n.tar")
    subprocess.run([skopeo, "copy", f"docker-archive:{saved}:two:x", f"oci-archive:{nameless}"], check=True,
                   capture_output=True)  # fmt: skip
    assert ok(engine, "load", "-i", str(nameless)).startswith("Loaded image ID: sha256:")


def test_a_repository_and_an_id(engine: PrivateEngine, saved: Path) -> None:
    """Without a tag all tags are meant; the beginning of an id is one, too, however short."""
    ok(engine, "load", "-i", str(saved))
    ok(engine, "tag", "two:x", "two:z")
    whole = saved.with_name("w.tar")
    ok(engine, "save", "-o", str(whole), "two")
    with tarfile.open(whole) as tar:
        listed = json.load(tar.extractfile("manifest.json") or io.BytesIO())
    assert sorted(listed[0]["RepoTags"]) == ["two:x", "two:z"]
    identity = ok(engine, "inspect", "-f", "{{.Id}}", "two:x").removeprefix("sha256:")
    for text in (identity, identity[:12], identity[:6]):
        ok(engine, "save", "-o", str(whole), text)
        with tarfile.open(whole) as tar:
            assert f"blobs/sha256/{identity}" in tar.getnames()
    ok(engine, "rmi", "two:z")


def test_a_name_that_stood_for_another_image(engine: PrivateEngine, saved: Path) -> None:
    """The other one stays, without a name."""
    empty = saved.with_name("empty.tar")
    with tarfile.open(empty, "w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    identity = ok(engine, "import", str(empty), "two:x")
    ok(engine, "load", "-i", str(saved))
    assert ok(engine, "inspect", "-f", "{{.Id}}", identity) == identity
    assert ok(engine, "inspect", "-f", "{{.Id}}", "two:x") != identity
    ok(engine, "rmi", identity)


def test_what_is_refused(engine: PrivateEngine, tmp_path: Path) -> None:
    before = names(engine)
    (tmp_path / "no.tar").write_bytes(b"this is no archive" * 100)
    assert "tar" in engine.hako("load", "-i", str(tmp_path / "no.tar")).stderr
    for words in (("save", "nope"), ("save", "-o", str(tmp_path / "x.tar"), "nope:tag")):
        missing = engine.hako(*words)
        assert (missing.returncode, f"No such image: {words[-1]}" in missing.stderr) == (1, True)
    into = engine.hako("save", "-o", "/dev/full", "two:x")
    assert (into.returncode, "is no regular file" in into.stderr) == (1, True)
    elsewhere = engine.hako("save", "--platform", "linux/s390x", "two:x")
    assert (elsewhere.returncode, "Error response from daemon" in elsewhere.stderr) == (1, True)
    assert not list(tmp_path.glob("x.tar*"))
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    assert "Error response from daemon" in engine.hako("load", "-i", str(tmp_path / "other.tar")).stderr
    assert names(engine) == before


def test_several_platforms_in_one_archive(engine: PrivateEngine, tmp_path: Path) -> None:
    """All that are asked for; of one of them; and one that is not there."""
    here = host_platform()[0]
    other = "arm64" if here != "arm64" else "amd64"
    both = f"linux/{here},linux/{other}"
    images = {name: sample(1000, architecture=name) for name in (here, other)}
    with LyingRegistry(listed(**images)) as many:
        name = f"{many.name}/many/platforms:1"
        ok(engine, "pull", "-q", name)
        ok(engine, "pull", "-q", "--platform", f"linux/{other}", name)
    ok(engine, "pull", "-q", STARTER)
    ok(engine, "rmi", STARTER)  # what is not held goes with it
    ok(engine, "save", "--platform", both, "-o", str(tmp_path / "both.tar"), name)
    ok(engine, "save", "--platform", f"linux/{other}", "-o", str(tmp_path / "one.tar"), name)
    missing = engine.hako("save", "--platform", f"{both},linux/s390x", "-o", str(tmp_path / "no.tar"), name)
    ok(engine, "rmi", name)
    for file, wanted in (("both.tar", {here, other}), ("one.tar", {other})):
        with tarfile.open(tmp_path / file) as tar:
            members = set(tar.getnames())
        for architecture, image in images.items():
            inside = f"blobs/{image.layers[0].replace(':', '/')}" in members
            assert inside == (architecture in wanted), file
    words = [word for one in both.split(",") for word in ("--platform", one)]
    assert ok(engine, "load", *words, "-i", str(tmp_path / "both.tar")) == f"Loaded image: {name}"
    assert ok(engine, "inspect", "-f", "{{.Architecture}}", name) == here
    ok(engine, "save", "-o", str(tmp_path / "again.tar"), name)
    with tarfile.open(tmp_path / "again.tar") as tar:
        assert members < set(tar.getnames()), "without a platform, all that are here"
    ok(engine, "rmi", name)
    done = engine.hako("load", "--platform", f"linux/{here}", "-i", str(tmp_path / "one.tar"))
    assert (done.returncode, f"not whole for linux/{here}" in done.stderr) == (1, True), done.stderr
    for words in (
        ["--platform", f"linux/{other}"],
        [],
    ):  # nobody names a platform: what there is, as Docker has it
        assert ok(engine, "load", *words, "-i", str(tmp_path / "one.tar")) == f"Loaded image: {name}"
        assert ok(engine, "inspect", "-f", "{{.Architecture}}", name) == other
        ok(engine, "rmi", name)
    assert (missing.returncode, "(linux/s390x)" in missing.stderr, (tmp_path / "no.tar").exists()) == (
        1,
        True,
        False,
    )


def docker_archive(path: Path, architecture: str, name: str) -> None:
    """As docker save writes it, of one file that is no program of this machine's."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        member = tarfile.TarInfo("program")
        member.size, member.mode = 4, 0o755
        tar.addfile(member, io.BytesIO(b"\x7fELF"))
    config = json.dumps({
        "architecture": architecture, "os": "linux", "config": {"Cmd": ["/program"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()]},
    }).encode()  # fmt: skip
    listing = json.dumps([{"Config": "c.json", "RepoTags": [name], "Layers": ["l.tar"]}]).encode()
    with tarfile.open(path, "w") as tar:
        for file, data in (("c.json", config), ("l.tar", layer.getvalue()), ("manifest.json", listing)):
            member = tarfile.TarInfo(file)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_an_archive_for_another_machine(engine: PrivateEngine, tmp_path: Path) -> None:
    """It is stored, as Docker stores it; a container of it comes with a warning, and says why it does not run."""
    other = "arm64" if host_platform()[0] != "arm64" else "s390x"
    docker_archive(tmp_path / "o.tar", other, "other:1")
    refused = engine.hako("load", "--platform", f"linux/{host_platform()[0]}", "-i", str(tmp_path / "o.tar"))
    assert (refused.returncode, "is not whole for linux/" in refused.stderr) == (1, True), refused
    assert ok(engine, "load", "-i", str(tmp_path / "o.tar")) == "Loaded image: other:1"
    assert ok(engine, "inspect", "-f", "{{.Architecture}}", "other:1") == other
    ran = engine.hako("run", "--rm", "--network", "none", "other:1")
    assert ran.returncode != 0
    assert (
        f"requested image's platform (linux/{other}) does not match the detected host platform" in ran.stderr
    )
    assert "exec /program: exec format error" in ran.stderr
    asked = engine.hako("create", "--platform", f"linux/{other}", "--network", "none", "other:1")
    assert (asked.returncode, asked.stderr) == (0, "")
    wrong = engine.hako("create", "--pull", "never", "--platform", "linux/riscv64", "other:1")
    words = "image with reference other:1 was found but does not match the specified platform: wanted linux/riscv64"
    assert words in wrong.stderr
    ok(engine, "rm", asked.stdout.strip())
    ok(engine, "rmi", "other:1")
    assert not [name for name in names(engine) if name.startswith("<none>")]


def test_a_container_of_another_platform_of_a_list(engine: PrivateEngine) -> None:
    here = host_platform()[0]
    other = "arm64" if here != "arm64" else "amd64"
    images = {name: sample(1000, architecture=name) for name in (here, other)}
    with LyingRegistry(listed(**images)) as many:
        name = f"{many.name}/many/choice:1"
        ok(engine, "pull", "-q", name)
        ok(engine, "pull", "-q", "--platform", f"linux/{other}", name)
        words = ("create", "--network", "none", "--pull", "never")
        made = {one: ok(engine, *words, "--platform", f"linux/{one}", name, "x") for one in (here, other)}
        assert len({ok(engine, "inspect", "-f", "{{.Image}}", one) for one in made.values()}) == 2
        missing = engine.hako(*words, "--platform", "linux/riscv64", name, "x")
        assert "no matching manifest for linux/riscv64 in the manifest list entries" in missing.stderr
    ok(engine, "rm", *made.values())
    ok(engine, "rmi", name)


def test_what_old_docker_wrote(engine: PrivateEngine, tmp_path: Path) -> None:
    """Up to 24: a directory for each layer with the JSON of version 1, a layer that is there twice as a link."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        member = tarfile.TarInfo("hello")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"hello"))
    diff = "sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()
    empty = io.BytesIO()
    with tarfile.open(fileobj=empty, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("second"))
    second = "sha256:" + hashlib.sha256(empty.getvalue()).hexdigest()
    config = json.dumps({
        "architecture": host_platform()[0], "os": "linux", "config": {"Cmd": ["/bin/sh"]}, "docker_version": "20.10.24",
        "created": "2021-01-01T00:00:00Z", "history": [{"created_by": "a"}, {"created_by": "b"}, {"created_by": "c"}],
        "rootfs": {"type": "layers", "diff_ids": [diff, second, diff]},
    }).encode()  # fmt: skip
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    places = [digit * 64 for digit in "abc"]
    listing = [{"Config": name, "RepoTags": ["old:1"], "Layers": [f"{place}/layer.tar" for place in places]}]
    with tarfile.open(tmp_path / "old.tar", "w") as tar:
        for place, data in zip(places, (layer.getvalue(), empty.getvalue(), None), strict=True):
            for file, text in (("VERSION", b"1.0"), ("json", b"{}"), ("layer.tar", data)):
                member = tarfile.TarInfo(f"{place}/{file}")
                if text is None:
                    member.type, member.linkname = tarfile.SYMTYPE, f"../{places[0]}/layer.tar"
                member.size = len(text or b"")
                tar.addfile(member, io.BytesIO(text or b""))
        for file, text in ((name, config), ("manifest.json", json.dumps(listing).encode()),
                           ("repositories", json.dumps({"old": {"1": places[2]}}).encode())):  # fmt: skip
            member = tarfile.TarInfo(file)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    assert ok(engine, "load", "-i", str(tmp_path / "old.tar")) == "Loaded image: old:1"
    assert ok(engine, "inspect", "-f", "{{.Id}}", "old:1") == f"sha256:{name[:-5]}"
    ok(engine, "create", "--name", "old", "old:1")
    assert "hello" in ok(engine, "cp", "old:/hello", "-")
    ok(engine, "rm", "old")
    ok(engine, "rmi", "old:1")
