"""`network …`."""

from __future__ import annotations

from .columns import short_id
from .command import Command, Context, each
from .failure import ApiFailure, Failure
from .filters import filters
from .flags import Values
from .http import query, quote
from .prune import FORCE, may, prune, report
from .records import Row, show
from .units import parse_rfc3339, table_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEADERS = {
    "ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6",
    "Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT",
}  # fmt: skip


def _ls(context: Context, values: Values, arguments: list[str]) -> int:
    networks = context.client.get("/networks" + query(filters=filters(values.many("filter"))))
    networks = sorted(networks, key=lambda network: str(network["Name"]))
    form, whole = values.text("format"), values.on("no-trunc")
    rows = [_row(network, whole) for network in networks]
    if values.on("quiet") and not form:
        context.say(*[row["ID"] for row in rows])
        return 0
    show(context, rows, headers=_HEADERS, columns=("ID", "Name", "Driver", "Scope"), form=form)
    return 0


def _row(network: Any, whole: bool) -> Row:
    labels = network.get("Labels") or {}
    return {
        "CreatedAt": _created(network.get("Created") or ""),
        "Driver": network["Driver"],
        "ID": network["Id"] if whole else short_id(network["Id"]),
        "IPv4": str(network.get("EnableIPv4", True)).lower(),
        "IPv6": str(network.get("EnableIPv6", False)).lower(),
        "Internal": str(network.get("Internal", False)).lower(),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Name": network["Name"],
        "Scope": network["Scope"],
    }


def _created(text: str) -> str:
    try:
        seconds, nanoseconds = parse_rfc3339(text)
    except ValueError:
        return text
    whole = table_time(seconds)
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    return whole[:19] + fraction + whole[19:]


def _create(context: Context, values: Values, arguments: list[str]) -> int:
    body: dict[str, Any] = {
        "Name": arguments[0],
        "Driver": values.text("driver", "bridge"),
        "Internal": values.on("internal"),
        "Attachable": values.on("attachable"),
        "EnableIPv6": values.on("ipv6"),
        "Options": values.pairs("opt"),
        "Labels": values.pairs("label"),
        "IPAM": {
            "Driver": values.text("ipam-driver", "default"),
            "Options": values.pairs("ipam-opt"),
            "Config": _pools(values),
        },
    }
    if values.given("ipv4"):
        body["EnableIPv4"] = values.on("ipv4")
    answer = context.client.post("/networks/create", body)
    if answer.get("Warning"):
        context.warn(f"WARNING: {answer['Warning']}")
    context.say(answer["Id"])
    return 0


def _pools(values: Values) -> list[dict[str, Any]]:
    """One pool per --subnet, with the gateway and range at the same place."""
    subnets, gateways, ranges = (values.many(flag) for flag in ("subnet", "gateway", "ip-range"))
    if len(gateways) > len(subnets) or len(ranges) > len(subnets):
        raise Failure("every ip-range or gateway must have a corresponding subnet")
    pools: list[dict[str, Any]] = []
    for number, subnet in enumerate(subnets):
        pool: dict[str, Any] = {"Subnet": subnet}
        if number < len(gateways):
            pool["Gateway"] = gateways[number]
        if number < len(ranges):
            pool["IPRange"] = ranges[number]
        pools.append(pool)
    if pools and values.given("aux-address"):
        pools[0]["AuxiliaryAddresses"] = values.pairs("aux-address")
    return pools


def _rm(context: Context, values: Values, arguments: list[str]) -> int:
    def act(name: str) -> str | None:
        try:
            context.client.delete(f"/networks/{quote(name)}")
        except ApiFailure as err:
            if values.on("force") and err.status == 404:
                return None
            raise
        return name

    return each(context, arguments, act)


def _connect(context: Context, values: Values, arguments: list[str]) -> int:
    network, container = arguments
    addresses = {"ip": "IPv4Address", "ip6": "IPv6Address"}
    ipam: dict[str, Any] = {key: values.text(flag) for flag, key in addresses.items() if values.given(flag)}
    endpoint = {
        "IPAMConfig": ipam,
        "Aliases": values.many("alias"),
        "Links": values.many("link"),
        "DriverOpts": values.pairs("driver-opt"),
    }
    body = {"Container": container, "EndpointConfig": {key: item for key, item in endpoint.items() if item}}
    context.client.post(f"/networks/{quote(network)}/connect", body)
    return 0


def _disconnect(context: Context, values: Values, arguments: list[str]) -> int:
    network, container = arguments
    body = {"Container": container, "Force": values.on("force")}
    context.client.post(f"/networks/{quote(network)}/disconnect", body)
    return 0


def _prune(context: Context, values: Values, arguments: list[str]) -> int:
    may(context, values, "This will remove all custom networks not used by at least one container.")
    report(context, "Deleted Networks:", prune(context, "/networks", values).get("NetworksDeleted") or [])
    return 0


COMMANDS = {
    "ls": Command(
        "network ls [OPTIONS]",
        "List networks.",
        _ls,
        flags="""
-f, --filter filter  Only those that match (name=x, driver=bridge, label=a=b, …)
    --format string  table, json, a template ({{.Name}}), or "table TEMPLATE"
    --no-trunc       Show ids in full
-q, --quiet          Ids only
""",
    ),
    "create": Command(
        "network create [OPTIONS] NETWORK",
        "Make a network and print its id.",
        _create,
        flags="""
    --attachable         Accepted, does nothing
    --aux-address map    Address that is in use outside of containers (NAME=IP)
-d, --driver string      Driver (bridge)
    --gateway list       Gateway of the subnet
    --internal           No way out of this network
    --ip-range list      Take addresses out of this part of the subnet
    --ipam-driver string  Driver that gives addresses
    --ipam-opt map       Option of that driver (KEY=VALUE)
    --ipv4               Give IPv4 addresses (on unless =false)
    --ipv6               Give IPv6 addresses
    --label list         Attach a label (KEY=VALUE)
-o, --opt map            Option of the driver (KEY=VALUE)
    --subnet list        Subnet in CIDR form (10.1.2.0/24)
""",
        least=1,
        most=1,
    ),
    "rm": Command(
        "network rm NETWORK [NETWORK...]",
        "Remove networks. One that a container uses stays.",
        _rm,
        flags="-f, --force  Do not mind what is not there",
        least=1,
        most=None,
    ),
    "connect": Command(
        "network connect [OPTIONS] NETWORK CONTAINER",
        "Connect a container to a network.",
        _connect,
        flags="""
    --alias list       One more name on this network
    --driver-opt list  Option of the driver (KEY=VALUE)
    --ip string        IPv4 address
    --ip6 string       IPv6 address
    --link list        Make another container known by a name
""",
        least=2,
        most=2,
    ),
    "disconnect": Command(
        "network disconnect [OPTIONS] NETWORK CONTAINER",
        "Take a container off a network.",
        _disconnect,
        flags="-f, --force  Also when the container is not well",
        least=2,
        most=2,
    ),
    "prune": Command(
        "network prune [OPTIONS]", "Remove networks that no container uses.", _prune, flags=FORCE
    ),
}
