"""cp both ways, by docker's own command and by ours, into running and stopped containers; and all the ways to slip out."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.conftest import STARTER

from hakobune.cli.http import quote
from hakobune.testing.engine import PrivateEngine
from hakobune.testing.processes import command_lines

pytestmark = [pytest.mark.root, pytest.mark.slow]

Copy = Callable[..., "subprocess.CompletedProcess[str]"]
RUN = "mkdir -p /d/sub; echo one >/d/one; echo two >/d/sub/two; ln -s /d /way; ln -s nowhere /dangling; touch /ready; sleep 600"


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    with PrivateEngine() as running:
        host = running.root / "bound"
        host.mkdir()
        words = [
            "-d",
            "-v",
            "vol:/vol",
            "-v",
            f"{host}:/sealed:ro",
            "--tmpfs",
            "/tmpfs",
            STARTER,
            "sh",
            "-c",
            RUN,
        ]
        for name, more in (("live", []), ("dead", []), ("tight", ["--read-only", "--tmpfs", "/d"])):
            if name != "tight":
                ok(running.hako("run", "--name", name, *words))
            else:
                ok(
                    running.hako(
                        "run", "-d", "--name", name, *more, "-v", "vol:/vol", STARTER, "sleep", "600"
                    )
                )
        for name in ("live", "dead"):
            while running.hako("exec", name, "test", "-e", "/ready").returncode:
                time.sleep(0.02)
        ok(running.hako("stop", "-t", "0", "dead"))
        yield running


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(params=["docker", "hako"])
def copy(request: pytest.FixtureRequest, engine: PrivateEngine, peer: Callable[[str], Path]) -> Copy:
    """`cp` of one of the two programs."""
    if request.param == "hako":
        return lambda *words, **options: engine.hako("cp", *words, **options)
    program = [str(peer("docker")), "-H", engine.host, "cp"]

    def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
        if "input" not in options:
            options["stdin"] = subprocess.DEVNULL
        return subprocess.run(
            [*program, *words], check=False, **({"capture_output": True, "text": True} | options)
        )  # type: ignore[call-overload,no-any-return]

    return run


def tree(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*")}


@pytest.mark.parametrize("name", ["live", "dead"])
def test_out(copy: Copy, name: str, tmp_path: Path) -> None:
    """As cp(1) has it: into a directory that is there, as one that is not, and only what is inside."""
    (tmp_path / "there").mkdir()
    ok(copy(f"{name}:/d", f"{tmp_path}/there"))
    assert tree(tmp_path / "there") == {"d", "d/one", "d/sub", "d/sub/two"}
    for target in ("new", "slash/"):
        ok(copy(f"{name}:/d", f"{tmp_path}/{target}"))
        assert tree(tmp_path / target) == {"one", "sub", "sub/two"}
    ok(copy(f"{name}:/d/.", f"{tmp_path}/dot"))
    ok(copy(f"{name}:/d/sub/../.", f"{tmp_path}/there"))
    assert tree(tmp_path / "dot") == {"one", "sub", "sub/two"} < tree(tmp_path / "there")
    ok(copy(f"{name}:/d/one", f"{tmp_path}/renamed"))
    assert (tmp_path / "renamed").read_text() == "one\n"
    ok(copy(f"{name}:/way/sub/two", f"{tmp_path}"))
    assert (tmp_path / "two").read_text() == "two\n"
    ok(copy(f"{name}:/way", f"{tmp_path}"))
    assert os.readlink(tmp_path / "way") == "/d"
    ok(copy("-L", f"{name}:/way", f"{tmp_path}/followed"))
    assert tree(tmp_path / "followed") == {"one", "sub", "sub/two"}
    assert (tmp_path / "renamed").stat().st_uid == os.getuid()


@pytest.mark.parametrize("name", ["live", "dead"])
def test_volumes_and_lent_files_are_in_sight_and_proc_is_not(
    copy: Copy, engine: PrivateEngine, name: str, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text(name)
    ok(copy(f"{tmp_path}/f", f"{name}:/vol/from-{name}"))
    ok(copy(f"{name}:/vol/from-{name}", f"{tmp_path}/back"))
    assert (tmp_path / "back").read_text() == name
    assert ok(engine.hako("run", "--rm", "-v", "vol:/v", STARTER, "cat", f"/v/from-{name}")) == name
    ok(copy(f"{name}:/etc/hosts", f"{tmp_path}/hosts"))
    assert "localhost" in (tmp_path / "hosts").read_text()
    ok(copy(f"{name}:/proc", f"{tmp_path}/proc"))
    assert tree(tmp_path / "proc") == set()


@pytest.mark.parametrize("name", ["live", "dead"])
def test_in(copy: Copy, engine: PrivateEngine, name: str, tmp_path: Path) -> None:
    source = tmp_path / "src"
    (source / "deep").mkdir(parents=True)
    (source / "f").write_text("data")
    (source / "f").chmod(0o4751)
    os.utime(source / "f", (1_000_000_000, 1_000_000_000))
    (source / "link").symlink_to("/etc/shadow")
    os.link(source / "f", source / "deep" / "twin")
    where = f"/in-{tmp_path.name}"
    ok(copy(str(source), f"{name}:{where}"))
    ok(copy(str(source), f"{name}:{where}"))  # it is there now: it goes into it
    ok(copy(f"{source}/.", f"{name}:{where}/src/deep/"))
    ok(copy(f"{source}/f", f"{name}:{where}/other"))
    ok(copy(f"{source}/link", f"{name}:{where}/kept"))
    ok(copy("-L", f"{tmp_path}/src/deep/twin", f"{name}:{where}/twin"))
    ok(copy(str(source / "f"), f"{name}:/way/over-the-link"))
    ok(engine.hako("start", name))
    look = f"cd {where}; stat -c '%a %Y' f; cat src/deep/f other /d/over-the-link; readlink kept; ls -A . src/deep"
    found = ok(engine.hako("exec", name, "sh", "-c", look)).split()
    assert found[:3] == ["4751", "1000000000", "datadatadata/etc/shadow"]
    assert found[3:] == [
        ".:",
        "deep",
        "f",
        "kept",
        "link",
        "other",
        "src",
        "twin",
        "src/deep:",
        "deep",
        "f",
        "link",
        "twin",
    ]
    if name == "dead":
        ok(engine.hako("stop", "-t", "0", name))


def test_from_and_to_a_pipe(copy: Copy, engine: PrivateEngine) -> None:
    out = copy("live:/d", "-", text=False)
    with tarfile.open(fileobj=io.BytesIO(out.stdout)) as archive:  # type: ignore[arg-type]
        assert archive.getnames()[:2] == ["d", "d/one"]
    done = copy("-", "live:/vol", input=out.stdout, text=False)
    assert done.returncode == 0, done.stderr
    assert ok(engine.hako("exec", "live", "cat", "/vol/d/sub/two")) == "two"
    ok(engine.hako("exec", "live", "rm", "-r", "/vol/d"))


def test_what_is_refused(copy: Copy, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "dir").mkdir()
    for source, target, said in (
        ("live:/nope", f"{tmp_path}/x", "Could not find the file /nope in container live"),
        ("none:/x", f"{tmp_path}/x", "No such container: none"),
        (f"{tmp_path}/f", "none:/x", "No such container: none"),
        (f"{tmp_path}/f", "live:/nope/x", "Could not find the file /nope"),
        (f"{tmp_path}/f", "live:/d/one/x", ""),
        (f"{tmp_path}/f", "live:/nope/", "no such directory"),
        (f"{tmp_path}/dir", "live:/d/one", "cannot copy directory"),
        (f"{tmp_path}/f", "live:/sealed/", "mounted volume is marked read-only"),
        (f"{tmp_path}/f", "tight:/etc/", "container rootfs is marked read-only"),
        (f"{tmp_path}/nope", "live:/", "no such file"),
        ("live:/d", f"{tmp_path}/f", "cannot copy directory"),
    ):
        done = copy(source, target)
        assert (done.returncode, said in done.stderr) == (1, True), (source, target, done.stderr)
    ok(copy(f"{tmp_path}/f", "tight:/vol/fine"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dir", "f"]


def archive(*members: tuple[str, bytes, bytes, str]) -> bytes:
    """(name, type, data, link) of each."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, data, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, link, len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def put(engine: PrivateEngine, container: str, path: str, data: bytes, more: str = "") -> str:
    """The engine's words; empty for success."""
    from hakobune.cli.failure import ApiFailure

    where = f"/containers/{container}/archive?path={quote(path)}{more}"
    try:
        engine.client.open("PUT", where, stream=iter([data])).read()
    except ApiFailure as err:
        return err.reason
    return ""


@pytest.mark.parametrize("name", ["live", "dead"])
def test_slips(engine: PrivateEngine, name: str, tmp_path: Path) -> None:
    """Whatever an archive says, nothing of the host is written or read."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    file, link, hard, directory = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
    outside = f"/../../../..{tmp_path}"
    for members, refused in (
        ([("../../up", file, b"x", "")], "leads out of the root"),
        ([(f"/abs{tmp_path}", file, b"x", "")], ""),
        ([("s1", link, b"", str(tmp_path)), ("s1/victim", file, b"evil", "")], "tar archive"),
        ([("s2", link, b"", outside), ("s2/victim", file, b"evil", "")], "tar archive"),
        ([("h", hard, b"", "../../../../etc/passwd")], "leads out of the root"),
        ([("h", hard, b"", str(victim))], "tar archive"),
        ([("s3", link, b"", str(tmp_path)), ("h", hard, b"", "s3/victim")], "tar archive"),
        ([("s4", link, b"", "/proc/self/root"), (f"s4{victim}", file, b"evil", "")], "No such file"),
        ([("dev", tarfile.CHRTYPE, b"", "")], "not permitted"),
    ):
        said = put(engine, name, "/d", archive(*members))
        assert refused in said, (members, said)
        assert bool(said) == bool(refused), said
        assert victim.read_text() == "untouched"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["victim"]
    kept = "&noOverwriteDirNonDir=1"
    assert "cannot overwrite directory" in put(engine, name, "/d", archive(("sub", file, b"", "")), kept)
    assert "cannot overwrite non-directory" in put(
        engine, name, "/d", archive(("one", directory, b"", "")), kept
    )
    assert "not a tar archive" in put(engine, name, "/d", b"no archive at all" * 99)
    assert "missing parameter: path" in put(engine, name, "", b"")


def test_links_of_the_container_do_not_lead_out_of_it(engine: PrivateEngine, tmp_path: Path) -> None:
    """`..`, absolute and magic links in paths that the client names."""
    (tmp_path / "secret").write_text("of the host")
    make = f"ln -sfn {tmp_path} /lead; ln -sfn /../../..{tmp_path} /up; ln -sfn /proc/1/root /magic; ln -sfn /loop /loop"
    ok(engine.hako("exec", "live", "sh", "-c", make))
    for path in (
        "/lead/secret",
        "/up/secret",
        f"/magic{tmp_path}/secret",
        f"/../../..{tmp_path}/secret",
        "/loop/x",
    ):
        done = engine.hako("cp", f"live:{path}", "-")
        assert done.returncode == 1, path
        assert "of the host" not in done.stdout
    for path in ("/lead", "/up", "/lead/", "/loop"):
        assert put(engine, "live", path, archive(("planted", tarfile.REGTYPE, b"x", "")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret"]


def test_a_container_that_swaps_a_directory_for_a_link_all_the_time(
    engine: PrivateEngine, tmp_path: Path
) -> None:
    """CVE-2018-15664: neither what is read nor what is written is ever the host's."""
    (tmp_path / "file").write_text("of the host")
    swap = f"mkdir -p /r/real; echo mine >/r/real/file; ln -sfn {tmp_path} /r/link; cd /r; mv real dir; while :; do " \
           "mv dir real; mv link dir; mv dir link; mv real dir; done"  # fmt: skip
    ok(engine.hako("exec", "-d", "live", "sh", "-c", swap))
    until = time.monotonic() + 2.5
    seen: set[str] = set()

    def read() -> None:
        while time.monotonic() < until:
            done = engine.hako("cp", "live:/r", "-", text=False)
            seen.add("host" if b"of the host" in done.stdout else "fine")  # type: ignore[operator]

    def write() -> None:
        while time.monotonic() < until:
            put(engine, "live", "/r/dir", archive(("planted", tarfile.REGTYPE, b"x", "")))

    threads = [threading.Thread(target=work) for work in (read, write, write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ok(engine.hako("exec", "live", "sh", "-c", "kill -9 $(pgrep -f 'mv dir real' | grep -v $$) || true"))
    assert seen == {"fine"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_volume_whose_place_is_swapped_for_a_link(engine: PrivateEngine, tmp_path: Path) -> None:
    """The place of a volume lies in another one, which a second container has: it is never mounted, nor made, on the host."""
    (tmp_path / "file").write_text("of the host")
    ok(engine.hako("run", "-d", "--name", "outer", "-v", "shared:/s", STARTER, "sh", "-c",
                   f"mkdir -p /s/real; ln -sfn {tmp_path} /s/link; mkdir -p /s/in; cd /s; while :; do "
                   "mv in real/x; mv link in; mv in link; mv real/x in; done"))  # fmt: skip
    ok(engine.hako("create", "--name", "inner", "-v", "shared:/s", "-v", "second:/s/in", STARTER))
    mounts = Path("/proc/self/mountinfo").read_text()
    until = time.monotonic() + 2
    seen = []
    while time.monotonic() < until:
        put(engine, "inner", "/s/in", archive(("planted", tarfile.REGTYPE, b"x", "")))
        seen.append(engine.hako("cp", "inner:/s/in", "-", text=False).stdout)
    ok(engine.hako("rm", "-f", "inner", "outer"))
    assert not any(b"of the host" in one for one in seen)  # type: ignore[operator]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
    assert Path("/proc/self/mountinfo").read_text().count(str(tmp_path)) == mounts.count(str(tmp_path))


def test_compressed_archives_meet_no_program_and_no_module_of_the_container(
    engine: PrivateEngine, tmp_path: Path
) -> None:
    """CVE-2019-14271: what unpacks is the engine's own, whatever lies in the container."""
    for name in (
        "lzma.py",
        "bz2.py",
        "sitecustomize.py",
        "encodings.py",
        "xz",
        "unpigz",
        "libnss_files.so.2",
    ):
        (tmp_path / name).write_text("import os; os.mknod('/planted')\n")
    for place in ("/usr/bin/", "/usr/lib/", "/", "/tmp/"):
        for file in tmp_path.iterdir():
            ok(engine.hako("cp", str(file), f"live:{place}{file.name}"))
    data = archive(("packed", tarfile.REGTYPE, b"x", ""))
    for number, pack in enumerate((gzip.compress, bz2.compress, lzma.compress)):
        assert put(engine, "live", "/d", pack(data)) == ""
        ok(engine.hako("exec", "live", "mv", "/d/packed", f"/d/packed{number}"))
    assert engine.hako("exec", "live", "test", "-e", "/planted").returncode == 1


def test_the_user_owns_what_is_copied_with_archive(engine: PrivateEngine, copy: Copy, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    ok(engine.hako("create", "--name", "owned", "-u", "7:8", STARTER))
    ok(copy("-a", f"{tmp_path}/f", "owned:/f"))
    ok(engine.hako("cp", "-a", "owned:/f", f"{tmp_path}/back"))
    ok(engine.hako("rm", "owned"))
    assert ((tmp_path / "back").stat().st_uid, (tmp_path / "back").stat().st_gid) == (7, 8)


def test_a_client_that_goes_in_the_middle(engine: PrivateEngine, tmp_path: Path) -> None:
    """The container can be started and removed at once."""
    ok(engine.hako("create", "--name", "half", STARTER))
    sock = engine.client.connect()
    sock.sendall(
        b"PUT /containers/half/archive?path=/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    )
    time.sleep(0.3)
    sock.close()
    ok(engine.hako("start", "half"))
    ok(engine.hako("rm", "-f", "half"))


def test_an_engine_that_is_killed_in_the_middle() -> None:
    """Nobody goes on with the container's files, and the next engine starts it."""
    with PrivateEngine() as engine:
        ok(engine.hako("create", "--name", "half", STARTER, "sleep", "600"))
        sock = engine.client.connect()
        sock.sendall(
            b"PUT /containers/half/archive?path=/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

        def working() -> bool:
            return any(
                "hakobune.cmd.files" in line and str(engine.root) in line for _, line in command_lines()
            )

        while not working():
            time.sleep(0.01)
        engine.kill()
        end = time.monotonic() + 5
        while working():
            assert time.monotonic() < end
            time.sleep(0.01)
        sock.close()
        engine.start()
        ok(engine.hako("start", "half"))
        ok(engine.hako("cp", "/etc/passwd", "half:/put"))
        ok(engine.hako("rm", "-f", "half"))
