"""A user's number that does not fit is read as 0 (CVE-2024-40635).

Guards: `_number` of engine/containers/users.py (0 to 2147483647, as Docker), `_identity` of oci/config.py (what the kernel
has). With `& 0xFFFFFFFF` in their place the container runs as root.
"""

from __future__ import annotations

import pytest
from tests.security.hostile import Hostile

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root
WRONG = [
    "4294967296",
    "4294967295",
    "2147483648",
    "18446744073709551616",
    "-1",
    "-4294967296",
    "0x0",
    "1e0",
    "0.0",
    " 0",
    "9" * 400,
]


@pytest.mark.parametrize("user", [*WRONG, *(f"1000:{one}" for one in WRONG[:5])])
def test_users(engine: PrivateEngine, user: str) -> None:
    done = engine.hako("run", "--rm", f"--user={user}", "hako/starter", "id")
    assert (done.returncode != 0, done.stdout) == (True, "")
    assert "unable to find" in done.stderr or "must be in range 0-2147483647" in done.stderr, done.stderr


@pytest.mark.parametrize("group", WRONG[:5])
def test_further_groups(engine: PrivateEngine, group: str) -> None:
    done = engine.hako("run", "--rm", f"--group-add={group}", "hako/starter", "id")
    assert (done.returncode != 0, done.stdout) == (True, "")


def test_the_user_of_an_image_and_of_an_exec(engine: PrivateEngine) -> None:
    engine.hako("run", "-d", "--name", "base", "hako/starter", "sleep", "60")
    for user in WRONG[:5]:
        assert engine.hako("exec", f"--user={user}", "base", "id").returncode != 0
        engine.hako("commit", "-c", f"USER {user}", "base", "evil")
        done = engine.hako("run", "--rm", "evil", "id")
        assert (done.returncode != 0, "uid" in done.stdout) == (True, False), user


@pytest.mark.parametrize(
    "number",
    [
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "-1",
        "-4294967296",
        "0.0",
        "1e0",
        '"0"',
        "true",
        "null0",
    ],
)
@pytest.mark.parametrize("field", ["uid", "gid", "additionalGids"])
def test_configurations(hako: Runtime, number: str, field: str) -> None:
    image = Hostile(hako, "id")
    file = image.path / "config.json"
    wrong = f'"{field}": [{number}]' if field == "additionalGids" else f'"{field}": {number}'
    text = file.read_text()
    assert '"user": {' in text
    file.write_text(text.replace('"user": {"uid": 0, "gid": 0}', '"user": {' + wrong + "}"))
    assert file.read_text() != text
    done = image.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert field in done.stderr or "is not JSON" in done.stderr


def test_numbers_that_fit_are_those(engine: PrivateEngine) -> None:
    done = engine.hako("run", "--rm", "-u", "2147483647:2147483647", "hako/starter", "id")
    assert done.stdout.startswith("uid=2147483647 gid=2147483647"), done.stderr
