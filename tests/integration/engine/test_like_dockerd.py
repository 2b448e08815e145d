"""cp, diff, export, commit and save by the docker CLI, on our engine and on a private dockerd: the answers are the same."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import STARTER

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.peers import Peer, dockerd

pytestmark = [pytest.mark.root, pytest.mark.slow]

WORK = (
    "mkdir /new; echo hi >/new/f; ln /new/f /new/twin; rm /etc/os-release; rm -r /home; mkdir /home; touch /home/x;"
    "echo in >/vol/x; ln -s /new /lnk; ln -s nowhere /dang; chmod 4711 /new/f; chown 5:6 /srv; touch /ready; sleep 600"
)
CHANGES = ("CMD echo", "ENV B=$A", "EXPOSE 80/tcp", "VOLUME /q", "LABEL x=y", "USER 5", "WORKDIR w", "ONBUILD RUN x",
           "HEALTHCHECK --interval=5s CMD x", 'ENTRYPOINT ["e"]')  # fmt: skip
# what Docker makes in every container, and we do not; and what we make in every container
LENT = {
    ".dockerenv",
    "dev/console",
    "dev/pts",
    "dev/shm",
    "etc/mtab",
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
}


@pytest.fixture(scope="module")
def peer_engine() -> Iterator[Peer]:
    made = dockerd()
    if made.missing:
        pytest.skip(f"peer not installed: dockerd ({made.missing})")
    made.launch()
    try:
        made.wait_ready()
        yield made
    finally:
        made.stop()


Docker = Callable[..., "subprocess.CompletedProcess[bytes]"]


def on(host: str) -> Docker:
    def run(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["docker", "-H", host, *words], capture_output=True, stdin=subprocess.DEVNULL, check=False
        )

    return run


@pytest.fixture(scope="module")
def both(
    engine: PrivateEngine, peer_engine: Peer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Docker, Docker]:
    """The same image on both, and a container of it at the same work."""
    root = tmp_path_factory.mktemp("both")
    for words in (("create", "--name", "base", STARTER), ("export", "-o", str(root / "base.tar"), "base")):
        assert engine.hako(*words).returncode == 0
    made = on(engine.host), on(peer_engine.host)
    for docker in made:
        assert docker("import", str(root / "base.tar"), "st:1").returncode == 0
        work = ["-v", "vv:/vol", "-e", "A=b", "--workdir", "/tmp", "st:1", "sh", "-c", WORK]
        done = docker("run", "-d", "--name", "cc", *work)
        assert done.returncode == 0, done.stderr
    for docker in made:
        while docker("exec", "cc", "test", "-e", "/ready").returncode:
            time.sleep(0.05)
    return made


def members(data: bytes) -> list[Any]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [
            (one.name, one.type, one.mode & 0o7777, one.uid, one.gid, one.linkname, one.size) for one in tar
        ]


def last(done: subprocess.CompletedProcess[bytes]) -> str:
    """The sentence of an error, without what a client says of its own pipes."""
    return done.stderr.decode().strip().rpartition("\n")[2]


def test_diff(both: tuple[Docker, Docker]) -> None:
    ours, theirs = (sorted(docker("diff", "cc").stdout.splitlines()) for docker in both)
    assert ours == theirs


@pytest.mark.parametrize(
    "path",
    ["/new", "/new/", "/new/.", "/lnk", "/lnk/", "/lnk/.", "/lnk/f", "/dang", "/new/f", "/vol", "/proc", "new",
     "../new/../new/f", "/nope", "/dang/", "/etc/passwd/../passwd"],
)  # fmt: skip
def test_out(both: tuple[Docker, Docker], path: str) -> None:
    ours, theirs = (docker("cp", f"cc:{path}", "-") for docker in both)
    assert (ours.returncode, last(ours)) == (theirs.returncode, last(theirs))
    if not ours.returncode:
        assert members(ours.stdout) == members(theirs.stdout)


def test_in(both: tuple[Docker, Docker], tmp_path: Path) -> None:
    source = tmp_path / "src"
    (source / "sub").mkdir(parents=True)
    (source / "a").write_text("a")
    (source / "s").symlink_to("a")
    for what, where in (
        ("src", "/t1"), ("src", "/t1"), ("src/.", "/t2"), ("src/a", "/t3"), ("src/a", "/t4/"), ("src/a", "/t5/x"),
        ("src", "/t3"), ("src/a", "/lnk"), ("src/a", "/dang"), ("src/s", "/t6"), ("src/a", "/vol/"), ("src/sub", "/t2"),
    ):  # fmt: skip
        ours, theirs = (docker("cp", f"{tmp_path}/{what}", f"cc:{where}") for docker in both)
        assert (ours.returncode, last(ours)) == (theirs.returncode, last(theirs)), (what, where)
    look = "find /t* /new /vol /nowhere -exec stat -c '%n %F %a %u:%g' {} + | sort"
    ours, theirs = (docker("exec", "cc", "sh", "-c", look) for docker in both)
    assert ours.stdout == theirs.stdout


def test_export(both: tuple[Docker, Docker]) -> None:
    ours, theirs = (
        {one for one in members(docker("export", "cc").stdout) if one[0] not in LENT and one[0] != "dev"}
        for docker in both
    )
    assert ours == theirs


def test_commit_and_history(both: tuple[Docker, Docker]) -> None:
    shown = []
    for docker in both:
        words = [word for change in CHANGES for word in ("-c", change)]
        done = docker("commit", "-a", "A <a@b>", "-m", "note", *words, "cc", "com:1")
        assert done.returncode == 0, done.stderr
        document = json.loads(docker("image", "inspect", "com:1").stdout)[0]
        config = {
            key: value for key, value in document["Config"].items() if value not in (None, "", False, [], {})
        }
        for key in ("Hostname", "Image"):  # of the container: no part of an OCI configuration
            config.pop(key, None)
        steps = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "com:1").stdout
        shown.append((config, document["Author"], document["Comment"], steps))
    assert shown[0] == shown[1]


def test_what_dockerd_saved_is_read(both: tuple[Docker, Docker], tmp_path: Path) -> None:
    ours, theirs = both
    assert theirs("commit", "cc", "saved:1").returncode == 0
    assert theirs("save", "-o", str(tmp_path / "s.tar"), "saved:1").returncode == 0
    assert ours("load", "-i", str(tmp_path / "s.tar")).stdout == b"Loaded image: saved:1\n"
    assert ours("run", "--rm", "saved:1", "cat", "/new/twin").stdout == b"hi\n"
    identities = {docker("inspect", "-f", "{{.Id}}", "saved:1").stdout for docker in both}
    assert len(identities) == 1
    assert ours("save", "-o", str(tmp_path / "o.tar"), "saved:1").returncode == 0
    assert theirs("rmi", "saved:1").returncode == 0
    done = theirs("load", "-i", str(tmp_path / "o.tar"))
    assert b"Loaded image: saved:1" in done.stdout, done.stderr
    assert theirs("run", "--rm", "saved:1", "cat", "/new/twin").stdout == b"hi\n"
