"""hako login, push, pull, manifest inspect, search and logout, with docker's files, against real and made-up registries."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.registry import PASSWORD, USER, RealRegistry, Request, program, serving

pytestmark = [pytest.mark.root, pytest.mark.slow]

Hako = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    with PrivateEngine() as made:
        yield made


@pytest.fixture
def hako(engine: PrivateEngine, tmp_path: Path) -> Hako:
    environment = {**os.environ, "DOCKER_CONFIG": str(tmp_path)}
    return lambda *words, **options: engine.hako(*words, env=environment, **options)


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_member_of_a_registry(hako: Hako, tmp_path: Path) -> None:
    if not program():
        pytest.skip("peer not installed: docker-registry")
    ok(hako("pull", "hako/starter"))
    with RealRegistry("basic") as registry:
        name = f"{registry.name}/some/app:1"
        ok(hako("tag", "hako/starter", name))
        assert "authentication required" in hako("push", name).stderr
        wrong = hako("login", "-u", USER, "--password-stdin", registry.name, input="wrong")
        assert wrong.returncode == 1
        assert "unauthorized" in wrong.stderr
        assert not (tmp_path / "config.json").exists()
        assert "Login Succeeded" in ok(
            hako("login", "-u", USER, "--password-stdin", registry.name, input=PASSWORD)
        )
        said = ok(hako("push", name))
        digest = said.split("digest: ")[1].split()[0]
        assert ok(hako("push", "-q", name)).strip() == name
        ok(hako("rmi", "-f", name, "hako/starter"))
        said = ok(hako("pull", name))
        assert f"Digest: {digest}" in said
        assert "Pull complete" in said
        assert ok(hako("pull", "-q", name)).strip() == name  # with its registry, as docker has it
        ok(hako("rmi", name))
        assert ok(hako("run", "--rm", name, "echo", "hello")).strip() == "hello"
        manifest = json.loads(ok(hako("manifest", "inspect", name)))
        assert manifest["config"]["digest"].startswith("sha256:")
        found = json.loads(ok(hako("manifest", "inspect", "-v", f"{registry.name}/some/app@{digest}")))
        assert found["Descriptor"]["digest"] == digest
        assert "no such manifest" in hako("manifest", "inspect", f"{registry.name}/some/app:2").stderr
        assert "Removing login credentials" in ok(hako("logout", registry.name))
        assert "pull access denied" in hako("pull", name).stderr
        assert "Not logged in" in ok(hako("logout", registry.name))
        ok(hako("rmi", "-f", name))


def test_search(hako: Hako) -> None:
    results = [
        {"name": "some/app", "description": "an\napp", "star_count": 3, "is_official": False},
        {"name": "other", "description": "x" * 100, "star_count": 30, "is_official": True},
    ]

    def act(request: Request) -> None:
        found = request.path.startswith("/v1/search?q=app&n=")
        request.reply(200, json.dumps({"results": results if found else []}))

    server = serving(act)
    name = f"localhost:{server.server_port}/app"
    try:
        lines = ok(hako("search", name)).splitlines()
        assert lines[0].split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
        assert [line.split()[0] for line in lines[1:]] == ["other", "some/app"]
        assert "an app" in lines[2]
        assert ok(hako("search", "--filter", "is-official=true", "--format", "{{.Name}}", name)).split() == [
            "other"
        ]
        assert ok(hako("search", "--filter", "stars=4", "--format", "{{.Name}}", name)).split() == ["other"]
        assert "outside the range" in hako("search", "--limit", "1000", name).stderr
    finally:
        server.shutdown()
        server.server_close()
