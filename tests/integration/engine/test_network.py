"""The default bridge and published ports, seen from the host and from inside."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time

import pytest
from tests.integration.conftest import STARTER, Docker

from hakobune.testing.engine import PrivateEngine

pytestmark = [pytest.mark.root, pytest.mark.slow]


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ports_of(bridge: str) -> list[str]:
    return os.listdir(f"/sys/class/net/{bridge}/brif")


def test_a_container_has_an_address_a_route_and_its_files(docker: Docker, engine: PrivateEngine) -> None:
    script = "cat /proc/net/route; cat /etc/hosts; cat /etc/resolv.conf; ls /sys/class/net"
    text = ok(
        docker("run", "--rm", "--hostname", "ship", "--dns", "192.0.2.53", STARTER, "/bin/sh", "-c", script)
    )
    assert "eth0" in text
    assert "localhost" in text
    assert "\tship" in text
    assert "nameserver 192.0.2.53" in text


def test_none_and_host(docker: Docker) -> None:
    assert ok(docker("run", "--rm", "--network", "none", STARTER, "/bin/ls", "/sys/class/net")) == "lo"
    inside = ok(docker("run", "--rm", "--network", "host", STARTER, "/bin/readlink", "/proc/self/ns/net"))
    with open("/proc/self/ns/net") as namespace:
        assert inside == f"net:[{os.fstat(namespace.fileno()).st_ino}]"


def test_published_port_in_use_is_told_and_nothing_is_left(docker: Docker) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        failed = docker("run", "-d", "--name", "clash", "-p", f"{port}:80", STARTER, "/bin/sleep", "600")
        assert failed.returncode == 125
        assert "address already in use" in failed.stderr
    ok(docker("start", "clash"))
    ports = json.loads(ok(docker("inspect", "-f", "{{json .NetworkSettings.Ports}}", "clash")))
    assert ports["80/tcp"][0]["HostPort"] == str(port)
    with socket.socket() as second, pytest.raises(OSError):
        second.bind(("0.0.0.0", port))
    ok(docker("rm", "-f", "clash"))
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("0.0.0.0", port))


def test_networks_of_ones_own(docker: Docker) -> None:
    ok(docker("network", "create", "--label", "a=b", "dock"))
    assert "dock" in ok(docker("network", "ls", "--filter", "label=a=b", "--format", "{{.Name}}"))
    identity = ok(docker("run", "-d", "--network", "dock", "--name", "moored", STARTER, "/bin/sleep", "600"))
    shown = json.loads(ok(docker("network", "inspect", "dock")))[0]
    assert identity in shown["Containers"]
    busy = docker("network", "rm", "dock")
    assert busy.returncode == 1
    assert "active endpoints" in busy.stderr
    ok(docker("rm", "-f", "moored"))
    ok(docker("network", "rm", "dock"))
    assert docker("network", "rm", "bridge").returncode == 1


def test_containers_of_one_network_reach_each_other(docker: Docker) -> None:
    first = ok(docker("run", "-d", "--name", "talker", STARTER, "/bin/sleep", "600"))
    address = ok(docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", first))
    script = f"exec 3<>/dev/tcp/{address}/9 || true"
    done = docker("run", "--rm", STARTER, "/bin/bash", "-c", script)
    if done.returncode == 127:
        pytest.skip("no bash in the starter image of this machine")
    assert "Connection refused" in done.stderr  # an answer, so there is a way
    ok(docker("rm", "-f", "talker"))


def test_detach_is_quick_and_whole(docker: Docker, engine: PrivateEngine) -> None:
    identity = ok(docker("run", "-d", "-p", f"{free_port()}:80", STARTER, "/bin/sleep", "600"))
    ok(docker("rm", "-f", identity))
    deadline = time.monotonic() + 3  # the kernel takes a pair away with its namespace, a moment later
    while ports_of(engine.bridge) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ports_of(engine.bridge) == []


def test_none_is_a_namespace_with_a_loopback_that_is_up(docker: Docker, engine: PrivateEngine) -> None:
    identity = ok(docker("run", "-d", "--network", "none", STARTER, "/bin/sleep", "600"))
    assert ok(docker("exec", identity, "/bin/cat", "/sys/class/net/lo/flags")) == "0x9"
    assert "none" in ok(docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", identity))
    assert identity in ok(docker("network", "inspect", "none"))
    engine.kill()
    engine.start()
    assert docker("exec", identity, "/bin/true").returncode == 0
    ok(docker("rm", "-f", identity))
