"""Sysctls of the host are never a container's to set, whatever the namespaces are called."""

from __future__ import annotations

from typing import Any

import pytest

from hakobune.errors import InvalidArgument
from hakobune.oci import sysctls
from hakobune.oci.config import parse
from hakobune.oci.verbs.spec import default

ALL = [{"type": kind} for kind in ("mount", "ipc", "uts", "network", "pid")]


def checked(namespaces: list[dict[str, Any]], *names: str) -> None:
    document = default()
    maps = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    document["linux"] |= {"uidMappings": maps, "gidMappings": maps}
    document["linux"] |= {"namespaces": namespaces, "sysctl": dict.fromkeys(names, "1")}
    sysctls.check(parse(document))


def test_of_namespaces_of_its_own() -> None:
    checked(
        ALL, "kernel.shmmax", "kernel.sem", "fs.mqueue.msg_max", "net.ipv4.ip_forward", "kernel.domainname"
    )
    checked([*ALL, {"type": "user"}], "user.max_net_namespaces")


@pytest.mark.parametrize(
    "name",
    [
        "kernel.core_pattern",
        "kernel.shmmax2",
        "kernel.hostname",
        "vm.swappiness",
        "fs.suid_dumpable",
        "net",
        "kernel",
    ],
)
def test_of_the_host(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"linux.sysctl.{name}: is the host's"):
        checked(ALL, name)


@pytest.mark.parametrize(
    ("namespaces", "name"),
    [
        ([{"type": "mount"}], "net.core.somaxconn"),
        ([{"type": "mount"}, {"type": "network", "path": "/proc/self/ns/net"}], "net.core.somaxconn"),
        ([{"type": "mount"}, {"type": "ipc", "path": "/proc/self/ns/ipc"}], "kernel.msgmax"),
        ([{"type": "mount"}], "kernel.domainname"),
        ([{"type": "mount"}], "user.max_user_namespaces"),
    ],
)
def test_of_a_namespace_that_is_shared_with_the_host(namespaces: list[dict[str, Any]], name: str) -> None:
    with pytest.raises(
        InvalidArgument, match=f"linux.sysctl.{name}: needs a .* namespace that is not the host's"
    ):
        checked(namespaces, name)
