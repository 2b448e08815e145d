"""Which cgroup hierarchies this host has mounted, and where each controller lives.

Three worlds exist: all v1 (one mount per controller or joined ones such as `cpu,cpuacct`), all v2
(one `cgroup2` mount at /sys/fs/cgroup) and hybrid (v1 with a v2 mount beside it, whose own
controllers are those that no v1 hierarchy took). Read once per process from /proc/self/mountinfo.
"""

from __future__ import annotations

from hakobune.cgroups import files
from hakobune.record import dataclass

CONTROLLERS = (
    "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb",
    "net_cls", "net_prio", "perf_event", "rdma", "misc",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted v1 hierarchy: `name` is its controllers joined by commas, or `name=systemd`."""

    name: str
    mount: str
    controllers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything mounted: v1 hierarchies, and the unified mount (empty text: none) with its controllers."""

    v1: tuple[Hierarchy, ...]
    unified: str
    unified_controllers: frozenset[str]

    @property
    def mode(self) -> str:
        """`v2`, `v1` or `hybrid`."""
        if not self.v1:
            return "v2"
        return "hybrid" if self.unified else "v1"

    def home(self, controller: str) -> Hierarchy | None:
        """The v1 hierarchy of a controller; None when it lives on v2 or nowhere."""
        return next((item for item in self.v1 if controller in item.controllers), None)


def _unescape(field: str) -> str:
    # mountinfo writes blank, tab, newline and backslash as octal (man 5 proc_pid_mountinfo)
    if "\\" not in field:
        return field
    return field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")


def _v1_controllers(options: str) -> tuple[str, ...]:
    words = options.split(",")
    named = tuple(word for word in words if word.startswith("name="))
    return named or tuple(word for word in words if word in CONTROLLERS)


def parse(mountinfo: str) -> Layout:
    """The layout that a mountinfo text describes; `unified_controllers` is read from the mount itself.

    The first mount of a hierarchy counts: later ones are binds inside somebody's container.
    """
    v1: dict[tuple[str, ...], Hierarchy] = {}
    unified = ""
    for line in mountinfo.splitlines():
        head, separator, tail = line.partition(" - ")
        if not separator:
            continue
        fstype, _, rest = tail.partition(" ")
        if fstype == "cgroup2":
            unified = unified or _unescape(head.split(" ")[4])
        elif fstype == "cgroup":
            controllers = _v1_controllers(rest.split(" ")[-1])
            if controllers and controllers not in v1:
                mount = _unescape(head.split(" ")[4])
                v1[controllers] = Hierarchy(",".join(controllers), mount, controllers)
    available = files.read_optional(unified + "/cgroup.controllers") if unified else ""
    return Layout(tuple(v1.values()), unified, frozenset(available.split()))


_found: Layout | None = None


def detect(*, again: bool = False) -> Layout:
    """This host's layout, read once per process unless `again`. Raises OSError without /proc."""
    global _found
    if _found is None or again:
        _found = parse(files.read("/proc/self/mountinfo"))
    return _found
