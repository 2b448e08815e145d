"""Networks of one engine: made, listed, removed; containers attached to them and detached.

Imports: net, errors.
"""

from __future__ import annotations

from hakobune.net.model import (
    Attachment,
    CreateNetwork,
    Endpoint,
    EndpointState,
    Network,
    PortBinding,
    Settings,
    Wanted,
)

__all__ = [
    "Attachment",
    "CreateNetwork",
    "Endpoint",
    "EndpointState",
    "Network",
    "PortBinding",
    "Settings",
    "Wanted",
]
