"""A machine of another kind for tests: Debian's kernel in QEMU's software emulation, with cgroup v2 alone.

The guest sees this machine's root file system (9p, read-only, under a tmpfs overlay) at the same paths, so the
tests, the virtual environment and the programs are the ones that are here. Nothing of this machine is changed:
the kernel package is unpacked in a cache directory, never installed. Imports: subprocess, os.

  cache/vmlinuz-*, cache/modules/**.ko     what tools/install_peers.sh unpacks
  initramfs                                busybox, the modules, /init and the command; made for each run
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

QEMU = "qemu-system-x86_64"
MEMORY = 2048  # MiB
MODULES = (
    "crc32c_generic", "virtio_pci", "9pnet_virtio", "9p", "overlay", "veth", "bridge", "nf_tables", "nft_chain_nat", "nft_masq",
    "nft_ct", "nft_nat", "nft_fib_ipv4", "nf_conntrack_netlink",
)  # fmt: skip

_INIT = """#!/bin/busybox sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
/bin/busybox mkdir -p /proc /sys /dev /lower /over /root
bb=/bin/busybox
$bb mount -t proc proc /proc; $bb mount -t sysfs sysfs /sys; $bb mount -t devtmpfs dev /dev
for module in $($bb cat /modules/order); do $bb insmod /modules/$module; done
$bb mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=524288,cache=loose host /lower
$bb mount -t tmpfs over /over; $bb mkdir /over/upper /over/work
$bb mount -t overlay -o lowerdir=/lower,upperdir=/over/upper,workdir=/over/work root /root
$bb mount -t proc proc /root/proc; $bb mount -t sysfs sysfs /root/sys; $bb mount --move /dev /root/dev
$bb mkdir -p /root/dev/pts /root/dev/shm
$bb ln -s /proc/self/fd /root/dev/fd; $bb mount -t devpts -o ptmxmode=0666 devpts /root/dev/pts; $bb mount -t tmpfs shm /root/dev/shm
$bb mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
kept=$($bb cat /kept)
$bb mkdir -p /keep; $bb mount --bind "/root$kept" /keep
for place in tmp run; do $bb mount -t tmpfs -o mode=1777 $place /root/$place; done
$bb mkdir -p "/root$kept"; $bb mount --move /keep "/root$kept"
$bb ip link set lo up
$bb cp /command /last /bin/busybox /root/tmp/
exec $bb switch_root /root /bin/sh /tmp/last
"""

# The root has to be the root of its mount namespace, as everywhere: setns(2) leads there.
_LAST = """/bin/sh /tmp/command > /dev/ttyS1 2>&1 < /dev/null
echo "status $?" > /dev/ttyS2
/tmp/busybox poweroff -f
"""


@dataclass(frozen=True)
class Result:
    """What the command did: its exit status (None when the machine stopped before) and all that it printed."""

    status: int | None
    output: str
    console: str


def missing() -> str:
    """Why there is no such machine here; "" when there is one."""
    if shutil.which(QEMU) is None:
        return f"{QEMU} is not installed"
    if _kernel() is None:
        return f"no kernel in {cache()}"
    return "" if _busybox() else "no static busybox"


def cache() -> Path:
    """Where the kernel lies."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "hakobune-peers" / "vm"


def run(command: str, kept: Path, work: Path, seconds: float) -> Result:
    """Boot, run `command` with /bin/sh as root, power off. `work` gets the files of the run.

    The guest's /tmp and /run are its own and empty; the directory `kept` is there wherever it is.

    Raises TimeoutError after `seconds`; the machine is killed then.
    """
    kernel = _kernel()
    assert kernel is not None
    image = work / "initramfs.gz"
    with gzip.open(image, "wb", compresslevel=1) as file:
        for part in _archive(command, kept):
            file.write(part)
    files = {name: work / name for name in ("console", "output", "status")}
    line = [
        QEMU, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(MEMORY), "-nographic",
        "-nodefaults", "-no-reboot", "-kernel", str(kernel), "-initrd", str(image),
        "-append", "console=ttyS0 quiet panic=-1 cgroup_no_v1=all mitigations=off",
        "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
        *(word for path in files.values() for word in ("-serial", f"file:{path}")),
    ]  # fmt: skip
    try:
        subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=seconds)
    except subprocess.TimeoutExpired as err:
        text = files["output"].read_text(errors="replace")[-2000:]
        raise TimeoutError(f"the machine has run for {seconds:g} s: {text}") from err
    words = files["status"].read_text(errors="replace").split()
    status = int(words[1]) if words[:1] == ["status"] else None
    return Result(
        status, files["output"].read_text(errors="replace"), files["console"].read_text(errors="replace")
    )


def _kernel() -> Path | None:
    found = sorted(cache().glob("boot/vmlinuz-*"))
    return found[-1] if found else None


def _busybox() -> Path | None:
    for place in ("/bin/busybox", "/usr/bin/busybox"):
        if os.path.exists(place):
            return Path(place)
    return None


# --- the initramfs: cpio in the "newc" format (Documentation/driver-api/early-userspace/buffer-format) ---


def _archive(command: str, kept: Path) -> Iterator[bytes]:
    busybox = _busybox()
    assert busybox is not None
    for name in ("bin", "modules", "dev"):
        yield _entry(name, b"", 0o40755)
    yield _entry("init", _INIT.encode(), 0o100755)
    yield _entry("bin/busybox", busybox.read_bytes(), 0o100755)
    yield _entry("command", command.encode(), 0o100644)
    yield _entry("last", _LAST.encode(), 0o100644)
    yield _entry("kept", str(kept).encode(), 0o100644)
    order = list(_ordered(MODULES))
    yield _entry("modules/order", "\n".join(path.name for path in order).encode(), 0o100644)
    for path in order:
        yield _entry(f"modules/{path.name}", path.read_bytes(), 0o100644)
    yield _entry("TRAILER!!!", b"", 0)


def _entry(name: str, content: bytes, mode: int) -> bytes:
    raw = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0)
    head = b"070701" + "".join(f"{field:08X}" for field in fields).encode() + raw
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _ordered(names: tuple[str, ...]) -> Iterator[Path]:
    """The files of these modules, each after those that it needs; what is built into the kernel is left out."""
    files = {
        path.name.partition(".")[0].replace("-", "_"): path for path in cache().glob("lib/modules/**/*.ko")
    }
    done: set[str] = set()

    def visit(name: str) -> Iterator[Path]:
        name = name.replace("-", "_")
        if name in done or name not in files:
            return
        done.add(name)
        for needed in _needs(files[name]):
            yield from visit(needed)
        yield files[name]

    for name in names:
        yield from visit(name)


def _needs(module: Path) -> list[str]:
    """The `depends` line of the module's .modinfo section, whose strings end with NUL."""
    _before, found, rest = module.read_bytes().partition(b"\0depends=")
    with contextlib.suppress(UnicodeDecodeError):
        return [name for name in rest.partition(b"\0")[0].decode().split(",") if name] if found else []
    return []
