"""Bundles for tests and benchmarks: a root file system of this host's own programs, and a config.json.

The root is unpacked once and used as the lower layer of an overlay, so each bundle costs three
directories. Imports: json, os; layers, oci.verbs.spec, spec.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hakobune.layers import starter
from hakobune.layers.apply import apply
from hakobune.oci.verbs.spec import default
from hakobune.spec.mount import Mount


def unpack_starter(target: Path) -> Path:
    """The starter image's file system in `target`, which is made."""
    target.mkdir(parents=True)
    packed = io.BytesIO()
    starter.write_tar(packed)
    packed.seek(0)
    apply(packed, str(target))
    return target


@dataclass(frozen=True)
class Bundle:
    """A directory with config.json; `mounts` make its root from `lower` without touching it."""

    path: Path
    id: str
    mounts: tuple[Mount, ...]

    @property
    def cgroup(self) -> str:
        """Its cgroupsPath."""
        return str(self.config()["linux"]["cgroupsPath"])

    def config(self) -> dict[str, Any]:
        """The document as it is on disk."""
        loaded: dict[str, Any] = json.loads((self.path / "config.json").read_text())
        return loaded

    def edit(self, **sections: Any) -> None:
        """Merge `sections` into the document, one level deep: `edit(process={"cwd": "/tmp"})`."""
        document = self.config()
        for key, value in sections.items():
            document[key] = {**document.get(key, {}), **value} if isinstance(value, dict) else value
        (self.path / "config.json").write_text(json.dumps(document))


def make(path: Path, lower: Path, args: Sequence[str], *, process: Mapping[str, Any] | None = None,
         resources: Mapping[str, Any] | None = None,
         annotations: Mapping[str, str] | None = None) -> Bundle:  # fmt: skip
    """A bundle at `path` (made) which runs `args`; its id is the directory's name."""
    for name in ("rootfs", "upper", "work"):
        (path / name).mkdir(parents=True)
    document = default()
    document["process"] |= {"args": list(args), "terminal": False, **(process or {})}
    document["root"] = {"path": "rootfs", "readonly": False}
    document["linux"]["cgroupsPath"] = f"/hakotest-{os.getpid()}/{path.name}"
    document["linux"]["resources"] = dict(resources or {})
    document["annotations"] = dict(annotations or {})
    (path / "config.json").write_text(json.dumps(document))
    options = ("index=off", f"workdir={path}/work", f"upperdir={path}/upper", f"lowerdir={lower}")
    return Bundle(path, path.name, (Mount("overlay", "overlay", "", options),))
