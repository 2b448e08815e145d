"""From a container to its OCI spec: Docker's defaults, and what each wish changes."""

from __future__ import annotations

from typing import Any

import pytest

from hakobune.engine.containers import request
from hakobune.engine.containers.model import Container, MountPoint
from hakobune.engine.containers.spec import (
    Identity,
    Surroundings,
    build,
    environment,
    resources,
    security_options,
)
from hakobune.errors import InvalidArgument
from hakobune.oci import capabilities
from hakobune.oci import config as oci_config

ROOT = Identity()


def built(
    host: dict[str, Any] | None = None, *, mounts: tuple[MountPoint, ...] = (), identity: Identity = ROOT,
    joined: dict[str, str] | None = None, netns: str = "/proc/1/ns/net", **config: Any,
) -> dict[str, Any]:  # fmt: skip
    given, full, _ = request.parse(
        {"Cmd": ["/bin/x"], "Hostname": "ship", **config, "HostConfig": host or {}}
    )
    container = Container("a" * 64, "web", 1, "sha256:1", "img", "chain", given, full, {}, mounts)
    around = Surroundings(identity, netns, {"/etc/hosts": "/d/hosts"}, "/s/side", joined or {})
    return build(container, around)


def mount_at(document: dict[str, Any], target: str) -> dict[str, Any]:
    return next(mount for mount in document["mounts"] if mount["destination"] == target)


def test_the_default_is_one_that_our_runtime_reads() -> None:
    document = built()
    oci_config.parse(document)
    assert document["process"]["args"] == ["/bin/x"]
    assert document["hostname"] == "ship"
    assert document["linux"]["cgroupsPath"] == "/hakobune/" + "a" * 64
    assert {one["type"] for one in document["linux"]["namespaces"]} == {
        "mount",
        "pid",
        "ipc",
        "uts",
        "cgroup",
        "network",
    }
    assert set(document["process"]["capabilities"]["bounding"]) == set(capabilities.DEFAULT)
    assert "/proc/kcore" in document["linux"]["maskedPaths"]
    assert "/proc/sys" in document["linux"]["readonlyPaths"]
    assert document["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert document["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"] == "0"
    assert mount_at(document, "/etc/hosts")["source"] == "/d/hosts"
    assert "ro" in mount_at(document, "/sys")["options"]


def test_privileged_takes_the_fences_down() -> None:
    document = built({"Privileged": True})
    linux = document["linux"]
    assert not {"maskedPaths", "readonlyPaths", "seccomp"} & linux.keys()
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert set(document["process"]["capabilities"]["bounding"]) == set(capabilities.available())
    assert any(device["path"] == "/dev/null" for device in linux["devices"])
    assert "rw" in mount_at(document, "/sys")["options"]


def test_others_than_root_have_no_effective_capabilities() -> None:
    found = built(identity=Identity(5, 6, (7,)))["process"]
    assert found["user"] == {"uid": 5, "gid": 6, "additionalGids": [6, 7]}
    assert (found["capabilities"]["effective"], found["capabilities"]["permitted"]) == ([], [])
    assert found["capabilities"]["bounding"]


def test_the_hosts_namespaces_and_another_containers() -> None:
    document = built(joined={"uts": "host", "pid": "/proc/9/ns/pid", "ipc": "/proc/9/ns/ipc"}, netns="")
    kinds = {one["type"]: one.get("path") for one in document["linux"]["namespaces"]}
    assert "uts" not in kinds
    assert "network" not in kinds
    assert kinds["pid"] == "/proc/9/ns/pid"
    assert "hostname" not in document
    assert "sysctl" not in document["linux"]
    assert mount_at(document, "/dev/shm")["source"] == "/proc/9/root/dev/shm"


def test_environments() -> None:
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert environment([], "h", tty=True) == [path, "HOSTNAME=h", "TERM=xterm"]
    assert environment(["PATH=/x", "A=b=c"], "h", tty=False) == ["HOSTNAME=h", "PATH=/x", "A=b=c"]
    assert environment(["HOSTNAME"], "h", tty=False) == [path]


def test_mounts_of_users_take_the_place_of_dockers_and_parents_come_first() -> None:
    points = (MountPoint("bind", "/s", "/a/b/c"), MountPoint("volume", "/v", "/a", read_only=True),
              MountPoint("bind", "/shm", "/dev/shm"))  # fmt: skip
    document = built({"Tmpfs": {"/run": "size=1m,exec"}}, mounts=points)
    targets = [mount["destination"] for mount in document["mounts"]]
    assert targets.index("/a") < targets.index("/a/b/c")
    assert targets.count("/dev/shm") == 1
    assert "ro" in mount_at(document, "/a")["options"]
    assert mount_at(document, "/run")["options"][-2:] == ["size=1m", "exec"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ({}, {}), ({"Memory": 8 << 20}, {"memory": {"limit": 8 << 20, "swap": 16 << 20}}),
        ({"Memory": 8 << 20, "MemorySwap": -1}, {"memory": {"limit": 8 << 20, "swap": -1}}),
        ({"NanoCpus": 1_500_000_000}, {"cpu": {"period": 100_000, "quota": 150_000}}),
        ({"CpuShares": 5, "CpusetCpus": "0"}, {"cpu": {"shares": 5, "cpus": "0"}}),
        ({"PidsLimit": -1}, {"pids": {"limit": -1}}), ({"PidsLimit": 0}, {}), ({"MemorySwappiness": -1}, {}),
        ({"BlkioWeight": 500}, {"blockIO": {"weight": 500}}),
    ],
)  # fmt: skip
def test_limits(host: dict[str, Any], expected: dict[str, Any]) -> None:
    assert resources(host) == expected


def test_rules_and_limits_of_processes() -> None:
    document = built({
        "DeviceCgroupRules": ["c 42:* rmw"], "SecurityOpt": ["no-new-privileges", "seccomp=unconfined"],
        "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}], "Devices": [{"PathOnHost": "/dev/null"}],
        "CapDrop": ["all"], "CapAdd": ["chown"], "OomScoreAdj": 7,
    })  # fmt: skip
    assert document["linux"]["resources"]["devices"][-1] == {
        "allow": True,
        "type": "c",
        "access": "rmw",
        "major": 42,
    }
    assert document["process"]["noNewPrivileges"] is True
    assert "seccomp" not in document["linux"]
    assert document["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]
    assert document["linux"]["devices"][0]["path"] == "/dev/null"
    assert document["process"]["capabilities"]["bounding"] == ["CAP_CHOWN"]
    assert document["process"]["oomScoreAdj"] == 7


@pytest.mark.parametrize(
    "host",
    [
        {"DeviceCgroupRules": [rule]} for rule in ("", "x 1:1 r", "c 1:1 q", "c a:b r", "c 1 r", "c -1:2 r", "c 1:1 r r")
    ] + [{"SecurityOpt": [word]} for word in ("x", "seccomp", "seccomp={", "seccomp=[]", "seccomp=3", "speed=fast")]
    + [{"Devices": [{"PathOnHost": path}]} for path in ("", "/etc/passwd", "/no/such")],
)  # fmt: skip
def test_wishes_that_are_refused(host: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        built(host)


def test_security_options_by_both_separators() -> None:
    assert security_options(["seccomp:unconfined", "label=disable", 'seccomp={"a":"b:c"}']) == {
        "seccomp": '{"a":"b:c"}', "label": "disable",
    }  # fmt: skip
