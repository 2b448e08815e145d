"""`delete`: what is left of a container goes: its processes, its cgroup, its state. Imports: os; cgroups."""

from __future__ import annotations

import os
import sys

from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import FailedPrecondition, NotFound
from hakobune.oci.status import Container

SECONDS = 10.0


def delete(root: str, container_id: str, *, force: bool) -> None:
    """Remove a stopped or created container; with `force` a running one too, and an absent one silently.

    Raises NotFound, FailedPrecondition.
    """
    container = Container(root, container_id)
    try:
        record = container.brief()
    except NotFound:
        if not force:
            raise
        if cgroup := container.noted():  # whoever created it was killed
            end(Cgroup.find(cgroup))
        _take_mounts_away(container)
        container.forget()
        return
    status = container.status(record)
    if status in ("running", "paused") and not force:
        raise FailedPrecondition(f"cannot delete container {container_id} that is not stopped: {status}")
    if status != "stopped":  # a container of a user without control groups has only this one to be ended by
        try:
            os.kill(record.pid, 9)
        except ProcessLookupError:
            pass
    end(Cgroup.find(record.cgroup))
    if os.path.exists(f"{container.directory}/poststop"):
        from hakobune.oci import hooks

        for failed in hooks.run_kept(hooks.GONE, container.directory):
            print(f"hako-runtime: {failed}", file=sys.stderr)
    _take_mounts_away(container)
    container.forget()


def _take_mounts_away(container: Container) -> None:
    if os.path.exists(f"{container.directory}/hostroot"):
        from hakobune.oci.rootfs import hostroot

        hostroot.take_away(f"{container.directory}/{hostroot.NOTE}")


def end(cgroup: Cgroup) -> None:
    """Kill everything in the group and remove it; children of ours are reaped on the way."""
    cgroup.kill()
    _reap_ours(cgroup)
    cgroup.delete(SECONDS, remove_empty_parents=True)


def _reap_ours(cgroup: Cgroup) -> None:
    for pid in cgroup.pids():
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            continue
