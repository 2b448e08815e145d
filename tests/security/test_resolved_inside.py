"""Modules, programs, codecs or users are looked up in the container by who enters it (CVE-2019-14271, CVE-2022-1227).

Every module of Python's is planted where the host has it, and each leaves a mark when it is read. Guard: nothing is imported
after the root has changed (oci/init/child.py, oci/init/execs.py; the zygote loads everything before), users are read
from files by descriptors, programs found by the container's user. A late `import` in `_shed` of oci/init/child.py
makes these tests fail.
"""

from __future__ import annotations

import io
import json
import os
import pty
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.security.hostile import Hostile

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root
MARK = "/planted"
LIBRARIES = (
    "libnss_files.so.2",
    "libnss_compat.so.2",
    "libnss_dns.so.2",
    "libffi.so.8",
    "liblzma.so.5",
    "libz.so.1",
)
PROGRAMS = (
    "nsenter",
    "xz",
    "unpigz",
    "pigz",
    "gzip",
    "tar",
    "ps",
    "python3",
    "mount",
    "ip",
    "iptables",
    "sh.real",
)


def planted() -> Iterator[tuple[str, bytes]]:
    """(path, content) of everything that somebody could take from an image."""
    module = f"open({MARK!r}, 'a').write(__name__ + '\\n')\n".encode()
    library = sysconfig.get_path("stdlib")
    names = {name.partition(".")[0] for name in sys.stdlib_module_names} | {
        "sitecustomize",
        "usercustomize",
        "hakobune",
    }
    for place in (library, sysconfig.get_path("purelib")):
        for name in sorted(names):
            yield f"{place}/{name}.py", module
    for name in (
        "__init__",
        "idna",
        "utf_8",
        "ascii",
        "latin_1",
        "unicode_escape",
        "raw_unicode_escape",
        "cp437",
        "mbcs",
    ):
        yield f"{library}/encodings/{name}.py", module
    for library in LIBRARIES:
        yield f"/usr/lib/x86_64-linux-gnu/{library}", b"\x7fELF planted"
    for program in PROGRAMS:
        for directory in ("/usr/local/sbin", "/usr/local/bin"):
            yield f"{directory}/{program}", f"#!/bin/sh\necho {program} >>{MARK}\n".encode()


FILES = dict(planted())


def test_there_is_enough_of_it() -> None:
    assert len(FILES) > 300
    assert os.path.dirname(os.__file__) + "/encodings/__init__.py" in FILES


@pytest.fixture
def image(hako: Runtime) -> Hostile:
    made = Hostile(hako, "sleep", "60")
    for directory in {os.path.dirname(path) for path in FILES}:
        (made.root / directory[1:]).mkdir(parents=True, exist_ok=True)
    for path, content in FILES.items():
        place = made.root / path[1:]
        place.unlink(missing_ok=True)
        place.write_bytes(content)
        place.chmod(0o755)
    return made


def test_it_would_be_found(image: Hostile) -> None:
    """Whoever takes one of them leaves the mark: so the others are known to see it."""
    image.process(args=["/bin/sh", "-c", "ps; nsenter"])
    assert image.run().returncode == 0
    assert (image.root / MARK[1:]).read_text() == "ps\nnsenter\n"


WRONG = [
    {"args": ["/nope"]}, {"args": ["nope"]}, {"args": ["/etc"]}, {"cwd": "/etc/passwd"}, {"cwd": "/nope/\udcff", "args": ["true"]},
    {"args": ["/\udcff\udcfe"]}, {"user": {"uid": 77, "gid": 78, "additionalGids": [5]}, "args": ["/root/x"]},
    {"env": ["PATH=/usr/local/bin:/bin", "LANG=ja_JP.eucJP", "LC_ALL=tr_TR.UTF-8", "HOME="], "args": ["true"]},
    {"args": ["true"], "user": {"uid": 65534, "gid": 65534}}, {"args": ["/etc/passwd"]},
]  # fmt: skip


def test_run_and_exec(image: Hostile, tmp_path: Path) -> None:
    """The good way, and all ways to fail: it is failures for which something is loaded late."""
    image.start()
    base = json.loads((image.path / "config.json").read_text())["process"] | {"args": ["true"]}
    file = tmp_path / "process.json"
    for process in WRONG:
        file.write_text(json.dumps(base | process))
        image.hako("exec", "--process", str(file), image.name, check=False)
    image.hako("delete", "--force", image.name)
    for process in WRONG:
        image.process(**base | process)
        image.run()
    assert not (image.root / MARK[1:]).exists(), (image.root / MARK[1:]).read_text()


def test_with_a_terminal(image: Hostile, tmp_path: Path) -> None:
    image.process(args=["true"], terminal=True)
    master, slave = pty.openpty()
    image.run(stdin=slave, stdout=slave)
    os.close(master)
    os.close(slave)
    assert not (image.root / MARK[1:]).exists()


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    """Whose image has all of it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, content in FILES.items():
            member = tarfile.TarInfo(path[1:])
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    with PrivateEngine() as running:
        assert running.hako("run", "--name", "base", "hako/starter", "true").returncode == 0
        file = running.root / "planted.tar"
        file.write_bytes(packed.getvalue())
        with file.open("rb") as stream:
            done = running.hako("cp", "-", "base:/", stdin=stream)
        assert done.returncode == 0, done.stderr
        assert running.hako("commit", "base", "planted").returncode == 0
        yield running


def test_everything_that_the_engine_does(engine: PrivateEngine, tmp_path: Path) -> None:
    """run, exec (as a health check is one), top, cp, export, diff, and failures of each."""
    volume = tmp_path / "mark"
    volume.mkdir()
    run = engine.hako("run", "-d", "--name", "one", "-u", "nobody", "planted", "sleep", "60")
    assert run.returncode == 0, run.stderr
    for words in (
        ("exec", "one", "true"), ("exec", "-u", "root", "one", "true"), ("exec", "-u", "nope", "one", "true"),
        ("exec", "one", "nope"), ("exec", "-w", "/nope", "one", "true"), ("exec", "-t", "one", "true"), ("top", "one"),
        ("cp", "one:/etc/passwd", str(tmp_path)), ("cp", str(tmp_path), "one:/tmp/x"), ("diff", "one"), ("stats", "--no-stream", "one"),
        ("export", "-o", str(tmp_path / "out.tar"), "one"), ("run", "--rm", "planted", "nope"), ("run", "--rm", "-w", "/etc/passwd", "planted", "true"),
        ("run", "--rm", "-u", "nope", "planted", "true"), ("run", "--rm", "-t", "planted", "true"),
        ("run", "--rm", "-u", "65534:65534", "--group-add", "root", "planted", "true"),
    ):  # fmt: skip
        engine.hako(*words)
    changed = engine.hako("diff", "one").stdout
    assert "/tmp/x" in changed
    assert MARK not in changed
    engine.hako("rm", "-f", "one")
