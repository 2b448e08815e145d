"""docker pulls and pushes through hakod, on our manager and on the real containerd 2: the same words, digests and names."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hakobune.engine.images.model import host_platform
from hakobune.testing.containerd import RealContainerd
from hakobune.testing.engine import PrivateEngine
from hakobune.testing.peers import built
from hakobune.testing.registry import (
    PASSWORD,
    USER,
    Certificates,
    LyingRegistry,
    RealRegistry,
    TokenServer,
    listed,
    program,
    sample,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(not program(), reason="peer not installed: docker-registry"),
]

STARTER = "hako/starter"
ARCHITECTURE = host_platform()[0]


@pytest.fixture(scope="module", params=["ours", "containerd 2"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, registry: RealRegistry
) -> Iterator[PrivateEngine]:
    """hakod on either manager, with a directory of hosts.toml, and the registry as mirror of Docker's."""
    certs = ("--certs-dir", str(tmp_path_factory.mktemp("certs")), "--registry-mirror", registry.url)
    if request.param == "ours":
        with PrivateEngine(arguments=certs) as made:
            yield made
        return
    if not built("containerd"):
        pytest.skip("peer not installed: containerd 2")
    with RealContainerd(built("containerd")) as real:
        state = {"HAKO_SHIM_STATE": str(real.base / "s")}
        with PrivateEngine(arguments=("--containerd", real.address, *certs), environment=state) as made:
            yield made


@pytest.fixture(scope="module")
def registry() -> Iterator[RealRegistry]:
    """Open to everybody."""
    with RealRegistry() as made:
        yield made


@pytest.fixture
def docker(
    engine: PrivateEngine, peer: Callable[[str], Path], tmp_path: Path
) -> Iterator[Callable[..., str]]:
    """`docker(words…)`: its output when it succeeds; `code` for what is to fail. Leaves no image."""
    environment = {**os.environ, "DOCKER_HOST": engine.host, "DOCKER_CONFIG": str(tmp_path)}

    def run(*words: str, code: int = 0, text: str | None = None) -> str:
        done = subprocess.run(
            [str(peer("docker")), *words], env=environment, capture_output=True, text=True, timeout=60, check=False,
            input=text or "",
        )  # fmt: skip
        assert done.returncode == code, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    run("pull", STARTER)
    yield run
    for identity in set(run("images", "-aq").split()):
        run("rmi", "-f", identity)


def test_there_and_back(docker: Callable[..., str], registry: RealRegistry, engine: PrivateEngine) -> None:
    name = f"{registry.name}/some/starter:1"
    docker("tag", STARTER, name)
    said = docker("push", name)
    assert f"The push refers to repository [{registry.name}/some/starter]" in said
    assert "Pushed" in said or "Layer already exists" in said
    digest = said.split("digest: ")[1].split()[0]
    assert "Layer already exists" in docker("push", name)
    docker("rmi", name, STARTER)
    said = docker("pull", name)
    for words in ("1: Pulling from some/starter", "Pulling fs layer", "Pull complete", f"Digest: {digest}",
                  f"Status: Downloaded newer image for {name}"):  # fmt: skip
        assert words in said, said
    assert f"Status: Image is up to date for {name}" in docker("pull", name)
    assert docker("inspect", "-f", "{{.RepoTags}} {{.RepoDigests}}", name).strip() == (
        f"[{name}] [{registry.name}/some/starter@{digest}]"
    )
    assert docker("run", "--rm", name, "echo", "hello").strip() == "hello"
    found = engine.client.get(f"/distribution/{name}/json")
    assert found["Descriptor"]["digest"] == digest
    assert found["Platforms"][0]["os"] == "linux"


def test_by_digest(docker: Callable[..., str], registry: RealRegistry) -> None:
    name = f"{registry.name}/by/digest"
    docker("tag", STARTER, name)
    digest = docker("push", name).split("digest: ")[1].split()[0]
    docker("rmi", name, STARTER)
    docker("pull", f"{name}@{digest}")
    assert docker("images", "--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}").strip() == (
        f"{name} <none> {digest}"
    )
    assert f"Untagged: {name}@{digest}" in docker("rmi", f"{name}@{digest}")
    assert docker("images", "-aq") == ""


def test_all_tags(docker: Callable[..., str], registry: RealRegistry) -> None:
    name = f"{registry.name}/all/tags"
    for tag in ("a", "b"):
        docker("tag", STARTER, f"{name}:{tag}")
    docker("push", "-a", name)
    docker("rmi", f"{name}:a", f"{name}:b")
    docker("pull", "-a", name)
    assert docker("images", "--format", "{{.Tag}}", name).split() == ["a", "b"]


def test_a_name_that_moves_leaves_the_old_image(docker: Callable[..., str], registry: RealRegistry) -> None:
    name = f"{registry.name}/moving/name"
    docker("tag", STARTER, name)
    docker("push", name)
    archive = subprocess.run(["tar", "c", "-C", "/etc", "hostname"], capture_output=True, check=True).stdout
    docker("rmi", name)
    docker("import", "-", name, text=archive.decode("latin-1"))
    old = docker("images", "-q", name).strip()
    assert "Downloaded newer image" in docker("pull", name)
    assert docker("images", "-q", "--filter", "dangling=true").strip() == old
    assert docker("images", "-q", name).strip() != old


def test_what_is_not_there(docker: Callable[..., str], registry: RealRegistry, engine: PrivateEngine) -> None:
    name = f"{registry.name}/some/nothing"
    assert f"manifest for {name}:1 not found: manifest unknown" in docker("pull", f"{name}:1", code=1)
    said = docker("run", "--rm", f"{name}:1", code=125)
    assert "Unable to find image" in said
    assert "connection refused" in docker("pull", "localhost:1/x", code=1)
    assert "An image does not exist locally with the tag" in docker("push", name, code=1)
    docker("tag", STARTER, f"{name}:s")
    docker("push", f"{name}:s")
    said = docker("pull", "--platform", "linux/arm64", f"{name}:s", code=1)
    assert "does not match the specified platform" in said
    assert "cannot search" in docker("search", f"{registry.name}/x", code=1)


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_who_logs_in_may(kind: str, docker: Callable[..., str]) -> None:
    with Certificates() as certificates, TokenServer(certificates) as tokens:
        with RealRegistry(tokens if kind == "token" else "basic") as registry:
            name = f"{registry.name}/for/members"
            docker("tag", STARTER, name)
            assert "authentication required" in (said := docker("push", name, code=1)) or "denied" in said
            assert f"pull access denied for {registry.name}/for/members" in docker("pull", name, code=1)
            said = docker("login", "-u", USER, "--password-stdin", registry.name, text="wrong", code=1)
            assert "unauthorized" in said
            assert "Login Succeeded" in docker(
                "login", "-u", USER, "--password-stdin", registry.name, text=PASSWORD
            )
            docker("push", name)
            docker("rmi", name)
            docker("pull", name)


def test_tls_of_a_private_authority(docker: Callable[..., str], engine: PrivateEngine) -> None:
    with Certificates() as certificates, RealRegistry("", certificates) as registry:
        name = f"{registry.name}/over/tls"
        directory = Path(
            engine.arguments[engine.arguments.index("--certs-dir") + 1], f"localhost_{registry.port}_"
        )
        directory.mkdir()
        docker("tag", STARTER, name)
        (directory / "hosts.toml").write_text(f"server = {json.dumps(registry.url)}\n")
        assert "certificate" in docker("push", name, code=1)
        (directory / "hosts.toml").write_text(
            f"server = {json.dumps(registry.url)}\nca = {json.dumps(str(certificates.ca))}\n"
        )
        docker("push", name)
        docker("pull", name)


def test_several_platforms(docker: Callable[..., str], registry: RealRegistry) -> None:
    """Of a list only what is for this machine, or was asked for, is fetched, and that is what is pushed."""
    other = "arm64" if ARCHITECTURE != "arm64" else "amd64"
    here, there = sample(1000, architecture=ARCHITECTURE), sample(1000, architecture=other)
    with LyingRegistry(listed(**{other: there, ARCHITECTURE: here})) as many:
        name = f"{many.name}/many/platforms:1"
        assert f"Digest: {many.image.manifest}" in docker("pull", name)
        assert not many.asked(there.layers[0])
        shown = docker("inspect", "-f", "{{.Id}} {{.Architecture}} {{.RepoDigests}}", name).strip()
        assert shown == f"{here.config} {ARCHITECTURE} [{many.name}/many/platforms@{many.image.manifest}]"
        assert "no matching manifest for linux/s390x" in docker(
            "pull", "--platform", "linux/s390x", name, code=1
        )
        assert docker("inspect", "-f", "{{.Id}}", name).strip() == here.config, (
            "a pull that failed changes nothing"
        )
        copy = f"{registry.name}/many/platforms:1"
        docker("tag", name, copy)
        assert f"digest: {here.manifest}" in docker("push", copy), "the manifest is the same, byte for byte"
        docker("rmi", name, copy)
        docker("pull", "--platform", f"linux/{other}", name)
        assert docker("inspect", "-f", "{{.Architecture}}", name).strip() == other
        assert many.asked(there.layers[0])


def test_a_list_of_which_all_is_here_goes_as_a_list(
    docker: Callable[..., str], registry: RealRegistry
) -> None:
    with LyingRegistry(listed(**{ARCHITECTURE: sample(1000, architecture=ARCHITECTURE)})) as many:
        name, copy = f"{many.name}/one/platform:1", f"{registry.name}/one/platform:1"
        docker("pull", name)
        docker("tag", name, copy)
        assert f"digest: {many.image.manifest}" in docker("push", copy)
        docker("rmi", name, copy)
        assert f"Digest: {many.image.manifest}" in docker("pull", copy)


def test_a_mirror_of_docker_s_registry(docker: Callable[..., str], registry: RealRegistry) -> None:
    copy = f"{registry.name}/library/mirrored:1"
    docker("tag", STARTER, copy)
    docker("push", copy)
    docker("rmi", copy, STARTER)
    said = docker("pull", "mirrored:1")
    assert "1: Pulling from library/mirrored" in said
    assert docker("inspect", "-f", "{{.RepoTags}}", "mirrored:1").strip() == "[mirrored:1]"
    assert "ns=docker.io" in registry.log.read_text()


def test_what_a_registry_lies_about_is_told(docker: Callable[..., str]) -> None:
    with LyingRegistry(sample(1000)) as liar:
        liar.lies[liar.image.layers[0]] = lambda request, data: request.reply(200, b"x" + data[1:]) or True
        docker("pull", f"{liar.name}/a/lie:1", code=1)
        assert docker("images", "-q", f"{liar.name}/a/lie") == ""
        liar.lies["manifest"] = lambda request, data: (
            request.reply(200, "<html>", Content_Type="text/html") or True
        )
        docker("pull", f"{liar.name}/a/lie:1", code=1)
        assert docker("images", "-q", f"{liar.name}/a/lie") == ""
