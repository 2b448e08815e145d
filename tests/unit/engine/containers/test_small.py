"""Users in numbers, detach keys, the files lent to a container, and lines of the listing."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hakobune.engine.containers import files, listing, request
from hakobune.engine.containers.attach import flags, parse_detach_keys
from hakobune.engine.containers.logs import moment, view
from hakobune.engine.containers.model import Container, MountPoint, State, from_record
from hakobune.engine.containers.spec import Identity
from hakobune.engine.containers.users import resolve
from hakobune.engine.http.message import Query
from hakobune.engine.schema.filters import Filters
from hakobune.errors import InvalidArgument
from hakobune.wire import side

PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1001::/:\n123:x:5:6::/:\nbad:x:y:z::/:\n# c:x:7:7::/:\n+nis\n"
)
GROUP = "root:x:0:\nstaff:x:50:bob,ann\nbob:x:1001:\nfoo:x:9:bob\nodd:x:²:bob\n"


@pytest.mark.parametrize(
    ("user", "identity"),
    [
        ("", Identity(0, 0)), ("root", Identity(0, 0)), ("bob", Identity(1000, 1001, (50, 9))),
        ("1000", Identity(1000, 1001, (50, 9))), ("77", Identity(77, 0)), ("bob:staff", Identity(1000, 50)),
        ("bob:", Identity(1000, 1001, (50, 9))), ("77:88", Identity(77, 88)), (":50", Identity(0, 50)),
        ("123", Identity(123, 0)), ("2147483647", Identity(2147483647, 0)),
    ],
)  # fmt: skip
def test_users(user: str, identity: Identity) -> None:
    assert resolve(user, PASSWD, GROUP) == identity


@pytest.mark.parametrize(
    "user", ["nobody", "²", "-1", "2147483648", "4294967295", "bad", "bob:nope", "a:b:c", "0:²", "9" * 30]
)
def test_users_that_are_refused(user: str) -> None:
    with pytest.raises(InvalidArgument):
        resolve(user, PASSWD, GROUP)


def test_further_groups() -> None:
    assert resolve("bob", PASSWD, GROUP, ["staff", "7", "7"]) == Identity(1000, 1001, (50, 9, 7))
    with pytest.raises(InvalidArgument, match="unable to find group nope"):
        resolve("bob", PASSWD, GROUP, ["nope"])


@pytest.mark.parametrize(
    ("text", "keys"),
    [("", b"\x10\x11"), ("a", b"a"), ("ctrl-p,ctrl-q", b"\x10\x11"), ("ctrl-@", b"\0"), ("ctrl-[", b"\x1b"),
     ("Ctrl-A, x", b"\x01x"), ("ctrl-_", b"\x1f")],
)  # fmt: skip
def test_detach_keys(text: str, keys: bytes) -> None:
    assert parse_detach_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-é", "ctrl-ß", "ctrl-ſ", "a,,b", "DEL", "ctrl-1"])
def test_no_detach_keys(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid detach keys"):
        parse_detach_keys(text)


def test_streams_that_a_client_asks_for() -> None:
    assert flags(Query("stdin=1&stdout=1&stderr=0"), tty=True) == side.STDIN | side.STDOUT
    assert flags(Query("stderr=true"), tty=False) == side.STDERR | side.FRAMED


def test_what_of_the_log_is_asked_for() -> None:
    found = view(Query("stdout=1&tail=5&since=1.5&timestamps=1"), tty=False)
    assert (found.stdout, found.stderr, found.tail, found.since, found.framed) == (
        True,
        False,
        5,
        1_500_000_000,
        True,
    )
    assert view(Query("stdout=1&tail=all"), tty=True).tail == -1
    assert view(Query("stdout=1&tail=²"), tty=True).tail == -1
    with pytest.raises(InvalidArgument, match="at least one stream"):
        view(Query("tail=5"), tty=True)
    with pytest.raises(InvalidArgument, match="invalid value for time"):
        moment("yesterday")


# --- files ---

HOST = "# c\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch a b\noptions ndots:2\n"


def asked(**given: list[str]) -> dict[str, list[str]]:
    return {"Dns": [], "DnsSearch": [], "DnsOptions": []} | given


def test_resolvers() -> None:
    assert (
        files.resolv_conf(HOST, asked(), isolated=True)
        == "nameserver 192.0.2.1\nsearch a b\noptions ndots:2\n"
    )
    assert "127.0.0.53" in files.resolv_conf(HOST, asked(), isolated=False)
    changed = files.resolv_conf(
        HOST, asked(Dns=["9.9.9.9"], DnsSearch=["."], DnsOptions=["rotate"]), isolated=True
    )
    assert changed == "nameserver 9.9.9.9\noptions rotate\n"


def made(name: str, *, created: int = 1, status: str = "running", **more: Any) -> Container:
    host = more.pop("host", {})
    config, full, _ = request.parse({"Cmd": ["/bin/x", "y"], "Hostname": name, **more, "HostConfig": host})
    full["NetworkMode"] = full["NetworkMode"] or "bridge"
    state = State(status=status, exit_code=3 if status == "exited" else 0, started_at=time.time_ns())
    return Container(
        f"{created:064x}",
        name,
        created * 10**9,
        f"sha256:{'ab' * 32}",
        "img:1",
        "c",
        config,
        full,
        {},
        state=state,
    )


def test_files_are_written_in_place(tmp_path: Path) -> None:
    container = made(
        "ship", Domainname="sea", host={"ExtraHosts": ["db:10.0.0.9", "up:host-gateway", "six=::1"]}
    )
    (tmp_path / "hosts").write_text("old")
    inode = (tmp_path / "hosts").stat().st_ino
    lent = files.write(str(tmp_path), container, [("172.17.0.2", ["alias"])], "172.17.0.1", "nameserver x\n")
    assert set(lent) == {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"}
    assert (tmp_path / "hosts").stat().st_ino == inode
    text = (tmp_path / "hosts").read_text()
    for line in ("10.0.0.9\tdb\n", "172.17.0.1\tup\n", "::1\tsix\n", "172.17.0.2\tship.sea ship alias\n"):
        assert line in text
    assert (tmp_path / "hostname").read_text() == "ship\n"


# --- listing ---


def shown(
    query: dict[str, list[str]], *containers: Container, every: bool = True, limit: int = 0
) -> list[str]:
    by_name = {one.name: one for one in containers}
    store = type(
        "Store", (), {"__iter__": lambda _self: iter(containers), "get": lambda _self, name: by_name[name]}
    )()
    deps = cast("Any", SimpleNamespace(store=store))
    wanted = Filters({name: tuple(values) for name, values in query.items()})
    lines = asyncio.run(listing.listing(deps, every=every, limit=limit, size=False, filters=wanted))
    return [line["Names"][0][1:] for line in lines]


def fleet() -> tuple[Container, ...]:
    old = made("old", created=1, status="exited", Labels={"a": "b"})
    mid = made("middle", created=2, status="paused", ExposedPorts={"80/tcp": {}})
    new = made("new", created=3, host={"PortBindings": {"81/tcp": [{"HostPort": "8081"}]}})
    new.mounts = (MountPoint("volume", "/v", "/data", "stuff"),)
    return old, mid, new


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["new", "middle", "old"]), ({"status": ["exited"]}, ["old"]), ({"exited": ["3"]}, ["old"]),
        ({"exited": ["0"]}, []), ({"label": ["a=b"]}, ["old"]), ({"name": ["d"]}, ["middle", "old"]),
        ({"name": ["^/new$"]}, ["new"]), ({"before": ["middle"]}, ["old"]), ({"since": ["old"]}, ["new", "middle"]),
        ({"volume": ["stuff"]}, ["new"]), ({"volume": ["/data"]}, ["new"]), ({"expose": ["80/tcp"]}, ["middle"]),
        ({"publish": ["81"]}, ["new"]), ({"ancestor": ["img:1"]}, ["new", "middle", "old"]), ({"ancestor": ["no"]}, []),
        ({"status": ["exited", "paused"]}, ["middle", "old"]), ({"id": [f"{3:064x}"]}, ["new"]),
    ],
)  # fmt: skip
def test_filters_of_the_listing(query: dict[str, list[str]], names: list[str]) -> None:
    assert shown(query, *fleet()) == names


def test_who_is_listed() -> None:
    assert shown({}, *fleet(), every=False) == ["new", "middle"]
    assert shown({}, *fleet(), every=False, limit=3) == ["new", "middle", "old"]
    assert shown({}, *fleet(), limit=1) == ["new"]
    for query in ({"status": ["asleep"]}, {"colour": ["red"]}):
        with pytest.raises(InvalidArgument, match="invalid filter"):
            shown(query, *fleet())


def test_statuses_in_words() -> None:
    old, mid, new = fleet()
    assert listing.status_text(old).startswith("Exited (3) ")
    assert listing.status_text(mid).endswith(" (Paused)")
    assert listing.status_text(new) == "Up Less than a second"
    assert listing.status_text(made("x", status="created")) == "Created"


def test_ports_of_a_line() -> None:
    container = made("x", ExposedPorts={"80/tcp": {}, "53/udp": {}})
    container.network = {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}}
    assert listing.summary(container)["Ports"] == [
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}, {"PrivatePort": 53, "Type": "udp"},
    ]  # fmt: skip


def test_a_container_survives_its_record() -> None:
    container = fleet()[2]
    again = from_record(container.record())
    assert again.record() == container.record()
    assert again.mounts == container.mounts
