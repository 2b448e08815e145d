"""From a config to steps: a pure function, so the plan itself is compared."""

from __future__ import annotations

from typing import Any

import pytest

from hakobune.errors import InvalidArgument
from hakobune.linux import syscalls as sys
from hakobune.oci.config import parse
from hakobune.oci.rootfs import plan, steps
from hakobune.oci.rootfs.options import Options
from hakobune.oci.rootfs.options import parse as parse_options
from hakobune.oci.verbs.spec import default
from hakobune.spec.mount import Mount


def built(**changes: Any) -> list[steps.Step]:
    document = default() | changes
    rootfs = (Mount("overlay", "overlay", "", ("lowerdir=/l",)),)
    return plan.build(parse(document), rootfs, lambda item: [steps.Seal(item.target)])


def test_order() -> None:
    kinds = [type(step).__name__ for step in built()]
    assert kinds == ["Cut", "MountRoot", *["Filesystem"] * 6, "Seal", "Nodes", "ReadOnly", "Mask", "Pivot"]
    assert all(step.describe() for step in built())


def test_dev_of_the_host_gets_no_nodes() -> None:
    mounts = [{"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"]}]
    assert not any(isinstance(step, steps.Nodes) for step in built(mounts=mounts))


def test_a_named_device_replaces_the_default() -> None:
    linux = default()["linux"] | {
        "devices": [{"type": "c", "path": "/dev/null", "major": 1, "minor": 3, "fileMode": 0o600}]
    }
    (nodes,) = [step for step in built(linux=linux) if isinstance(step, steps.Nodes)]
    assert [device.mode for device in nodes.devices if device.path == "/dev/null"] == [0o600]


def test_propagation() -> None:
    linux = default()["linux"] | {"rootfsPropagation": "rshared"}
    first, last = built(linux=linux)[0], built(linux=linux)[-1]
    assert first == steps.Cut(sys.MS_SHARED)
    assert last == steps.Pivot(True, sys.MS_SHARED | sys.MS_REC)
    with pytest.raises(InvalidArgument, match="rootfsPropagation"):
        built(linux=default()["linux"] | {"rootfsPropagation": "wide"})


@pytest.mark.parametrize(
    ("words", "want"),
    [
        ((), Options()),
        (("rbind", "ro"), Options(bind=True, recursive_bind=True, attr_set=sys.MOUNT_ATTR_RDONLY)),
        (("ro", "rw"), Options(attr_clear=sys.MOUNT_ATTR_RDONLY)),
        (("bind", "rro"), Options(bind=True, recursive_set=sys.MOUNT_ATTR_RDONLY)),
        (("rslave",), Options(propagation=sys.MS_SLAVE, propagation_recursive=True)),
        (("size=1m", "mode=755", "defaults"), Options(data=("size=1m", "mode=755"))),
        (("tmpcopyup",), Options(copy_up=True)),
        (("noatime", "relatime"), Options(attr_clear=sys.MOUNT_ATTR_ATIME)),
    ],
)
def test_options(words: tuple[str, ...], want: Options) -> None:
    assert parse_options(words) == want
