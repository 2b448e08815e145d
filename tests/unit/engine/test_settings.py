"""hakod's flags and daemon.json: dockerd's names, every mistake refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hakobune.engine.config import DATA_ROOT, EXEC_ROOT, parse
from hakobune.errors import InvalidArgument


def with_file(tmp_path: Path, document: Any, *argv: str) -> Any:
    path = tmp_path / "daemon.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return parse(["--config-file", str(path), *argv])


def test_defaults(tmp_path: Path) -> None:
    found = with_file(tmp_path, {})
    assert (found.data_root, found.exec_root) == (DATA_ROOT, EXEC_ROOT)
    assert found.hosts == (f"unix://{EXEC_ROOT}/docker.sock",)
    assert found.containerd_address == f"{EXEC_ROOT}/containerd.sock"
    assert (found.bridge, found.icc, found.mtu, found.log_driver) == ("hako0", True, 1500, "json-file")


def test_flags() -> None:
    found = parse(
        [
            *("-H", "unix:///a.sock", "-H", "tcp://127.0.0.1:0", "--data-root", "/d", "--exec-root", "/e"),
            *("--bridge", "b0", "--bip", "10.9.0.1/24", "--icc", "false", "--log-opt", "max-size=1m"),
            *("--default-address-pool", "base=10.0.0.0/8,size=24", "--label", "a=b", "--dns", "1.1.1.1"),
            *("--containerd", "unix:///run/c.sock", "--live-restore", "-l", "debug", "-D"),
        ]
    )
    assert found is not None
    assert found.hosts == ("unix:///a.sock", "tcp://127.0.0.1:0")
    assert found.pools == (("10.0.0.0/8", 24),)
    assert (found.bip, found.icc, dict(found.log_opts)) == ("10.9.0.1/24", False, {"max-size": "1m"})
    assert (found.labels, found.dns, found.containerd_address) == (("a=b",), ("1.1.1.1",), "/run/c.sock")
    assert found.pidfile == "/e/hakod.pid"
    assert found.debug


def test_the_version_is_not_a_setting() -> None:
    assert parse(["-v"]) is None


def test_the_file(tmp_path: Path) -> None:
    found = with_file(
        tmp_path,
        {
            "hosts": ["unix:///x.sock"],
            "default-address-pools": [{"base": "10.0.0.0/8", "size": 24}],
            "log-opts": {"max-file": "3"},
            "ip": "127.0.0.1",
            "mtu": 1400,
            "icc": False,
        },
    )
    assert found.hosts == ("unix:///x.sock",)
    assert found.pools == (("10.0.0.0/8", 24),)
    assert (dict(found.log_opts), found.host_ip, found.mtu, found.icc) == (
        {"max-file": "3"},
        "127.0.0.1",
        1400,
        False,
    )


def test_registries(tmp_path: Path) -> None:
    found = with_file(
        tmp_path,
        {"registry-mirrors": ["https://m.test/"], "insecure-registries": ["10.0.0.0/8", "a.test:5000"]},
    )
    assert (found.mirrors, found.insecure) == (("https://m.test",), ("10.0.0.0/8", "a.test:5000"))
    with pytest.raises(InvalidArgument, match="insecure registry"):
        with_file(tmp_path, {"insecure-registries": ["a b/c"]})


def test_what_is_said_twice(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"specified both as a flag and .* file: bip: \(from flag: 10"):
        with_file(tmp_path, {"bip": "10.1.0.1/24"}, "--bip", "10.2.0.1/24")


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ("{", "daemon.json"),
        ([], "an object is needed"),
        ({"colour": 1}, "don't match any configuration option: colour"),
        ({"mtu": True}, "mtu"),
        ({"mtu": "1"}, "mtu"),
        ({"hosts": "unix:///x"}, "hosts"),
        ({"hosts": [1]}, "hosts"),
        ({"hosts": [{}]}, "docker host"),
        ({"labels": ["x"]}, "label"),
        ({"log-opts": {"a": 1}}, "log-opts"),
        ({"default-address-pools": [{"base": "10.0.0.0/8"}]}, "default-address-pool"),
        ({"dns": ["nowhere"]}, "dns"),
        ({"runtimes": {"x": {"paht": "/x"}}}, "runtimes.x: paht is unknown"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, document: Any, word: str) -> None:
    with pytest.raises(InvalidArgument, match=word):
        with_file(tmp_path, document)


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["--config-file", "/nowhere/daemon.json"], "no such file"),
        (["-H", "fd://"], "unable to parse docker host"),
        (["-H", "tcp://a:99999"], "unable to parse docker host"),
        (["-H", "unix://relative"], "unable to parse docker host"),
        (["--bip", "nonsense"], "--bip"),
        (["--bip", "fd00::1/64"], "--bip"),
        (["--ip", "1.2.3"], "--ip"),
        (["--dns", "x"], "--dns"),
        (["--label", "x"], "--label"),
        (["--log-opt", "x"], "--log-opt"),
        (["--log-driver", "syslog"], "syslog"),
        (["--mtu", "20"], "--mtu"),
        (["--icc", "maybe"], "icc"),
        (["--default-address-pool", "base=10.0.0.0/16,size=8"], "cannot be cut"),
        (["--default-address-pool", "base=10.0.0.1/16,size=24"], "host bits"),
        (["--default-address-pool", "10.0.0.0/16"], "default-address-pool"),
        (["--registry-mirror", "mirror.test"], "invalid mirror"),
        (["--registry-mirror", "https://mirror.test/path"], "invalid mirror"),
        (["--insecure-registry", "http://a.test"], "insecure registry http://a.test is not valid"),
        (["--tlsverify"], "--tlsverify is not served yet"),
        (["--tlscert", "x"], "--tlscert is not served yet"),
        (["--add-runtime", "runc"], "--add-runtime: 'runc' is not of the form NAME=PATH"),
        (["--add-runtime", "hako=/bin/runc"], "this name is taken"),
        (["--default-runtime", "nope"], "unknown or invalid runtime name: nope"),
        (["--nonsense"], "--nonsense"),
        (["--data", "/x"], "--data"),
    ],
)
def test_flags_that_are_refused(argv: list[str], word: str) -> None:
    with pytest.raises(InvalidArgument, match=word):
        parse(argv)
