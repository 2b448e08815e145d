"""A process gets inheritable or ambient capabilities that nobody asked for (CVE-2022-24769, 27649, 27650, 27652, 29162).

Guards: `become` of oci/init/privileges.py sets all five sets from the configuration, whatever the caller has; a configuration
that says nothing of capabilities gives none. `exec --cap` adds to the three sets that a program of root's uses. With the caller's
inheritable set kept in `become` the first test fails, with None for "as the caller" the second one.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.security.hostile import Hostile, status

from hakobune.linux import syscalls
from hakobune.oci import capabilities
from hakobune.testing.engine import PrivateEngine
from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
NONE = "0" * 16
THREE = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")  # the default of `spec`
TELL = ("cat", "/proc/self/status")


def mask(*names: str) -> str:
    return f"{capabilities.mask(names):016x}"


def generous() -> None:
    """In the child that becomes the runtime: every capability is inheritable, and ambient."""
    everything = syscalls.capget()[1]
    syscalls.capset(everything, everything, everything)
    for number in (number for number in range(64) if everything >> number & 1):
        syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_RAISE, number)


def test_a_caller_who_has_them(hako: Runtime) -> None:
    image = Hostile(hako, *TELL)
    done = image.run(preexec_fn=generous)
    assert status(done.stdout, *SETS) == [NONE, mask(*THREE), mask(*THREE), mask(*THREE), NONE]
    hako("delete", "--force", image.name)
    image.process(user={"uid": 1000, "gid": 1000})
    done = image.run(preexec_fn=generous)
    assert status(done.stdout, *SETS) == [NONE, NONE, NONE, mask(*THREE), NONE]


def test_a_configuration_without_any(hako: Runtime) -> None:
    image = Hostile(hako, *TELL)
    image.edit(lambda document: document["process"].pop("capabilities"))
    assert status(image.run(preexec_fn=generous).stdout, *SETS) == [NONE] * 5


def test_execs(hako: Runtime, tmp_path: Path) -> None:
    image = Hostile(hako, "sleep", "60")
    image.start()
    four = (*THREE, "CAP_NET_ADMIN")
    bare = tmp_path / "process.json"
    bare.write_text('{"args": ["cat", "/proc/self/status"], "cwd": "/"}')
    for words, permitted, bounding in (
        ([], mask(*THREE), mask(*THREE)), (["--cap", "CAP_NET_ADMIN"], mask(*four), mask(*four)),
        (["--user", "1000"], NONE, mask(*THREE)), (["--user", "1000:1000", "--cap", "CAP_NET_ADMIN"], NONE, mask(*four)),
    ):  # fmt: skip
        done = hako("exec", *words, image.name, *TELL, preexec_fn=generous)
        assert status(done.stdout, *SETS) == [NONE, permitted, permitted, bounding, NONE], words
    done = hako("exec", "--process", str(bare), image.name, preexec_fn=generous)
    assert status(done.stdout, *SETS) == [NONE, mask(*THREE), mask(*THREE), mask(*THREE), NONE]


def test_what_is_asked_for_is_given(hako: Runtime) -> None:
    """Inheritable and ambient, when the configuration names them: also for a user who is not root, who keeps them."""
    image = Hostile(hako, *TELL)
    one = ["CAP_KILL"]
    image.process(user={"uid": 1000, "gid": 1000},
                  capabilities=dict.fromkeys(("bounding", "permitted", "effective", "inheritable", "ambient"), one))  # fmt: skip
    assert status(image.run().stdout, *SETS) == [mask(*one)] * 5


@pytest.mark.parametrize("words", [[], ["-u", "1000"], ["--cap-add", "NET_ADMIN"], ["--cap-drop", "ALL"], ["--privileged"],
                                   ["--cap-add", "ALL", "-u", "1000"]])  # fmt: skip
def test_by_the_shim(engine: PrivateEngine, words: list[str]) -> None:
    done = engine.hako("run", "--rm", *words, "hako/starter", *TELL)
    assert status(done.stdout, "CapInh", "CapAmb") == [NONE, NONE], done.stderr
    if "-u" in words:
        assert status(done.stdout, "CapPrm", "CapEff") == [NONE, NONE]


def test_execs_by_the_shim(engine: PrivateEngine) -> None:
    engine.hako("run", "-d", "--name", "one", "--cap-add", "NET_ADMIN", "hako/starter", "sleep", "60")
    for words in ([], ["-u", "1000"], ["--privileged"], ["-u", "1000", "--privileged"]):
        done = engine.hako("exec", *words, "one", *TELL)
        assert status(done.stdout, "CapInh", "CapAmb") == [NONE, NONE], done.stderr
        if "-u" in words:
            assert status(done.stdout, "CapPrm", "CapEff") == [NONE, NONE], words
