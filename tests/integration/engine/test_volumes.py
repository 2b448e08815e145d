"""Data outlives containers; what they wrote to their own root does not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tests.integration.conftest import STARTER, Docker

pytestmark = [pytest.mark.root, pytest.mark.slow]


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def sh(docker: Docker, script: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return docker("run", "--rm", "--network", "none", *flags, STARTER, "/bin/sh", "-c", script)


def test_named_volumes_and_directories_of_the_host(docker: Docker, tmp_path: Path) -> None:
    flags = ("-v", "store:/data", "-v", f"{tmp_path}:/host")
    ok(sh(docker, "echo 1 > /data/x; echo 2 > /host/y; echo 3 > /z", *flags))
    assert ok(sh(docker, "cat /data/x /host/y; ls /z 2>&1 | tail -1", *flags)).split("\n")[:2] == ["1", "2"]
    assert (tmp_path / "y").read_text() == "2\n"
    assert "store" in ok(docker("volume", "ls", "-q")).split()
    ok(docker("volume", "rm", "store"))


def test_read_only_and_mount_syntax(docker: Docker, tmp_path: Path) -> None:
    assert sh(docker, "echo > /m/x", "-v", f"{tmp_path}:/m:ro").returncode != 0
    assert sh(docker, "echo > /m/x", "--mount", f"type=bind,source={tmp_path},target=/m").returncode == 0
    assert ok(
        sh(docker, "grep ' /m ' /proc/mounts", "--mount", "type=tmpfs,target=/m,tmpfs-size=1m")
    ).startswith("tmpfs /m")
    missing = sh(docker, "true", "--mount", f"type=bind,source={tmp_path}/none,target=/m")
    assert missing.returncode == 125
    assert "bind source path does not exist" in missing.stderr


def test_a_new_volume_begins_with_the_images_content(docker: Docker) -> None:
    done = ok(sh(docker, "ls /etc/passwd /copy/passwd", "-v", "filled:/etc", "-v", "filled:/copy"))
    assert "/copy/passwd" in done
    ok(docker("volume", "rm", "filled"))


def test_anonymous_volumes_go_with_their_container(docker: Docker) -> None:
    identity = ok(docker("create", "-v", "/anon", "--network", "none", STARTER, "/bin/true"))
    mounts = json.loads(ok(docker("inspect", "-f", "{{json .Mounts}}", identity)))
    ok(docker("rm", "-v", identity))
    assert mounts[0]["Name"] not in ok(docker("volume", "ls", "-q")).split()


def test_a_volume_in_use_stays(docker: Docker) -> None:
    identity = ok(docker("create", "-v", "busy:/b", "--network", "none", STARTER, "/bin/true"))
    refused = docker("volume", "rm", "busy")
    assert refused.returncode == 1
    assert "volume is in use" in refused.stderr
    ok(docker("rm", identity))
    ok(docker("volume", "rm", "busy"))


@pytest.mark.parametrize("spec", ["a:b:c:d", "x:relative", ":/x", "name:/", "no/slash:/x", "v:/x:wrong"])
def test_bad_specifications(docker: Docker, spec: str) -> None:
    done = docker("create", "-v", spec, "--network", "none", STARTER, "/bin/true")
    assert done.returncode != 0
    assert done.stderr.strip()
