"""What is done to make a container's file system: one small class for each kind of step.

A step is data; `describe()` says it, `apply()` does it. All run in the new mount namespace of the
init process before pivot_root(2): sources are paths of the host, targets are resolved inside the
root by `safepath`. Nothing has to be undone: the namespace dies with the process.
Imports: os, stat, linux.syscalls, safepath.
"""

from __future__ import annotations

import errno
import os
import stat

from hakobune.linux import syscalls as sys
from hakobune.oci.config import Device
from hakobune.oci.rootfs import places, safepath
from hakobune.oci.rootfs.options import Options
from hakobune.record import Protocol, dataclass, field
from hakobune.spec.mount import Mount


@dataclass(slots=True)
class Root:
    """The root being built: its path on the host and, once mounted, its descriptor."""

    path: str
    fd: int = -1
    null: int = -1
    warnings: list[str] = field(default_factory=list)


class Step(Protocol):
    """One thing to do. Raises OSError."""

    def describe(self) -> str: ...
    def apply(self, root: Root) -> None: ...


@dataclass(frozen=True, slots=True)
class Cut:
    """No mount made here reaches the host any more; the host's unmounts still reach us.

    With a shared root the host's mounts stay shared with ours, so that volumes can be; only the mount in which the
    root lies is not, for pivot_root(2) refuses that, and the root's own mount would be seen on the host.
    """

    propagation: int

    def describe(self) -> str:
        return f"set propagation of / to {self.propagation:#x}"

    def apply(self, root: Root) -> None:
        sys.mount(None, "/", None, self.propagation | sys.MS_REC)
        if self.propagation & sys.MS_SHARED:
            _make_private(root.path)


def _make_private(path: str) -> None:
    """The mount on which `path` lies; only at a mount's own root does the kernel take a change of propagation."""
    path = os.path.realpath(path)
    while True:
        try:
            return sys.mount(None, path, None, sys.MS_PRIVATE)
        except OSError as err:
            if err.errno != errno.EINVAL or path == "/":
                raise
        path = os.path.dirname(path)


@dataclass(frozen=True, slots=True)
class MountRoot:
    """The snapshot's mounts, or the directory itself, at the root's path."""

    mounts: tuple[Mount, ...]

    def describe(self) -> str:
        return f"root.path: mount it{''.join(f', {m.type}' for m in self.mounts)}"

    def apply(self, root: Root) -> None:
        for item in self.mounts:
            mount_snapshot(item, root.path)
        if not self.mounts:
            sys.mount(root.path, root.path, None, sys.MS_BIND | sys.MS_REC)
            sys.mount(
                None, root.path, None, sys.MS_PRIVATE
            )  # as pivot_root(2) wants it, wherever it came from
        root.fd = os.open(root.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        root.null = host_null()


def host_null() -> int:
    """The host's /dev/null, made sure of by its number: masks are bound from it (CVE-2025-31133)."""
    fd = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    if os.fstat(fd).st_rdev != os.makedev(1, 3):
        raise OSError(19, "is not the null device", "/dev/null")
    return fd


_SNAPSHOT_FLAGS = {"ro": sys.MS_RDONLY, "bind": sys.MS_BIND, "rbind": sys.MS_BIND | sys.MS_REC}


def mount_snapshot(item: Mount, target: str) -> None:
    """A mount as a snapshotter describes it; bind mounts get `ro` in a second call, as the kernel wants."""
    flags = 0
    data = []
    for word in item.options:
        if word in _SNAPSHOT_FLAGS:
            flags |= _SNAPSHOT_FLAGS[word]
        elif word != "rw":
            data.append(word)
    text = ",".join(data)
    if item.target:
        target = os.path.join(target, item.target.lstrip("/"))
    if item.type == "overlay" and len(text) > 4000:
        _mount_long_overlay(data, target, read_only=bool(flags & sys.MS_RDONLY))
        return
    if flags & sys.MS_BIND:
        sys.mount(item.source, target, None, flags & ~sys.MS_RDONLY)
        if flags & sys.MS_RDONLY:
            sys.mount(None, target, None, sys.MS_BIND | sys.MS_REMOUNT | sys.MS_RDONLY)
        return
    sys.mount(item.source, target, item.type, flags, text or None)


def _mount_long_overlay(data: list[str], target: str, *, read_only: bool) -> None:
    """mount(2) takes one page of options; since Linux 6.5 fsconfig(2) takes each layer by itself (lowerdir+)."""
    try:
        _configure_overlay(data, target, read_only=read_only)
    except OSError as err:
        if err.errno != errno.EINVAL:
            raise
        _mount_short_names(data, target, read_only=read_only)


def _mount_short_names(data: list[str], target: str, *, read_only: bool) -> None:
    """Before: names of descriptors, which are short."""
    fds: list[int] = []
    words = []
    for word in data:
        key, _, value = word.partition("=")
        if key == "lowerdir":
            first = len(fds)
            fds += [os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for layer in value.split(":")]
            word = f"{key}=" + ":".join(f"/proc/self/fd/{fd}" for fd in fds[first:])
        words.append(word)
    sys.mount("overlay", target, "overlay", sys.MS_RDONLY if read_only else 0, ",".join(words))
    for fd in fds:
        os.close(fd)


def _configure_overlay(data: list[str], target: str, *, read_only: bool) -> None:
    context = sys.fsopen("overlay")
    for word in data:
        key, _, value = word.partition("=")
        if key == "lowerdir":
            for layer in value.split(":"):
                sys.fsconfig_string(context, "lowerdir+", layer)
        elif value:
            sys.fsconfig_string(context, key, value)
        else:
            sys.fsconfig_flag(context, key)
    sys.fsconfig_create(context)
    mounted = sys.fsmount(context, sys.MOUNT_ATTR_RDONLY if read_only else 0)
    place = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sys.move_mount(mounted, place)
    for fd in (context, mounted, place):
        os.close(fd)


def _map(tree: int, options: Options, namespace: int) -> None:
    """Show its owners through the maps of a user namespace; only a mount that nobody sees yet takes that."""
    if namespace >= 0:
        try:
            sys.mount_setattr(tree, attr_set=sys.MOUNT_ATTR_IDMAP, user_namespace=namespace,
                              recursive=options.idmap_recursive)  # fmt: skip
        except OSError as err:
            raise OSError(err.errno, f"map its owners: {(err.strerror or '').lower()}") from err


def _dress(fd: int, options: Options) -> None:
    """Give the mount at `fd` its attributes and propagation."""
    if options.attr_set or options.attr_clear:
        sys.mount_setattr(fd, attr_set=options.attr_set, attr_clear=options.attr_clear)
    if options.recursive_set or options.recursive_clear:
        sys.mount_setattr(
            fd, attr_set=options.recursive_set, attr_clear=options.recursive_clear, recursive=True
        )
    if options.propagation:
        sys.mount_setattr(fd, propagation=options.propagation, recursive=options.propagation_recursive)


@dataclass(frozen=True, slots=True)
class Bind:
    """A directory or file of the host at a place in the container."""

    source: str
    target: str
    options: Options
    mapped: int = -1  # descriptor of a user namespace

    def describe(self) -> str:
        return f"mounts: bind {self.source} to {self.target}"

    def apply(self, root: Root) -> None:
        recursive = sys.AT_RECURSIVE if self.options.recursive_bind else 0
        tree = sys.open_tree(-100, self.source, sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC | recursive)
        is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        place = places.for_bind(root.fd, self.target, tree, is_directory=is_directory)
        _map(tree, self.options, self.mapped)
        _dress(tree, self.options)
        sys.move_mount(tree, place)
        os.close(place)
        os.close(tree)


@dataclass(frozen=True, slots=True)
class Filesystem:
    """A new file system (proc, tmpfs, sysfs, devpts, mqueue, cgroup2 …) at a place in the container."""

    type: str
    source: str
    target: str
    options: Options
    mapped: int = -1  # descriptor of a user namespace

    def describe(self) -> str:
        return f"mounts: mount {self.type} at {self.target}"

    def apply(self, root: Root) -> None:
        context = sys.fsopen(self.type)
        try:
            if self.source:
                sys.fsconfig_string(context, "source", self.source)
            for word in self.options.data:
                key, equals, value = word.partition("=")
                if equals:
                    sys.fsconfig_string(context, key, value)
                else:
                    sys.fsconfig_flag(context, key)
            sys.fsconfig_create(context)
            mounted = sys.fsmount(context, self.options.attr_set)
        except OSError as err:
            reason = sys.fs_messages(context)
            raise OSError(err.errno, f"{err.strerror}{': ' + reason if reason else ''}", self.target) from err
        finally:
            os.close(context)
        _map(mounted, self.options, self.mapped)
        place = places.for_file_system(root.fd, self.target, self.type)
        if self.options.copy_up:
            _copy_up(place, mounted)
        sys.move_mount(mounted, place)
        if self.options.propagation:
            sys.mount_setattr(
                mounted, propagation=self.options.propagation, recursive=self.options.propagation_recursive
            )
        os.close(place)
        os.close(mounted)


def _copy_up(source: int, target: int) -> None:
    """Copy what the image holds at the place into the fresh tmpfs (tmpcopyup): directories, files, links."""
    for name in os.listdir(f"/proc/self/fd/{source}"):
        info = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif stat.S_ISDIR(info.st_mode):
            os.mkdir(name, stat.S_IMODE(info.st_mode), dir_fd=target)
            below = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
            above = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=target)
            _copy_up(below, above)
            os.close(below)
            os.close(above)
        elif stat.S_ISREG(info.st_mode):
            _copy_file(source, target, name, stat.S_IMODE(info.st_mode))
        os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)


def _copy_file(source: int, target: int, name: str, mode: int) -> None:
    reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    writing = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=target)
    while os.sendfile(writing, reading, None, 1 << 20):
        pass
    os.close(reading)
    os.close(writing)


@dataclass(frozen=True, slots=True)
class Nodes:
    """Device nodes and the symlinks that every program expects in /dev (config-linux.md, default devices)."""

    devices: tuple[Device, ...]
    links: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        return f"make {len(self.devices)} devices and {len(self.links)} links"

    def apply(self, root: Root) -> None:
        for device in self.devices:
            _make_node(root, device)
        dev = safepath.ensure_directory(root.fd, "/dev")
        for name, value in self.links:
            try:
                os.symlink(value, name, dir_fd=dev)
            except FileExistsError:
                if name == "ptmx":  # the image's own node would belong to the host's devpts
                    os.unlink(name, dir_fd=dev)
                    os.symlink(value, name, dir_fd=dev)
        os.close(dev)


_NODE_KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def _make_node(root: Root, device: Device) -> None:
    head, _, name = device.path.rpartition("/")
    parent = safepath.ensure_directory(root.fd, head)
    number = os.makedev(device.major, device.minor)
    try:
        _mknod(device, name, number, parent)
    finally:
        os.close(parent)


def _mknod(device: Device, name: str, number: int, parent: int) -> None:
    try:
        os.mknod(name, _NODE_KINDS[device.kind] | device.mode, number, dir_fd=parent)
    except FileExistsError:
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_IFMT(info.st_mode) != _NODE_KINDS[device.kind] or info.st_rdev != number:
            os.unlink(name, dir_fd=parent)
            os.mknod(name, _NODE_KINDS[device.kind] | device.mode, number, dir_fd=parent)
    except PermissionError:  # root of a user namespace makes no nodes: the host's own is shown
        _bind_node(device, name, number, parent)
        return
    os.chown(name, device.uid, device.gid, dir_fd=parent, follow_symlinks=False)


def _bind_node(device: Device, name: str, number: int, parent: int) -> None:
    """The host's node of the same path, made sure of by its kind and number. Raises OSError."""
    tree = sys.open_tree(-100, device.path, sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC)
    info = os.fstat(tree)
    if stat.S_IFMT(info.st_mode) != _NODE_KINDS[device.kind] or info.st_rdev != number:
        raise PermissionError(1, "is not the device that is wanted, and none can be made", device.path)
    place = os.open(name, os.O_CREAT | os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=parent)
    sys.move_mount(tree, place)
    os.close(place)
    os.close(tree)


@dataclass(frozen=True, slots=True)
class Mask:
    """Hide a path: files behind /dev/null, directories behind an empty read-only tmpfs. Absent ones are fine."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        return f"mask {len(self.paths)} paths"

    def apply(self, root: Root) -> None:
        for path in self.paths:
            try:
                place = safepath.open_path(root.fd, path)
            except OSError:
                continue
            if stat.S_ISDIR(os.fstat(place).st_mode):
                cover = _empty_tmpfs()
            else:
                cover = sys.open_tree(
                    root.null, "", sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC | sys.AT_EMPTY_PATH
                )
            sys.move_mount(cover, place)
            os.close(cover)
            os.close(place)


def _empty_tmpfs() -> int:
    context = sys.fsopen("tmpfs")
    sys.fsconfig_flag(context, "ro")
    sys.fsconfig_create(context)
    mounted = sys.fsmount(context, sys.MOUNT_ATTR_RDONLY)
    os.close(context)
    return mounted


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """Make paths read-only where they are. Absent ones are fine."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        return f"make {len(self.paths)} paths read-only"

    def apply(self, root: Root) -> None:
        for path in self.paths:
            try:
                place = safepath.open_path(root.fd, path)
            except OSError:
                continue
            flags = sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC | sys.AT_EMPTY_PATH | sys.AT_RECURSIVE
            tree = sys.open_tree(place, "", flags)
            sys.mount_setattr(tree, attr_set=sys.MOUNT_ATTR_RDONLY, recursive=True)
            sys.move_mount(tree, place)
            os.close(tree)
            os.close(place)


@dataclass(frozen=True, slots=True)
class Sysctl:
    """Write namespaced kernel parameters through a proc of our own, which no volume can stand before."""

    values: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        return "linux.sysctl: set " + ", ".join(f"{key}={value}" for key, value in self.values)

    def apply(self, root: Root) -> None:
        context = sys.fsopen("proc")
        sys.fsconfig_create(context)
        proc = sys.fsmount(context)
        resolve = sys.RESOLVE_BENEATH | sys.RESOLVE_NO_XDEV | sys.RESOLVE_NO_SYMLINKS
        for key, value in self.values:
            path = "sys/" + key.replace(".", "/")
            try:
                fd = sys.openat2(proc, path, os.O_WRONLY, 0, resolve)
            except OSError as err:
                raise OSError(err.errno, err.strerror, f"sysctl {key}") from err
            try:
                os.write(fd, value.encode())
            except OSError as err:
                raise OSError(err.errno, err.strerror, f"sysctl {key}={value}") from err
            finally:
                os.close(fd)
        os.close(proc)
        os.close(context)


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory which has to be there (the working directory)."""

    path: str

    def describe(self) -> str:
        return f"make directory {self.path} where missing"

    def apply(self, root: Root) -> None:
        try:
            os.close(safepath.ensure_directory(root.fd, self.path))
        except OSError as err:
            # A cwd that cannot be made is reported by chdir(2) later, with the user's rights.
            root.warnings.append(f"working directory {self.path}: {err.strerror}")


@dataclass(frozen=True, slots=True)
class Pivot:
    """The root becomes /, the host's tree is let go (pivot_root(2), the "." "." form)."""

    read_only: bool
    propagation: int

    def describe(self) -> str:
        return "pivot into the root" + (" (read-only)" if self.read_only else "")

    def apply(self, root: Root) -> None:
        os.fchdir(root.fd)
        sys.pivot_root(".", ".")
        # "." is now the old root, stacked on ours; our copies must not tell the host of this unmount.
        sys.mount(None, ".", None, sys.MS_SLAVE | sys.MS_REC)
        sys.umount(".", sys.MNT_DETACH)
        os.chdir("/")
        if self.read_only:
            sys.mount_setattr(root.fd, attr_set=sys.MOUNT_ATTR_RDONLY)
        if self.propagation:
            sys.mount(None, "/", None, self.propagation)
        os.close(root.fd)
        os.close(root.null)


@dataclass(frozen=True, slots=True)
class Links:
    """Symlinks at places in the container: (value, absolute path)."""

    links: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        return f"make {len(self.links)} symlinks"

    def apply(self, root: Root) -> None:
        for value, path in self.links:
            head, _, name = path.rpartition("/")
            parent = safepath.ensure_directory(root.fd, head)
            os.symlink(value, name, dir_fd=parent)
            os.close(parent)


@dataclass(frozen=True, slots=True)
class Seal:
    """Make the mount at a place read-only, now that everything below it is there."""

    target: str

    def describe(self) -> str:
        return f"seal {self.target}"

    def apply(self, root: Root) -> None:
        place = safepath.open_path(root.fd, self.target)
        sys.mount_setattr(place, attr_set=sys.MOUNT_ATTR_RDONLY)
        os.close(place)
