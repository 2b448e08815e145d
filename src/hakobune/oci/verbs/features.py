"""`features`: what this runtime can do, after runtime-spec's features.md. Imports: json; oci."""

from __future__ import annotations

import json

from hakobune.oci import seccomp
from hakobune.oci.capabilities import NUMBERS
from hakobune.oci.config import NAMESPACES
from hakobune.oci.hooks import SERVED
from hakobune.oci.init.tuning import MEMORY_FLAGS, MEMORY_MODES
from hakobune.oci.rootfs.options import NAMES as MOUNT_OPTIONS
from hakobune.oci.syscall_table import ARCHITECTURES
from hakobune.oci.verbs.spec import VERSION
from hakobune.record import Any


def _seccomp() -> dict[str, Any]:
    return {
        "enabled": True,
        "actions": sorted(seccomp.ACTIONS),
        "operators": [f"SCMP_CMP_{name}" for name in seccomp.OPERATORS],
        "archs": sorted(ARCHITECTURES),
        "knownFlags": sorted(seccomp.FLAGS),
        "supportedFlags": sorted(seccomp.FLAGS),
    }


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
                "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": True},
                "seccomp": _seccomp(),
                "apparmor": {"enabled": True},
                "selinux": {"enabled": True},
                "intelRdt": {"enabled": False},
                "netDevices": {"enabled": True},
                "memoryPolicy": {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)},
                "mountExtensions": {"idmap": {"enabled": True}},
            },
        },
        indent=2,
    )
