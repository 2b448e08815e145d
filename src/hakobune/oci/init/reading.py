"""What a creation and an exec read in the host: the bundle's configuration, and what is made of it beforehand.

Imports: os; oci, linux.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial

from hakobune.errors import InvalidArgument, NotFound
from hakobune.linux import syscalls as sys
from hakobune.oci import hooks, known, seccomp
from hakobune.oci.config import Config, parse
from hakobune.oci.init import lsm, notify, tuning
from hakobune.oci.process import Process
from hakobune.record import Any

MAX_CONFIG = 8 << 20  # bytes


def read(bundle: str) -> Any:
    """The JSON of the bundle's config.json, not looked at further. Raises NotFound, InvalidArgument."""
    path = f"{bundle}/config.json"
    try:
        with open(path, "rb", buffering=0) as file:
            raw = file.read(min(os.fstat(file.fileno()).st_size, MAX_CONFIG) + 1)
    except FileNotFoundError as err:
        raise NotFound(f"{path}: no such file") from err
    if len(raw) > MAX_CONFIG:
        raise InvalidArgument(f"{path}: longer than {MAX_CONFIG} bytes")
    try:
        return known.parse(raw)
    except (ValueError, RecursionError) as err:
        raise InvalidArgument(f"{path}: is not JSON: {err}") from err


def load(bundle: str) -> Config:
    """The bundle's configuration. Raises NotFound, InvalidArgument."""
    try:
        return parse(read(bundle))
    except (ValueError, RecursionError) as err:
        raise InvalidArgument(f"{bundle}/config.json: {err}") from err


def cgroup_path(config: Config, container_id: str) -> str:
    """Where the container's cgroup is: as the config says, else /hakobune/<id>."""
    return config.cgroups_path or f"/hakobune/{container_id}"


def filter_of(config: Config, bundle: str) -> tuple[bytes | None, int]:
    """The filter, compiled or remembered: a profile of its own is compiled once for its bundle, for every exec."""
    if config.seccomp is None:
        return None, 0
    return known.program(config.seccomp, bundle), seccomp.flags(config.seccomp)


Loader = Callable[[bytes, int], object]


def loader_of(config: Config, container_id: str, status: str, bundle: str) -> Loader:
    """How the filter is loaded: with an agent that hears of calls, where the profile has one. Raises InvalidArgument."""
    profile = config.seccomp
    if profile is None or known.is_known(profile) or not seccomp.notifies(profile):
        return sys.seccomp_load
    told = partial(hooks.state, container_id, status, bundle=bundle, annotations=config.annotations)
    return partial(notify.load, notify.connect(profile, told))


def acts_of(process: Process, linux: Mapping[str, Any]) -> Callable[[], None] | None:
    """What a process does for itself while it owns its capabilities still; None for nothing. Raises InvalidArgument."""
    if not process.rare and not linux and not process.apparmor_profile and not process.selinux_label:
        return None
    acts = [act for act in (tuning.prepared(process.rare, linux), lsm.prepared(process)) if act is not None]

    def act() -> None:
        for one in acts:
            one()

    return act
