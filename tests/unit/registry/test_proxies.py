"""Which proxy is taken for which host."""

from __future__ import annotations

import pytest

from hakobune.errors import InvalidArgument
from hakobune.registry.proxies import Proxy, parse, proxy_for


@pytest.mark.parametrize(
    ("rules", "host", "direct"),
    [
        ("", "example.test", False),
        ("*", "example.test", True),
        ("example.test", "example.test", True),
        ("example.test", "sub.example.test", True),
        ("example.test", "myexample.test", False),
        (".example.test", "example.test", False),
        (".example.test", "sub.example.test", True),
        ("example.test:443", "example.test", True),
        ("example.test:444", "example.test", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("a, 10.1.2.3 ,b", "10.1.2.3", True),
        ("", "127.0.0.1", True),
        ("", "localhost", True),
        ("", "::1", True),
    ],
)
def test_exceptions(rules: str, host: str, direct: bool) -> None:
    found = proxy_for("https", host, 443, {"HTTPS_PROXY": "http://proxy.test:3128", "NO_PROXY": rules})
    assert found == (None if direct else Proxy("proxy.test", 3128))


def test_each_scheme_has_its_own() -> None:
    environ = {"HTTPS_PROXY": "http://s.test", "http_proxy": "p.test:8080"}
    assert proxy_for("https", "x.test", 443, environ) == Proxy("s.test", 80)
    assert proxy_for("http", "x.test", 80, environ) == Proxy("p.test", 8080)
    assert proxy_for("http", "x.test", 80, {}) is None


def test_its_password_is_sent_and_not_shown() -> None:
    found = parse("http://me:s%40fe@proxy.test:3128")
    assert found.header == "Basic bWU6c0BmZQ=="
    assert "bWU6" not in repr(found)


@pytest.mark.parametrize("text", ["socks5://x:1", "https://x", "http://x:notaport", "http://"])
def test_others_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse(text)
