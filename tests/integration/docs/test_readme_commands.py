"""The README's lines for the docker command, typed as they stand, against a private engine."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hakobune.testing.engine import PrivateEngine

README = Path(__file__).resolve().parents[3] / "README.md"
SOCKET = "unix:///run/hakobune/docker.sock"
# No terminal here, and nobody to end a log that goes on; the port has to be a free one.
INSTEAD = (("run --rm -it", "run --rm -i"), ("logs -f", "logs"))

pytestmark = [pytest.mark.root, pytest.mark.slow]


def _blocks(word: str) -> list[list[str]]:
    """Blocks of shell lines in which a line begins with `word`."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(), flags=re.S)
    lines = [[line.partition(" #")[0].strip() for line in block.splitlines()] for block in blocks]
    return [block for block in lines if any(line.startswith(word) for line in block)]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _type(line: str, host: str, place: Path) -> str:
    """Run one line; its output. The engine of the README is this one."""
    for text, other in (*INSTEAD, (SOCKET, host), ("8080:", f"{_free_port()}:")):
        line = line.replace(text, other)
    environment = {**os.environ, "DOCKER_HOST": host, "DOCKER_CONFIG": str(place)}
    if "--context" in line:
        del environment["DOCKER_HOST"]
    done = subprocess.run(
        shlex.split(line),
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("number", range(2), ids=["DOCKER_HOST", "context"])
def test_docker_lines(
    engine: PrivateEngine, peer: Callable[[str], Path], tmp_path: Path, number: int
) -> None:
    peer("docker")
    block = [found for found in _blocks("docker") if "docker import" not in "\n".join(found)][number]
    lines = [line for line in block if line.startswith("docker")]
    assert lines
    for line in lines:
        _type(line, engine.host, tmp_path)


def test_hako_line(engine: PrivateEngine) -> None:
    line = next(line for block in _blocks("make venv") for line in block if "hako run" in line)
    done = engine.hako(*shlex.split(line)[1:])
    assert (done.returncode, done.stdout) == (0, "hello\n")


def test_import_line(engine: PrivateEngine, peer: Callable[[str], Path], tmp_path: Path) -> None:
    """The image's line with the starter's layer in place of a whole Debian."""
    from hakobune.layers import starter

    peer("docker")
    block = next(found for found in _blocks("docker") if "docker import" in "\n".join(found))
    archive = tmp_path / "debian.tar"
    with archive.open("wb") as file:
        starter.write_tar(file)
    outputs = [
        _type(
            line.replace("debian.tar", str(archive)).replace("/etc/debian_version", "/etc/passwd"),
            engine.host,
            tmp_path,
        )
        for line in block
        if line.startswith("docker")
    ]
    assert outputs[0].startswith("sha256:")
    assert "root" in outputs[1]
