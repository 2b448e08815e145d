"""The engine's table of routes, gathered from its rooms; what one room asks of another is spelled out here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hakobune.containerd.client import Client
from hakobune.engine.config import Config
from hakobune.engine.containers import listing
from hakobune.engine.containers import routes as container_routes
from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.model import Container
from hakobune.engine.containers.start import settings
from hakobune.engine.events import routes as event_routes
from hakobune.engine.events.bus import Bus
from hakobune.engine.execs import routes as exec_routes
from hakobune.engine.execs.model import Execs
from hakobune.engine.http.router import Route
from hakobune.engine.images import routes as image_routes
from hakobune.engine.images.images import Images
from hakobune.engine.networks import routes as network_routes
from hakobune.engine.schema.filters import Filters
from hakobune.engine.system import routes as system_routes
from hakobune.engine.volumes import routes as volume_routes
from hakobune.engine.volumes.volumes import Volumes
from hakobune.net.networks import Networks


@dataclass(frozen=True, slots=True)
class Rooms:
    """Every room of the engine."""

    config: Config
    client: Client
    deps: Deps
    execs: Execs
    images: Images
    volumes: Volumes
    networks: Networks
    bus: Bus
