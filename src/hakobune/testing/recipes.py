"""Specs and images for tests of a manager: the starter layer as an image, small OCI documents."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from hakobune.containerd.client import Client, Container
from hakobune.layers import starter
from hakobune.oci.verbs.spec import default
from hakobune.spec.descriptor import Descriptor

LAYER = "application/vnd.oci.image.layer.v1.tar"
ROOTED = {"containerd.io/gc.root": "1"}


def document(container_id: str, args: Sequence[str], **process: Any) -> bytes:
    """An OCI configuration as JSON, with a cgroup of its own below /hakotest-<pid>."""
    made = default()
    made["process"] |= {"args": list(args), "terminal": False, **process}
    made["root"] = {"path": "rootfs", "readonly": False}
    made["linux"]["resources"] = {}
    made["linux"]["cgroupsPath"] = f"/hakotest-{os.getpid()}/{container_id}"
    return json.dumps(made).encode()


def process(args: Sequence[str], **more: Any) -> bytes:
    """An OCI process as JSON, for an exec."""
    made = default()["process"] | {"args": list(args), "terminal": False, **more}
    return json.dumps(made).encode()


async def starter_layer(client: Client, name: str = "starter") -> str:
    """The starter layer through content, diff and snapshots; the committed snapshot's name."""
    packed = io.BytesIO()
    starter.write_tar(packed)
    digest, size = await client.content.write("starter", packed.getvalue(), labels=ROOTED)
    mounts = await client.snapshots.prepare(f"{name}-unpacking", "", ROOTED)
    await client.diff.apply(Descriptor(LAYER, digest, size), mounts)
    await client.snapshots.commit(name, f"{name}-unpacking", ROOTED)
    return name


async def create(
    client: Client,
    container_id: str,
    args: Sequence[str],
    *,
    parent: str = "starter",
    stdout: str = "",
    spec: Mapping[str, Any] | None = None,
    runtime: str = "io.containerd.hako.v1",
) -> int:
    """Snapshot, record and task; the pid of init, which waits for its start."""
    mounts = await client.snapshots.prepare(container_id, parent, ROOTED)
    made = json.loads(document(container_id, args))
    for section, value in (spec or {}).items():
        made[section] = made[section] | value if isinstance(value, dict) else value
    await client.containers.create(
        Container(container_id, runtime=runtime, spec=json.dumps(made).encode(), snapshotter="overlayfs",
                  snapshot_key=container_id)
    )  # fmt: skip
    return await client.tasks.create(container_id, mounts, stdout=stdout)


async def remove(client: Client, container_id: str) -> None:
    """Task (ended), record and snapshot."""
    await client.tasks.delete(container_id)
    await client.containers.delete(container_id)
    await client.snapshots.remove(container_id)
