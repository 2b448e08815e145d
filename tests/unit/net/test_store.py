"""Rows of networks and sandboxes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hakobune.net.model import Network, PublishedPort
from hakobune.net.store import MIGRATIONS, Place, Sandbox, Store
from hakobune.persist.database import Database

NETWORK = Network("n" * 64, "net", "bridge", 1, "10.0.0.0/24", "10.0.0.1", {"k": "v"}, {"o": "1"}, True, "br")
BOX = Sandbox("c", "net", "web", "")
PLACE = Place("c", NETWORK.id, "e", "10.0.0.2", "02:42:0a:00:00:02", ("web", "c"), "veth0", "eth0", 0)
PORT = PublishedPort("c", "tcp", "0.0.0.0", 8080, "10.0.0.2", 80)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    database = Database.open(f"{tmp_path}/network.db", MIGRATIONS)
    made = Store(database)
    made.save_network(NETWORK)
    yield made
    database.close()


def test_what_goes_in_comes_out(store: Store) -> None:
    store.save(BOX, [PLACE], [PORT])
    assert store.networks() == [NETWORK]
    assert store.sandbox("c") == BOX
    assert store.sandboxes() == [BOX]
    assert store.places(container="c") == store.places(network=NETWORK.id) == store.places() == [PLACE]
    assert store.ports() == store.ports(container="c") == [PORT]
    assert store.used(NETWORK.id) == {"10.0.0.2"}


def test_a_sandbox_goes_with_all_it_has(store: Store) -> None:
    store.save(BOX, [PLACE], [PORT])
    store.delete("c")
    assert (store.sandbox("c"), store.places(), store.ports()) == (None, [], [])
    store.delete_network(NETWORK.id)
    assert store.networks() == []


def test_an_address_is_given_once(store: Store) -> None:
    store.save(BOX, [PLACE], [])
    other = Place("d", NETWORK.id, "f", "10.0.0.2", "", (), "veth1", "eth0", 0)
    with pytest.raises(sqlite3.IntegrityError):
        store.save(Sandbox("d", "net", "", ""), [other], [])
    assert store.sandbox("d") is None


def test_ports_move(store: Store) -> None:
    store.save(BOX, [PLACE], [PORT])
    store.move_ports("c", "10.0.0.9")
    assert [port.ip for port in store.ports()] == ["10.0.0.9"]
