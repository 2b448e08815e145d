"""`features`: what this runtime can do, after runtime-spec's features.md. Imports: json; oci."""

from __future__ import annotations

import json

from hakobune.oci.capabilities import NUMBERS
from hakobune.oci.config import NAMESPACES
from hakobune.oci.hooks import SERVED
from hakobune.oci.rootfs.options import NAMES as MOUNT_OPTIONS
from hakobune.oci.verbs.spec import VERSION


def features() -> str:
    """`features`: what runtime-spec's features.md asks for."""
    return json.dumps(
        {
            "ociVersionMin": "1.0.0",
            "ociVersionMax": VERSION,
            "hooks": list(SERVED),
            "mountOptions": sorted(MOUNT_OPTIONS),
            "linux": {
                "namespaces": sorted(NAMESPACES),
                "capabilities": sorted(NUMBERS),
                "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": False},
                "seccomp": {"enabled": True},
                "apparmor": {"enabled": False},
                "selinux": {"enabled": False},
                "mountExtensions": {"idmap": {"enabled": True}},
            },
        },
        indent=2,
    )
