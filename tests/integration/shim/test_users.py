"""A container with users of its own, made by a shim: its root is an overlay, its execs are inside, nothing is left."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hakobune.testing import shims

pytestmark = pytest.mark.root
Make = Callable[..., shims.Task]


def test_root_inside_is_somebody_else_outside(make: Make) -> None:
    task = make("sh", "-c", "id -u; touch /made && echo made; sleep 60")
    config = json.loads((task.bundle.path / "config.json").read_text())
    namespaces = [*config["linux"]["namespaces"], {"type": "user"}]
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    task.bundle.edit(
        linux=config["linux"] | {"namespaces": namespaces, "uidMappings": maps, "gidMappings": maps}
    )
    for place in (task.bundle.path.parent, task.bundle.path):
        place.chmod(0o711)  # root inside is nobody there
    before = Path("/proc/self/mountinfo").read_text()
    log = task.bundle.path / "log"
    pid = task.create(stdout=f"json-file://{log}", stderr=f"json-file://{log}")
    task.start()
    assert os.stat(f"/proc/{pid}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino
    assert os.stat(f"/proc/{pid}").st_uid == 100000
    task.exec("e", ["sh", "-c", "exit $(id -u)"])
    task.start("e")
    assert task.wait("e").status == 0
    task.delete("e")
    assert Path("/proc/self/mountinfo").read_text() == before
    task.kill()
    task.wait()
    said = [json.loads(line)["log"].strip() for line in log.read_text().splitlines()]
    assert said[0] == "0"
    task.delete()
