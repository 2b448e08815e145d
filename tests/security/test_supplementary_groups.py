"""A process has groups of its caller's, lacks those that deny it something, or another user than was asked for.

CVE-2022-36109, CVE-2023-25173 (the first group is one of the supplementary ones), CVE-2026-30892 (a user of exec's is not read as one),
CVE-2016-3697 (a user whose *name* is a number in the image's passwd file). Guards: `_set_groups` before setresuid(2)
(oci/init/privileges.py), `_all_groups` of engine/containers/spec.py, `_is` of engine/containers/users.py, and `_process` of
oci/verbs/execute.py, where an exec of another user keeps init's groups.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import pytest
from tests.security.hostile import Hostile, status

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root
TELL = ("cat", "/proc/self/status")


def who(text: str) -> tuple[list[int], list[int], list[int]]:
    """(the four uids, the four gids, the groups)"""
    uids, gids, groups = (
        [int(word) for word in line.split()] for line in status(text, "Uid", "Gid", "Groups")
    )
    return uids, gids, sorted(groups)


def test_the_callers_groups_stay_outside(hako: Runtime) -> None:
    image = Hostile(hako, *TELL)
    assert who(image.run(extra_groups=[0, 42, 43]).stdout) == ([0] * 4, [0] * 4, [])
    hako("delete", "--force", image.name)
    image.process(user={"uid": 1000, "gid": 1001, "additionalGids": [5, 4294967294]})
    assert who(image.run(extra_groups=[42]).stdout) == ([1000] * 4, [1001] * 4, [5, 4294967294])


def test_execs(hako: Runtime) -> None:
    image = Hostile(hako, "sleep", "60")
    image.process(user={"uid": 1000, "gid": 1001, "additionalGids": [5, 6]})
    image.start()
    for words, wanted in (
        ([], (1000, 1001, [5, 6])), (["--user", "7"], (7, 1001, [5, 6])), (["--user", "7:8"], (7, 8, [5, 6])),
        (["--user", "0"], (0, 1001, [5, 6])), (["--additional-gids", "9"], (1000, 1001, [5, 6, 9])),
        (["--user", "7:8", "-g", "9", "-g", "10"], (7, 8, [5, 6, 9, 10])), (["--user", "7:"], (7, 1001, [5, 6])),
    ):  # fmt: skip
        done = hako("exec", *words, image.name, *TELL, extra_groups=[42])
        uid, gid, groups = wanted
        assert who(done.stdout) == ([uid] * 4, [gid] * 4, groups), words


@pytest.mark.parametrize(
    "user",
    [
        "root",
        "0x0",
        "-1",
        "+0",
        "1 0",
        "1;0",
        "٣",
        "1:root",
        "1:-1",
        "1:0x0",
        ":0",
        "4294967295",
        "4294967296",
        "1:4294967296",
    ],
)
def test_users_of_an_exec_that_are_none(hako: Runtime, user: str) -> None:
    image = Hostile(hako, "sleep", "60")
    image.start()
    done = hako("exec", "--user", user, image.name, "true", check=False)
    assert done.returncode == 255
    assert done.stderr


PASSWD = "root:x:0:0::/:\nbob:x:1000:1001::/:\n1000:x:0:0::/:\n2000:x:0:0::/:\n0:x:7:7::/:\n"
GROUP = "root:x:0:\nbob:x:1001:\nstaff:x:50:bob\n3000:x:0:bob,2000\n1001:x:0:\nhuge:x:4294967296:bob\n"


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    """With the image `evil`, whose users have numbers for names, and a container of it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in (("passwd", PASSWD), ("group", GROUP)):
            member = tarfile.TarInfo(f"etc/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    with PrivateEngine() as running:
        assert running.hako("run", "--name", "base", "hako/starter", "true").returncode == 0
        file = running.root / "users.tar"
        file.write_bytes(packed.getvalue())
        with file.open("rb") as stream:
            assert running.hako("cp", "-", "base:/", stdin=stream).returncode == 0
        assert running.hako("commit", "base", "evil").returncode == 0
        assert running.hako("run", "-d", "--name", "one", "evil", "sleep", "60").returncode == 0
        yield running


@pytest.mark.parametrize(
    ("user", "wanted"),
    [
        ("1000", (1000, 1001, [0, 50, 1001])), ("2000", (2000, 0, [0])), ("bob", (1000, 1001, [0, 50, 1001])),
        ("2000:3000", (2000, 3000, [3000])), ("2000:1001", (2000, 1001, [1001])), ("0", (0, 0, [0])),
        ("1000:50", (1000, 50, [50])),
    ],
)  # fmt: skip
def test_a_number_is_a_number(engine: PrivateEngine, user: str, wanted: tuple[int, int, list[int]]) -> None:
    """Whatever the image calls it. (Group 0 is bob's because the image's group `3000`, which is 0, has him by his name.)"""
    uid, gid, groups = wanted
    for done in (
        engine.hako("run", "--rm", "-u", user, "evil", *TELL),
        engine.hako("exec", "-u", user, "one", *TELL),
    ):
        said = who(done.stdout)
        if user == "0" and not said[2]:  # an exec of root's looks nobody up
            said = (said[0], said[1], [0])
        assert said == ([uid] * 4, [gid] * 4, groups), done.stderr


def test_further_groups(engine: PrivateEngine) -> None:
    done = engine.hako(
        "run", "--rm", "-u", "2000", "--group-add", "3000", "--group-add", "staff", "evil", *TELL
    )
    assert who(done.stdout) == ([2000] * 4, [0] * 4, [0, 50, 3000])
