"""Where a registry is asked: defaults, and containerd's hosts.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from hakobune.errors import InvalidArgument
from hakobune.registry.hosts import PULL, RESOLVE, hosts_of
from hakobune.registry.http import Tls


@pytest.mark.parametrize(
    ("domain", "scheme", "base", "skip", "fallback"),
    [
        ("docker.io", "", "https://registry-1.docker.io/v2", False, False),
        ("example.test", "", "https://example.test/v2", False, False),
        ("example.test:5000", "http", "http://example.test:5000/v2", False, False),
        ("localhost:5000", "", "https://localhost:5000/v2", True, True),
        ("127.0.0.1:5000", "", "https://127.0.0.1:5000/v2", True, True),
        ("[::1]:5000", "", "https://[::1]:5000/v2", True, True),
        ("localhost:443", "", "https://localhost:443/v2", True, False),
        ("localhost:80", "", "http://localhost:80/v2", False, False),
        ("localhost.example.test:5000", "", "https://localhost.example.test:5000/v2", False, False),
    ],
)
def test_without_a_directory(domain: str, scheme: str, base: str, skip: bool, fallback: bool) -> None:
    (found,) = hosts_of(domain, "", scheme)
    assert (found.base, found.tls.skip_verify, found.fallback) == (base, skip, fallback)


def _write(directory: Path, name: str, text: str) -> str:
    (directory / name).mkdir()
    (directory / name / "hosts.toml").write_text(text)
    return str(directory)


def test_mirrors_come_first_and_the_server_last(tmp_path: Path) -> None:
    root = _write(tmp_path, "docker.io", """
        server = "https://hub.test"
        [host."http://mirror.test:5000"]
        capabilities = ["pull", "resolve"]
        [host."https://other.test/some/path"]
        override_path = true
        skip_verify = true
        header = {x-a = ["1", "2"], x-b = "3"}
    """)  # fmt: skip
    mirror, other, server = hosts_of("docker.io", root)
    assert (mirror.base, mirror.capabilities, mirror.mirror) == (
        "http://mirror.test:5000/v2",
        {PULL, RESOLVE},
        True,
    )
    assert (other.base, other.tls, dict(other.headers)) == (
        "https://other.test/some/path", Tls(skip_verify=True), {"x-a": "1, 2", "x-b": "3"},
    )  # fmt: skip
    assert (server.base, server.mirror) == ("https://hub.test/v2", False)


def test_a_port_is_part_of_the_directory_name(tmp_path: Path) -> None:
    root = _write(tmp_path, "example.test_5000_", 'server = "http://example.test:5000"')
    assert hosts_of("example.test:5000", root)[0].base == "http://example.test:5000/v2"
    assert hosts_of("example.test:5001", root)[0].base == "https://example.test:5001/v2"


def test_the_default_directory_is_for_all_others(tmp_path: Path) -> None:
    root = _write(tmp_path, "_default", '[host."https://mirror.test"]')
    assert [one.base for one in hosts_of("a.test", root)] == ["https://mirror.test/v2", "https://a.test/v2"]


def test_files_are_relative_to_the_directory(tmp_path: Path) -> None:
    root = _write(tmp_path, "a.test", 'ca = "ca.crt"\nclient = [["one.crt", "one.key"], "both.pem"]')
    place = f"{root}/a.test"
    assert hosts_of("a.test", root)[0].tls == Tls(
        (f"{place}/ca.crt",), ((f"{place}/one.crt", f"{place}/one.key"), (f"{place}/both.pem", ""))
    )


def test_docker_s_certificate_files(tmp_path: Path) -> None:
    (tmp_path / "a.test").mkdir()
    for name in ("ca.crt", "me.cert", "me.key"):
        (tmp_path / "a.test" / name).touch()
    place = f"{tmp_path}/a.test"
    found = hosts_of("a.test", str(tmp_path))[0].tls
    assert found == Tls((f"{place}/ca.crt",), ((f"{place}/me.cert", f"{place}/me.key"),))


@pytest.mark.parametrize(
    "text",
    [
        "server = ",
        'capabilities = ["fly"]',
        'server = "ftp://x"',
        'server = "https://user:password@x"',
        "ca = 3",
        "client = [3]",
        'host = "x"',
        'header = "x"',
        '[host."https://x:notaport"]',
    ],
)
def test_a_wrong_file_is_an_error_that_names_it(text: str, tmp_path: Path) -> None:
    root = _write(tmp_path, "a.test", text)
    with pytest.raises(InvalidArgument, match=r"a\.test/hosts\.toml"):
        hosts_of("a.test", root)
