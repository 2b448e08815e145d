"""The manager's settings: from flags, and a TOML file with containerd's own keys."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hakobune.errors import InvalidArgument, NotFound
from hakobune.version import VERSION

ROOT = "/var/lib/hakobune/containerd"
STATE = "/run/hakobune/containerd"
ADDRESS = "/run/hakobune/containerd.sock"
LEVELS = ("debug", "info", "warn", "warning", "error", "fatal")


@dataclass(frozen=True, slots=True)
class Config:
    """`root` outlives a reboot, `state` does not; `address` is the path of the gRPC socket."""

    address: str = ADDRESS
    root: str = ROOT
    state: str = STATE
    log_level: str = "info"


def parse(argv: Sequence[str] | None = None) -> Config:
    """A flag wins over the file, the file over the default. Raises InvalidArgument, NotFound."""
    parser = argparse.ArgumentParser(prog="hako-containerd", description="Hakobune's container manager")
    parser.add_argument("--address", "-a", help=f"path of the gRPC socket ({ADDRESS})")
    parser.add_argument("--root", help=f"directory of what is kept ({ROOT})")
    parser.add_argument("--state", help=f"directory of what ends with a reboot ({STATE})")
    parser.add_argument("--config", "-c", help="TOML file with root, state, [grpc] address, [debug] level")
    parser.add_argument("--log-level", "-l", choices=LEVELS)
    parser.add_argument("--version", "-v", action="version", version=f"hako-containerd {VERSION}")
    flags = parser.parse_args(argv)
    values = {field: getattr(flags, field) for field in ("address", "root", "state", "log_level")}
    merged = _from_file(flags.config) if flags.config else {}
    merged |= {field: value for field, value in values.items() if value is not None}
    return Config(**merged)


@dataclass(frozen=True, slots=True)
class Publication:
    """What `publish` is asked for: one event of a namespace, whose bytes come on stdin."""

    address: str
    namespace: str
    topic: str


def publish_arguments(argv: Sequence[str] | None = None) -> Publication:
    """Of `hako-containerd --address SOCKET publish --topic TOPIC --namespace NAMESPACE`."""
    parser = argparse.ArgumentParser(prog="hako-containerd", description="Publish one event, read from stdin")
    parser.add_argument("--address", "-a", default=ADDRESS, help=f"path of the gRPC socket ({ADDRESS})")
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("publish")
    verb.add_argument("--namespace", required=True, help="whose event it is")
    verb.add_argument("--topic", required=True, help="what it is about, as /tasks/exit")
    flags = parser.parse_args(argv)
    return Publication(flags.address, flags.namespace, flags.topic)


def _from_file(path: str) -> dict[str, str]:
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except FileNotFoundError:
        raise NotFound(f"configuration file {path} does not exist") from None
    except (OSError, tomllib.TOMLDecodeError) as err:
        raise InvalidArgument(f"configuration file {path}: {err}") from err
    found = {
        "root": document.get("root"),
        "state": document.get("state"),
        "address": _section(document, "grpc").get("address"),
        "log_level": _section(document, "debug").get("level"),
    }
    for field, value in found.items():
        if value is not None and not isinstance(value, str):
            raise InvalidArgument(f"configuration file {path}: {field} must be a string")
    return {field: value for field, value in found.items() if value}


def _section(document: dict[str, Any], name: str) -> dict[str, Any]:
    section = document.get(name, {})
    return section if isinstance(section, dict) else {}
