"""From a config to the list of steps: a pure function, so that a plan can be printed, compared and tested.

The order matters and is: cut propagation, root, mounts in the order of the document, devices, sysctls,
read-only and masked paths (they lie on top of the mounts), working directory, pivot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hakobune.errors import InvalidArgument
from hakobune.linux import syscalls as sys
from hakobune.oci.config import Config, Device
from hakobune.oci.rootfs import hostroot, steps
from hakobune.oci.rootfs import options as opts
from hakobune.spec.mount import Mount

# config-linux.md, "Default Devices"
DEFAULT_DEVICES = tuple(
    Device(f"/dev/{name}", "c", major, minor, 0o666, 0, 0)
    for name, major, minor in (
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    )
)
LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
)

NOT_MAPPED: Mapping[int, int] = {}
CgroupMounts = Callable[[Mount], Sequence[steps.Step]]


def _mount_step(item: Mount, cgroup: CgroupMounts, mapped: int) -> Sequence[steps.Step]:
    parsed = opts.parse(item.options)
    if item.type == "cgroup":
        return cgroup(item)
    if parsed.bind or item.type == "bind":
        return [steps.Bind(item.source, item.target, parsed, mapped)]
    source = "" if item.source in ("none", "") else item.source
    return [steps.Filesystem(item.type, source, item.target, parsed, mapped)]


def _propagation(name: str) -> int:
    if not name:
        return 0
    found = opts.propagation(name)
    if found is None:
        raise InvalidArgument(f"linux.rootfsPropagation: {name!r} is not a propagation")
    return found[0] | (sys.MS_REC if found[1] else 0)


def _keeps_dev(mounts: Sequence[Mount]) -> bool:
    """Whether /dev is the host's own (bound over): then no node is made in it."""
    return any(m.target.rstrip("/") == "/dev" and "bind" in m.type + ",".join(m.options) for m in mounts)


def build(
    config: Config, rootfs: Sequence[Mount], cgroup: CgroupMounts, mapped: Mapping[int, int] = NOT_MAPPED,
    host_root: str = "",
) -> list[steps.Step]:  # fmt: skip
    """The steps for `config`; `rootfs` are the snapshot's mounts, empty for a ready directory.

    `host_root`: see hostroot.Lay, for a container without a mount namespace.
    `mapped`: number of a mount -> descriptor of the user namespace through which its owners are shown.
    """
    propagation = _propagation(config.root_propagation)
    shared = bool(propagation & sys.MS_SHARED)
    plan: list[steps.Step] = (
        [steps.Cut(sys.MS_SLAVE if not shared else sys.MS_SHARED), steps.MountRoot(tuple(rootfs))]
        if config.apart("mount")
        else [hostroot.Lay(host_root)]
    )
    for number, item in enumerate(config.mounts):
        plan.extend(_mount_step(item, cgroup, mapped.get(number, -1)))
    if not _keeps_dev(config.mounts):
        named = {device.path for device in config.devices}
        defaults = tuple(device for device in DEFAULT_DEVICES if device.path not in named)
        plan.append(steps.Nodes(defaults + config.devices, LINKS))
    if config.sysctl:
        plan.append(steps.Sysctl(tuple(config.sysctl.items())))
    if config.readonly_paths:
        plan.append(steps.ReadOnly(config.readonly_paths))
    if config.masked_paths:
        plan.append(steps.Mask(config.masked_paths))
    if config.process is not None and config.process.cwd != "/":
        plan.append(steps.Directory(config.process.cwd))
    if config.apart("mount"):
        plan.append(steps.Pivot(config.root_readonly, propagation))
    else:
        plan.append(hostroot.Chroot(config.root_readonly))
    return plan
