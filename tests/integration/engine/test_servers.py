"""Real servers out of a real Debian: nginx, redis and PostgreSQL, imported, run, queried, stopped, kept."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.conftest import Docker

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(400)]

PACKAGES = "nginx-light,redis-server,postgresql"
IMAGE = "harbour/debian:servers"
CACHE = Path(os.environ.get("HAKOBUNE_CACHE", "/var/cache/hakobune-tests"))


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def archive(peer: Callable[[str], Path]) -> Path:
    """A Debian root file system with three servers in it; kept from run to run, as it takes a minute to make."""
    kept = CACHE / "debian-servers.tar"
    if kept.exists():
        return kept
    program = peer("mmdebstrap")
    CACHE.mkdir(parents=True, exist_ok=True)
    fresh = CACHE / f"debian-servers.{os.getpid()}.tar"
    done = subprocess.run(
        [str(program), "--variant=minbase", f"--include={PACKAGES}", "--aptopt=APT::Install-Recommends false",
         _suite(), str(fresh)],
        check=False, capture_output=True, text=True, timeout=380, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode != 0:
        fresh.unlink(missing_ok=True)
        pytest.skip(f"mmdebstrap failed here: {done.stderr.strip().splitlines()[-1:]}")
    fresh.rename(kept)
    return kept


def _suite() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2]
    return "bookworm"


@pytest.fixture(scope="module")
def image(docker: Docker, archive: Path) -> Iterator[str]:
    ok(docker("import", str(archive), IMAGE, timeout=300))
    yield IMAGE
    docker("rmi", "-f", IMAGE)


def port_of(docker: Docker, name: str, inner: int) -> int:
    ports = json.loads(ok(docker("inspect", "-f", "{{json .NetworkSettings.Ports}}", name)))
    return int(ports[f"{inner}/tcp"][0]["HostPort"])


def eventually(action: Callable[[], str], seconds: float = 30) -> str:
    end = time.monotonic() + seconds
    while True:
        try:
            return action()
        except (OSError, AssertionError):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def stopped_cleanly(docker: Docker, name: str, codes: tuple[int, ...] = (0,)) -> None:
    began = time.monotonic()
    ok(docker("stop", name))
    assert time.monotonic() - began < 9, "it had to be killed"
    assert int(ok(docker("inspect", "-f", "{{.State.ExitCode}}", name))) in codes


def test_nginx(docker: Docker, image: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "index.html").write_text("from the host\n")
    ok(docker("run", "-d", "--name", "web", "-p", "80", "-v", f"{tmp_path}:/var/www/html:ro", image,
              "nginx", "-g", "daemon off;"))  # fmt: skip
    port = port_of(docker, "web", 80)

    def get(host: str) -> str:
        with urllib.request.urlopen(f"http://{host}:{port}/", timeout=5) as answer:
            return str(answer.read().decode())

    assert eventually(lambda: get("127.0.0.1")) == "from the host\n"
    address = ok(docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"))
    with urllib.request.urlopen(f"http://{address}/", timeout=5) as answer:
        assert answer.status == 200
    assert ok(docker("exec", "web", "cat", "/proc/1/comm")) == "nginx"
    stopped_cleanly(docker, "web")
    ok(docker("rm", "web"))


def ask_redis(port: int, *words: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        connection.sendall(request.encode())
        answer = connection.recv(4096).decode()
    assert answer, "no answer"
    assert not answer.startswith("-LOADING"), answer
    return answer


def test_redis_keeps_its_data(docker: Docker, image: str) -> None:
    command = ("-p", "6379", "-v", "redis-data:/data", image, "redis-server", "--dir", "/data", "--appendonly", "yes",
               "--protected-mode", "no", "--save", "")  # fmt: skip
    ok(docker("run", "-d", "--name", "keys", *command))
    port = port_of(docker, "keys", 6379)
    assert eventually(lambda: ask_redis(port, "SET", "ship", "ark")) == "+OK\r\n"
    stopped_cleanly(docker, "keys")
    ok(docker("rm", "keys"))
    ok(docker("run", "-d", "--name", "keys", *command))
    port = port_of(docker, "keys", 6379)
    assert eventually(lambda: ask_redis(port, "GET", "ship")) == "$3\r\nark\r\n"
    stopped_cleanly(docker, "keys")
    ok(docker("rm", "keys"))
    ok(docker("volume", "rm", "redis-data"))


def test_postgresql_keeps_its_data(docker: Docker, image: str) -> None:
    as_postgres = "setpriv --reuid=postgres --regid=postgres --clear-groups"
    script = (
        "set -e; bin=$(echo /usr/lib/postgresql/*/bin); chown postgres /data; "
        f'[ -s /data/PG_VERSION ] || {as_postgres} "$bin/initdb" -D /data -A trust >/dev/null; '
        "echo 'host all all 0.0.0.0/0 trust' >> /data/pg_hba.conf; "
        f"exec {as_postgres} \"$bin/postgres\" -D /data -c listen_addresses='*' -c unix_socket_directories=/tmp"
    )
    command = ("-p", "5432", "-v", "pg-data:/data", "--shm-size", "128m", image, "/bin/bash", "-c",
               script)  # fmt: skip
    ok(docker("run", "-d", "--name", "db", *command))
    query = _psql(docker, "db")
    assert eventually(lambda: query("SELECT 6*7"), 60) == "42"
    query("CREATE TABLE cargo (name text); INSERT INTO cargo VALUES ('rum')")
    stopped_cleanly(docker, "db")
    ok(docker("rm", "db"))
    ok(docker("run", "-d", "--name", "db", *command))
    query = _psql(docker, "db")
    assert eventually(lambda: query("SELECT name FROM cargo"), 60) == "rum"
    stopped_cleanly(docker, "db")
    ok(docker("rm", "db"))
    ok(docker("volume", "rm", "pg-data"))


def _psql(docker: Docker, name: str) -> Callable[[str], str]:
    """Queries from the host over the published port; through the container where the host has no psql."""
    port = port_of(docker, name, 5432)
    program = shutil.which("psql")

    def query(text: str) -> str:
        if program is None:
            return ok(docker("exec", "-u", "postgres", name, "psql", "-h", "/tmp", "-Atc", text))
        environment = {**os.environ, "PGCONNECT_TIMEOUT": "5"}
        done = subprocess.run(
            [program, "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-Atc", text],
            check=False, capture_output=True, text=True, env=environment, timeout=20,
        )  # fmt: skip
        return ok(done)

    return query
