"""Create requests: what is taken, what is completed, and what is refused before anything is made."""

from __future__ import annotations

from typing import Any

import pytest

from hakobune.engine.containers import request
from hakobune.errors import InvalidArgument


def refused(body: Any) -> str:
    with pytest.raises(InvalidArgument) as refusal:
        request.parse(body)
    return str(refusal.value)


@pytest.mark.parametrize(
    "body", [None, [], "x", 1, {"HostConfig": []}, {"NetworkingConfig": []}, {"Cmd": [1]}]
)
def test_bodies_of_another_shape(body: Any) -> None:
    assert refused(body).startswith("invalid JSON")


@pytest.mark.parametrize(
    "config",
    [
        {"Env": ["A=\0"]}, {"Env": ["=x"]}, {"Env": [""]}, {"Labels": {"a": 1}}, {"ExposedPorts": {"²": {}}},
        {"ExposedPorts": {"0/tcp": {}}}, {"ExposedPorts": {"70000": {}}}, {"ExposedPorts": {"80/icmp": {}}},
        {"StopSignal": "²"}, {"StopSignal": "RTMIN+²"}, {"StopSignal": "NONE"}, {"WorkingDir": "a"},
        {"WorkingDir": "/a\0b"}, {"User": "a\0b"}, {"Domainname": "a\nb"}, {"Hostname": "a b"}, {"Tty": 1},
    ],
)  # fmt: skip
def test_configs_that_are_refused(config: dict[str, Any]) -> None:
    refused(config)


@pytest.mark.parametrize(
    "host",
    [
        {"RestartPolicy": {"Name": 1}}, {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 1}},
        {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": -1}},
        {"RestartPolicy": {"Name": "always"}, "AutoRemove": True}, {"PortBindings": {"80/tcp": "x"}},
        {"PortBindings": {"80/tcp": [1]}}, {"PortBindings": {"80/tcp": [{"HostPort": 80}]}}, {"PortBindings": {"x": []}},
        {"LogConfig": {"Type": 1}}, {"LogConfig": {"Type": "syslog"}}, {"LogConfig": {"Config": []}},
        {"LogConfig": {"Config": {"max-file": "²"}}}, {"LogConfig": {"Config": {"max-file": "0"}}},
        {"LogConfig": {"Config": {"max-size": "x"}}}, {"LogConfig": {"Config": {"colour": "red"}}},
        {"Ulimits": [1]}, {"Ulimits": [{"Name": "bogus"}]}, {"Ulimits": [{"Name": "nofile", "Soft": "1"}]},
        {"Devices": [1]}, {"Mounts": [1]}, {"Binds": [1]}, {"Sysctls": {"a": 1}}, {"Tmpfs": {"/a": 1}},
        {"ExtraHosts": ["nocolon"]}, {"ExtraHosts": ["a:1\nb:2"]}, {"SecurityOpt": [1]}, {"GroupAdd": [1]},
        {"ConsoleSize": ["a", "b"]}, {"ConsoleSize": [-1, 1]}, {"Dns": [1]}, {"Annotations": {"a": 1}},
        {"MaskedPaths": [1]}, {"VolumesFrom": [1]}, {"Memory": 5}, {"Memory": 2**70}, {"Memory": -1},
        {"Memory": 10 << 20, "MemorySwap": 9 << 20}, {"MemorySwap": 10 << 20}, {"MemorySwap": -2},
        {"Memory": 10 << 20, "MemoryReservation": 11 << 20}, {"MemorySwappiness": 101}, {"NanoCpus": 10**15},
        {"NanoCpus": 1, "CpuQuota": 5000}, {"CpuPeriod": 1}, {"CpuQuota": 1}, {"BlkioWeight": 5}, {"ShmSize": -1},
        {"OomScoreAdj": 1001}, {"CapAdd": ["FLY"]}, {"Links": ["a"]}, {"Init": True},
        {"Mounts": [{"Type": ["x"], "Target": "/x"}]}, {"Mounts": [{"Target": "/x", "VolumeOptions": [1]}]},
        {"Mounts": [{"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"SizeBytes": "a"}}]},
        {"Mounts": [{"Type": "bind", "Target": "/x", "BindOptions": {"NonRecursive": True}}]},
    ],
)  # fmt: skip
def test_host_configs_that_are_refused(host: dict[str, Any]) -> None:
    refused({"HostConfig": host})


@pytest.mark.parametrize(
    "endpoint", [1, {"Aliases": [1]}, {"IPAMConfig": []}, {"IPAMConfig": {"IPv4Address": 1}}]
)
def test_endpoints_that_are_refused(endpoint: Any) -> None:
    refused({"NetworkingConfig": {"EndpointsConfig": {"dock": endpoint}}})


def test_what_clients_send_is_taken() -> None:
    config, host, endpoints = request.parse({
        "Image": "a", "Cmd": "ls", "Env": None, "Labels": None, "Unknown": 1,
        "HostConfig": {
            "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "53/udp": None},
            "Memory": 6 << 20, "MemorySwap": -1, "PidsLimit": -1, "Binds": ["/a:/b"], "ExtraHosts": ["db=10.0.0.1"],
            "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}], "LogConfig": {"Type": "", "Config": None},
            "Mounts": [{"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"SizeBytes": 9, "Mode": 0o700}}],
        },
        "NetworkingConfig": {"EndpointsConfig": {"bridge": None}},
    })  # fmt: skip
    assert (config["Cmd"], config["Env"], config["Labels"]) == (["ls"], [], {})
    assert (host["MemorySwap"], host["LogConfig"]) == (-1, {"Type": "", "Config": {}})
    assert endpoints == {"bridge": {}}


@pytest.mark.parametrize(
    ("text", "number"),
    [("9", 9), ("KILL", 9), ("sigterm", 15), ("SIGRTMIN+3", 37), ("rtmax-2", 62), ("RTMIN", 34), ("IOT", 6)],
)
def test_signals(text: str, number: int) -> None:
    assert request.signal_number(text) == number


@pytest.mark.parametrize(
    "text", ["", "0", "65", "-1", "+5", "²", "SIGSIGTERM", "RTMIN-1", "RTMIN+", "RTMAX+1", "9" * 40]
)
def test_no_signals(text: str) -> None:
    with pytest.raises(InvalidArgument, match="Invalid signal"):
        request.signal_number(text)


@pytest.mark.parametrize(
    ("text", "size"), [("-1", 0), ("10", 10), ("10b", 10), ("1k", 1024), ("10M", 10 << 20), ("2gb", 2 << 30)]
)
def test_sizes(text: str, size: int) -> None:
    assert request.size(text) == size


def merged(config: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
    found, _, _ = request.parse(config)
    request.merge_image(found, image)
    return found


IMAGE = {
    "Cmd": ["c"], "Entrypoint": ["e"], "Env": ["A=1", "B=2"], "User": "u", "WorkingDir": "/w", "StopSignal": "QUIT",
    "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/v": {}}, "Labels": {"a": "image", "b": "image"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ({}, ["e", "c"]), ({"Cmd": ["x"]}, ["e", "x"]), ({"Entrypoint": ["y"]}, ["y"]),
        ({"Entrypoint": [""], "Cmd": ["x"]}, ["x"]), ({"Entrypoint": ["y"], "Cmd": ["x"]}, ["y", "x"]),
    ],
)  # fmt: skip
def test_commands_out_of_image_and_request(given: dict[str, Any], command: list[str]) -> None:
    assert request.command(merged(given, IMAGE)) == command


def test_the_rest_is_completed_from_the_image() -> None:
    found = merged(
        {"Env": ["B=3", "C"], "Labels": {"b": "mine"}, "ExposedPorts": {"81": {}}, "User": "me"}, IMAGE
    )
    assert found["Env"] == ["B=3", "C", "A=1"]
    assert found["Labels"] == {"a": "image", "b": "mine"}
    assert set(found["ExposedPorts"]) == {"80/tcp", "81"}
    assert (found["User"], found["WorkingDir"], found["StopSignal"]) == ("me", "/w", "QUIT")


def test_nothing_to_run() -> None:
    with pytest.raises(InvalidArgument, match="no command specified"):
        merged({"Entrypoint": [""]}, IMAGE)
