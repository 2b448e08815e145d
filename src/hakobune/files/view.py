"""Where a container's files are seen: its root mounted in a namespace of ours, with its volumes and nothing else.

Of a running container the root's own mount is copied out of its namespace, so that there is one overlay only, and
neither /proc nor /sys nor a tmpfs comes along. Of one that does not run the snapshot is mounted: writable, for which
the caller keeps it from starting, or read-only with the upper layer as one more lower one.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from hakobune.errors import FailedPrecondition
from hakobune.linux import syscalls as sys
from hakobune.oci.rootfs import safepath
from hakobune.oci.rootfs.steps import mount_snapshot
from hakobune.spec.mount import Mount

_CLONE = sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC


@dataclass(frozen=True, slots=True)
class Volume:
    """A directory or file of the host at a place in the container."""

    source: str
    target: str
    read_only: bool = False
    named: bool = True  # False for the files that the engine lends


@dataclass(frozen=True, slots=True)
class View:
    """`at` is a directory of the host to mount over. `namespace` and `root` are descriptors of a running container's
    mount namespace and root, -1 when it does not run. `sealed`: its root is not to be written to."""

    at: str
    mounts: tuple[Mount, ...]
    volumes: tuple[Volume, ...] = ()
    namespace: int = -1
    root: int = -1
    sealed: bool = False

    def text(self) -> str:
        """As JSON; `parse` is the inverse."""
        return json.dumps(asdict(self))


def parse(text: str) -> View:
    """The inverse of `View.text`."""
    fields = json.loads(text)
    mounts = tuple(Mount(**{**one, "options": tuple(one["options"])}) for one in fields.pop("mounts"))
    volumes = tuple(Volume(**one) for one in fields.pop("volumes"))
    return View(mounts=mounts, volumes=volumes, **fields)


def layers(mounts: Sequence[Mount]) -> list[str]:
    """The directories of a snapshot, top first."""
    last = mounts[-1]
    if last.type != "overlay":
        return [last.source]
    options = dict(option.partition("=")[::2] for option in last.options)
    upper = [options["upperdir"]] if "upperdir" in options else []
    return [*upper, *options["lowerdir"].split(":")]


def below(mounts: Sequence[Mount]) -> tuple[Mount, ...]:
    """Mounts of what a writable snapshot lies on, read-only; none when it lies on nothing."""
    return of_layers(layers(mounts)[1:])


def read_only(mounts: Sequence[Mount]) -> tuple[Mount, ...]:
    """Mounts that show the same and write nothing: the upper layer is one more lower one."""
    return of_layers(layers(mounts))


def of_layers(directories: Sequence[str]) -> tuple[Mount, ...]:
    """Read-only mounts of layers, top first."""
    if not directories:
        return ()
    if len(directories) == 1:
        return (Mount("bind", directories[0], "", ("bind", "ro")),)
    return (Mount("overlay", "overlay", "", ("ro", f"lowerdir={':'.join(directories)}")),)


def enter(view: View) -> int:
    """An O_PATH descriptor of the root. From now on this process has mounts of its own. Raises OSError,
    FailedPrecondition when a running container's root is not its snapshot."""
    sys.unshare(sys.CLONE_NEWNS)
    sys.mount(None, "/", None, sys.MS_SLAVE | sys.MS_REC)
    volumes = [(one, _tree(one)) for one in sorted(view.volumes, key=lambda one: one.target.count("/"))]
    if view.root >= 0:
        _attach(view)
    else:
        for item in view.mounts:
            mount_snapshot(item, view.at)
    root = os.open(view.at, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for volume, volume_tree in volumes:
        if volume_tree is not None:
            _place(root, volume, volume_tree)
    if view.sealed:
        tree = os.open(view.at, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        sys.mount_setattr(tree, attr_set=sys.MOUNT_ATTR_RDONLY)
        os.close(tree)
    return root


def _attach(view: View) -> None:
    """A copy of the mount that a running container has for its root. Nothing is loaded while we are in there."""
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    place = os.open(view.at, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sys.setns(view.namespace, sys.CLONE_NEWNS)
    try:
        tree = sys.open_tree(view.root, "", _CLONE | sys.AT_EMPTY_PATH)
    finally:
        sys.setns(home, sys.CLONE_NEWNS)
    sys.move_mount(tree, place)
    for fd in (home, place, tree):
        os.close(fd)
    wanted = view.mounts[-1].type
    if wanted == "overlay" and (found := _kind(view.at)) != wanted:
        raise FailedPrecondition(
            f"the container's files are out of reach: its root is a {found} of its runtime's own"
        )


def _kind(path: str) -> str:
    """The type of the file system mounted at `path` (proc(5), mountinfo)."""
    with open("/proc/self/mountinfo") as file:
        lines = [line.split() for line in file]
    return next((words[words.index("-") + 1] for words in reversed(lines) if words[4] == path), "")


def _tree(volume: Volume) -> int | None:
    """A detached copy of its mounts, taken before our root covers anything; None when it is gone from the host."""
    try:
        return sys.open_tree(-100, volume.source, _CLONE | sys.AT_RECURSIVE)
    except FileNotFoundError:
        return None  # the container would not start either; what it has besides can be seen all the same


def _place(root: int, volume: Volume, tree: int) -> None:
    is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
    place = (safepath.ensure_directory if is_directory else safepath.ensure_file)(root, volume.target)
    if volume.read_only:
        sys.mount_setattr(tree, attr_set=sys.MOUNT_ATTR_RDONLY, recursive=True)
    sys.move_mount(tree, place)
    os.close(place)
    os.close(tree)


def with_root(view: View, namespace: int, root: int) -> View:
    """The view of a container that runs."""
    return replace(view, namespace=namespace, root=root)


def holding(volumes: Sequence[Volume], path: str) -> Iterator[Volume]:
    """Volumes that `path` lies in."""
    for volume in volumes:
        if volume.named and (path == volume.target or path.startswith(volume.target.rstrip("/") + "/")):
            yield volume
