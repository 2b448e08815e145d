"""A configuration that is wrong: the error names the field, and nothing of the container is left."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hakobune.testing.hand import Runtime

pytestmark = [pytest.mark.root, pytest.mark.slow]

WRONG: list[tuple[str, Any, str]] = [
    ("ociVersion", "2.0.0", "ociVersion: '2.0.0' is not a 1.x version"),
    ("ociVersion", "1.banana", "ociVersion: '1.banana' is not a 1.x version"),
    ("ociVersion", None, "ociVersion: '' is not a 1.x version"),
    ("root", None, "root.path: must name the root file system"),
    ("root.path", 5, "root.path: expected a string, got 5"),
    ("root.path", "/nowhere/at/all", "root.path: mount it: no such file or directory (/nowhere/at/all)"),
    ("hostname", "a\0b", "hostname: 'a\\x00b' is not a name of at most 64 bytes"),
    ("hostname", "x" * 65, "hostname: "),
    ("domainname", "x" * 65, "domainname: "),
    ("process", None, "process: is needed"),
    ("process.args", [], "process.args: must name a program"),
    ("process.args", ["/nowhere/program"], "/nowhere/program: no such file or directory"),
    ("process.cwd", "etc", "process.cwd: 'etc' is not an absolute path"),
    ("process.env", [1], "process.env[0]: expected a string"),
    ("process.user", {"uid": "root"}, "process.user.uid: expected a number, got 'root'"),
    ("process.user", {"umask": 0o10000}, "process.user.umask: 4096 is outside 0..511"),
    ("process.user", {"additionalGids": {}}, "process.user.additionalGids: expected a list"),
    ("process.capabilities", {"bounding": ["CAP_BANANA"]},
     "process.capabilities.bounding[0]: 'CAP_BANANA' is not a capability"),
    ("process.capabilities", {"ambient": ["NET_RAW"]},
     "process.capabilities.ambient[0]: 'NET_RAW' is not a capability"),
    ("process.rlimits", [{"type": "RLIMIT_BANANA", "soft": 1, "hard": 1}],
     "process.rlimits[0].type: 'RLIMIT_BANANA' is not an rlimit"),
    ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}, {"type": "RLIMIT_CORE", "soft": 1, "hard": 1}],
     "process.rlimits[1].type: 'RLIMIT_CORE' is given twice"),
    ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}],
     "process.rlimits[0].soft: 2 is above the hard limit 1"),
    ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 1 << 70, "hard": 1 << 70}], "process.rlimits[0].soft: "),
    ("process.oomScoreAdj", 1001, "process.oomScoreAdj: 1001 is outside -1000..1000"),
    ("process.apparmorProfile", "banana", "process.apparmorProfile: 'banana': "),
    ("process.selinuxLabel", "banana", "process.selinuxLabel: 'banana': "),
    ("mounts", [{"source": "x"}], "mounts[0].destination: '' is not a path"),
    ("mounts", [{"destination": "/proc", "type": "proc"},
                {"destination": "/x", "source": "/nowhere/of", "type": "bind", "options": ["bind"]}],
     "mounts: bind /nowhere/of to /x: no such file or directory"),
    ("mounts", [{"destination": "/x", "type": "bananafs"}], "bananafs"),
    ("linux", [], "linux: expected an object"),
    ("linux.namespaces", [{"type": "mount"}, {"type": "banana"}],
     "linux.namespaces[1].type: 'banana' is not a namespace"),
    ("linux.namespaces", [{"type": "mount"}, {"type": "network", "path": "/nowhere/ns"}], "/nowhere/ns"),
    ("linux.namespaces", [{"type": "mount"}, {"type": "network", "path": "/proc/self/ns/uts"}], "/proc/self/ns/uts"),
    ("linux.devices", [{"type": "c", "path": "/dev/x"}], "linux.devices[0].major: is missing"),
    ("linux.devices", [{"type": "c", "path": "/dev/x", "major": -1, "minor": 0}],
     "linux.devices[0].major: -1 is outside"),
    ("linux.devices", [{"type": "p", "path": "/dev/x", "uid": -5}], "linux.devices[0].uid: -5 is outside"),
    ("linux.cgroupsPath", "/a/../../b", "linux.cgroupsPath: "),
    ("linux.rootfsPropagation", "banana", "linux.rootfsPropagation: 'banana' is not a propagation"),
    ("linux.maskedPaths", ["proc"], "linux.maskedPaths[0]: 'proc' is not an absolute path"),
    ("linux.readonlyPaths", ["x/y"], "linux.readonlyPaths[0]: 'x/y' is not an absolute path"),
    ("linux.sysctl", {"kernel.core_pattern": "|/x"}, "kernel.core_pattern"),
    ("linux.resources", {"memory": {"limit": "1g"}}, "linux.resources.memory.limit: expected a number, got '1g'"),
    ("linux.resources", {"devices": "all"}, "linux.resources.devices: expected a list"),
    ("linux.resources", {"devices": [{"type": "c", "access": "rwm"}, 5]}, "linux.resources.devices[1]: expected an object, got 5"),
    ("linux.resources", {"hugepageLimits": [{"pageSize": "2MB"}]},
     "linux.resources.hugepageLimits[0].limit: is missing"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_BANANA"}, "linux.seccomp.defaultAction: unknown action"),
    ("linux.intelRdt", {"closID": "x"}, "linux.intelRdt: "),
    ("hooks", {"poststop": [{"path": "bin/x"}]}, "hooks.poststop[0]"),
    ("hooks", {"prestart": {}}, "hooks.prestart: expected a list"),
    ("annotations", {"a": []}, "annotations.a: expected a string"),
]  # fmt: skip


def leftovers(hako: Runtime) -> list[str]:
    """Groups of this test's, and mounts of its places (others run beside us)."""
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/hakotest-{os.getpid()}/*")]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return groups + [line for line in mounts if str(hako.place) in line or str(hako.lower) in line]


def refuses(field: str) -> bool:
    """Whether this kernel has no such security module: where it has one, the label is another test's."""
    place = {
        "process.apparmorProfile": "/sys/module/apparmor",
        "process.selinuxLabel": "/sys/fs/selinux/enforce",
    }
    return field not in place or not Path(place[field]).exists()


@pytest.mark.parametrize(("field", "value", "text"), WRONG, ids=[f"{w[0]}-{n}" for n, w in enumerate(WRONG)])
def test_the_field_is_named(hako: Runtime, field: str, value: Any, text: str) -> None:
    if not refuses(field):
        pytest.skip(f"{field}: this kernel has such labels, which would be refused by itself")
    path = hako.bundle("true")
    document = json.loads(Path(path, "config.json").read_text())
    *heads, last = field.split(".")
    place = document
    for head in heads:
        place = place[head]
    place[last] = value
    Path(path, "config.json").write_text(json.dumps(document))
    done = hako("run", "--bundle", path, Path(path).name, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert text in done.stderr
    assert leftovers(hako) == []
    assert "container does not exist" in hako("state", Path(path).name, check=False).stderr


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b"[" * 100000, b'{"ociVersion": NaN}']
)
def test_what_is_no_configuration(hako: Runtime, raw: bytes) -> None:
    path = hako.bundle("true")
    Path(path, "config.json").write_bytes(raw)
    done = hako("create", "--bundle", path, Path(path).name, check=False)
    assert done.returncode == 1
    assert "config.json" in done.stderr or "ociVersion" in done.stderr
    assert done.stderr.count("\n") == 1


def test_sysctls_of_its_own_namespaces_are_set(hako: Runtime) -> None:
    """And those of the host are as they were."""
    wanted = {
        "kernel.shmmni": "77",
        "fs.mqueue.msg_max": "9",
        "net.ipv4.ip_forward": "1",
        "kernel.domainname": "test",
    }
    files = {name: f"/proc/sys/{name.replace('.', '/')}" for name in wanted}
    before = {name: Path(path).read_text() for name, path in files.items()}
    path = hako.bundle("cat", *files.values())
    document = json.loads(Path(path, "config.json").read_text())
    document["linux"]["sysctl"] = wanted
    Path(path, "config.json").write_text(json.dumps(document))
    with open(f"{path}/out", "w") as out:
        hako("run", "--bundle", path, Path(path).name, stdout=out)
    assert hako.output(Path(path).name).split() == list(wanted.values())
    assert {name: Path(path).read_text() for name, path in files.items()} == before
