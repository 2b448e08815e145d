"""What outlives this process: networks, sandboxes, endpoints, published ports, in one database of the room's own.

    net_networks   one row for each network, the three that are always there included
    net_sandboxes  a container that is attached              └─ net_endpoints  its place in one network
                                                             └─ net_ports      a port of the host that leads to it

A sandbox's rows are written before the kernel is touched and removed after: what a killed engine leaves half
made is known, and taken away at the next start. Imports: persist, model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hakobune.net.model import Network, PublishedPort
from hakobune.persist.database import Database, Row

MIGRATIONS = (
    """
    CREATE TABLE net_networks (
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, driver TEXT NOT NULL, created INTEGER NOT NULL,
        subnet TEXT NOT NULL, gateway TEXT NOT NULL, labels TEXT NOT NULL, options TEXT NOT NULL,
        internal INTEGER NOT NULL, bridge_name TEXT NOT NULL, ip_range TEXT NOT NULL, attachable INTEGER NOT NULL
    );
    CREATE TABLE net_sandboxes (
        container_id TEXT PRIMARY KEY, mode TEXT NOT NULL, name TEXT NOT NULL, gw TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE net_endpoints (
        container_id TEXT NOT NULL REFERENCES net_sandboxes ON DELETE CASCADE,
        network_id TEXT NOT NULL REFERENCES net_networks,
        endpoint_id TEXT NOT NULL, ip TEXT NOT NULL, mac TEXT NOT NULL, aliases TEXT NOT NULL,
        veth TEXT NOT NULL, device TEXT NOT NULL, position INTEGER NOT NULL,
        PRIMARY KEY (container_id, network_id), UNIQUE (network_id, ip)
    ) WITHOUT ROWID;
    CREATE TABLE net_ports (
        container_id TEXT NOT NULL REFERENCES net_sandboxes ON DELETE CASCADE,
        protocol TEXT NOT NULL, host_ip TEXT NOT NULL, host_port INTEGER NOT NULL,
        ip TEXT NOT NULL, port INTEGER NOT NULL,
        PRIMARY KEY (container_id, protocol, host_ip, host_port)
    ) WITHOUT ROWID
    """,
)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A container that is attached; `gw` as in `Wanted`."""

    container_id: str
    mode: str
    name: str
    gw: str


@dataclass(frozen=True, slots=True)
class Place:
    """An endpoint's row: `veth` is its device on the host, `device` the one in the namespace."""

    container_id: str
    network_id: str
    endpoint_id: str
    ip: str
    mac: str
    aliases: tuple[str, ...]
    veth: str
    device: str
    position: int


class Store:
    """Rows in, rows out; every method raises what `Database` raises."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # --- networks ---

    def networks(self) -> list[Network]:
        """All of them, oldest first."""
        return [_network(row) for row in self._db.query("SELECT * FROM net_networks ORDER BY created, name")]

    def save_network(self, network: Network) -> None:
        """Insert or replace by id."""
        values = (
            network.id, network.name, network.driver, network.created, network.subnet, network.gateway,
            json.dumps(dict(network.labels)), json.dumps(dict(network.options)), network.internal,
            network.bridge_name, network.ip_range, network.attachable,
        )  # fmt: skip
        columns = (
            "name=excluded.name, subnet=excluded.subnet, gateway=excluded.gateway, options=excluded.options"
        )
        self._db.execute(
            f"INSERT INTO net_networks VALUES ({','.join('?' * len(values))}) ON CONFLICT (id) DO UPDATE SET {columns},"
            " bridge_name=excluded.bridge_name, ip_range=excluded.ip_range",
            values,
        )

    def delete_network(self, identity: str) -> None:
        """Forget a network that has no endpoint."""
        self._db.execute("DELETE FROM net_networks WHERE id=?", (identity,))

    # --- sandboxes ---

    def sandboxes(self) -> list[Sandbox]:
        """All of them."""
        return [Sandbox(*row) for row in self._db.query("SELECT * FROM net_sandboxes")]

    def sandbox(self, container_id: str) -> Sandbox | None:
        """One, or None."""
        row = self._db.one("SELECT * FROM net_sandboxes WHERE container_id=?", (container_id,))
        return Sandbox(*row) if row else None

    def save(self, sandbox: Sandbox, places: Sequence[Place], ports: Iterable[PublishedPort]) -> None:
        """Write a whole sandbox, in place of the one that was there."""
        with self._db.transaction():
            self._db.execute("DELETE FROM net_sandboxes WHERE container_id=?", (sandbox.container_id,))
            self._db.execute(
                "INSERT INTO net_sandboxes VALUES (?,?,?,?)",
                (sandbox.container_id, sandbox.mode, sandbox.name, sandbox.gw),
            )
            for place in places:
                self._insert_place(place)
            for port in ports:
                self._db.execute(
                    "INSERT INTO net_ports VALUES (?,?,?,?,?,?)",
                    (port.container_id, port.protocol, port.host_ip, port.host_port, port.ip, port.port),
                )

    def delete(self, container_id: str) -> None:
        """Forget a sandbox with its endpoints and ports."""
        self._db.execute("DELETE FROM net_sandboxes WHERE container_id=?", (container_id,))

    # --- endpoints and ports ---

    def places(self, *, container: str = "", network: str = "") -> list[Place]:
        """Endpoints of a container in their order, of a network, or all."""
        rows = self._db.query(
            "SELECT * FROM net_endpoints WHERE (?1='' OR container_id=?1) AND (?2='' OR network_id=?2)"
            " ORDER BY container_id, position",
            (container, network),
        )
        return [_place(row) for row in rows]

    def used(self, network_id: str) -> set[str]:
        """The addresses given out in a network."""
        return {
            row[0] for row in self._db.query("SELECT ip FROM net_endpoints WHERE network_id=?", (network_id,))
        }

    def add_place(self, place: Place) -> None:
        """One more endpoint of a sandbox that exists."""
        with self._db.transaction():
            self._insert_place(place)

    def delete_place(self, container_id: str, network_id: str) -> None:
        """One endpoint less."""
        self._db.execute(
            "DELETE FROM net_endpoints WHERE container_id=? AND network_id=?", (container_id, network_id)
        )

    def ports(self, *, container: str = "") -> list[PublishedPort]:
        """Published ports of a container, or all."""
        rows = self._db.query(
            "SELECT * FROM net_ports WHERE (?1='' OR container_id=?1) ORDER BY port, protocol, host_ip, host_port",
            (container,),
        )
        return [PublishedPort(*row) for row in rows]

    def move_ports(self, container_id: str, ip: str) -> None:
        """Published ports lead to another address of the container from now on."""
        self._db.execute("UPDATE net_ports SET ip=? WHERE container_id=?", (ip, container_id))

    def _insert_place(self, place: Place) -> None:
        self._db.execute(
            "INSERT INTO net_endpoints VALUES (?,?,?,?,?,?,?,?,?)",
            (
                place.container_id, place.network_id, place.endpoint_id, place.ip, place.mac,
                json.dumps(place.aliases), place.veth, place.device, place.position,
            ),
        )  # fmt: skip


def _network(row: Row) -> Network:
    values = dict(row)
    for name in ("labels", "options"):
        values[name] = json.loads(values[name])
    for name in ("internal", "attachable"):
        values[name] = bool(values[name])
    return Network(**values)


def _place(row: Row) -> Place:
    values = dict(row)
    values["aliases"] = tuple(json.loads(values["aliases"]))
    return Place(**values)
