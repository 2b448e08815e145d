"""ctr and nerdctl pull from and push to the real registry through our transfer service, and beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hakobune.testing.clients import IMAGE, Cli, found, image_archive
from hakobune.testing.manager import PrivateManager
from hakobune.testing.registry import PASSWORD, USER, Certificates, RealRegistry, TokenServer, program

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(not program(), reason="peer not installed: docker-registry"),
]

LOGIN = ("--user", f"{USER}:{PASSWORD}")


@pytest.fixture(scope="module", params=["open", "basic", "token"])
def registry(request: pytest.FixtureRequest) -> Iterator[RealRegistry]:
    """The real one, with each of its ways to know people."""
    if request.param == "token":
        with (
            Certificates() as certificates,
            TokenServer(certificates) as tokens,
            RealRegistry(tokens) as made,
        ):
            yield made
        return
    with RealRegistry("basic" if request.param == "basic" else "") as made:
        yield made


def _cli(manager: PrivateManager, scratch: Path, namespace: str, name: str = "ctr") -> Cli:
    clients = [cli for cli in found() if cli.name == name]
    if not clients:
        pytest.skip(f"peer not installed: {name}")
    newest = max(clients, key=lambda cli: [int(part) for part in cli.version.split(".") if part.isdigit()])
    return replace(newest, address=manager.address, namespace=namespace, scratch=scratch)


@pytest.mark.parametrize("way", [(), ("--local", "--plain-http")], ids=["transfer", "local"])
def test_ctr_pushes_and_pulls(
    registry: RealRegistry,
    way: tuple[str, ...],
    manager: PrivateManager,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    scratch = tmp_path_factory.getbasetemp()
    words = f"{registry.port}-{len(way)}"
    here, there = (_cli(manager, scratch, f"{word}-{words}") for word in ("push", "pull"))
    name = f"{registry.name}/some/starter:1"
    here("images", "import", str(image_archive(scratch / "starter.tar")))
    here("images", "tag", IMAGE, name)
    here("images", "push", *way, *LOGIN, name)
    there("images", "pull", *way, *LOGIN, name)
    target = [line.split()[2] for line in here("images", "ls").splitlines() if line.startswith(name)]
    assert [line.split()[2] for line in there("images", "ls").splitlines() if line.startswith(name)] == target
    assert "complete (2/2)" in there("images", "check")
    assert len(there("snapshots", "ls").splitlines()) == 2
    assert not there("leases", "ls", "-q").split()
    assert "not found" in there.refused("images", "pull", *way, *LOGIN, f"{registry.name}/some/starter:2")


def test_who_has_no_password_is_refused(
    manager: PrivateManager, tmp_path_factory: pytest.TempPathFactory
) -> None:
    scratch = tmp_path_factory.getbasetemp()
    with RealRegistry("basic") as registry:
        cli = _cli(manager, scratch, "nobody")
        name = f"{registry.name}/some/starter:1"
        assert "pull access denied" in cli.refused("images", "pull", name)
        said = cli.refused("images", "pull", "--user", f"{USER}:wrong-one", name)
        assert "pull access denied" in said
        assert "wrong-one" not in (manager.base / "log").read_text()


def test_nerdctl_pushes_and_pulls(manager: PrivateManager, tmp_path_factory: pytest.TempPathFactory) -> None:
    scratch = tmp_path_factory.getbasetemp()
    with RealRegistry() as registry:
        name = f"{registry.name}/some/starter:1"
        ctr = _cli(manager, scratch, "nerd")
        ctr("images", "import", str(image_archive(scratch / "starter.tar")))
        ctr("images", "tag", IMAGE, name)
        _cli(manager, scratch, "nerd", "nerdctl")("push", name)
        other = _cli(manager, scratch, "nerd-2", "nerdctl")
        other("pull", name)
        assert name.partition(":1")[0] in other("images")
