"""Labels and sysctls are written to the kernel, not to what a container has put in /proc's place.

CVE-2019-16884 and CVE-2019-19921: a volume over /proc, or a link in it, took AppArmor's label to a file of the
image's; CVE-2021-30465's kin took a sysctl to another one. A write to /proc/self/attr/… of a naive build lands here.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hakobune.linux import syscalls as sys
from hakobune.oci.init import lsm
from hakobune.oci.rootfs.steps import Root, Sysctl

pytestmark = pytest.mark.root


def with_a_false_proc(place: Path, act: str) -> str:
    """What a child says whose /proc is a tmpfs full of decoys, of `act`; "" for nothing."""
    reading, writing = os.pipe()
    pid = sys.clone3(sys.CLONE_NEWNS | sys.CLONE_NEWUTS | sys.CLONE_NEWIPC)
    if pid == 0:
        said = b""
        try:
            sys.mount(None, "/", None, sys.MS_PRIVATE | sys.MS_REC)
            sys.mount(str(place), "/proc", None, sys.MS_BIND)
            for name in ("self", str(os.getpid())):
                os.makedirs(f"/proc/{name}/attr/apparmor", exist_ok=True)
                for file in ("exec", "apparmor/exec"):
                    Path(f"/proc/{name}/attr/{file}").touch()
            if act == "label":
                lsm.write("exec", b"banana")
            else:
                Sysctl((("kernel.domainname", "inside"),)).apply(Root("/"))
                said = os.uname().nodename.encode()[:0] + Path("/proc/sys/kernel/domainname").read_bytes()
        except OSError as err:
            said = f"{type(err).__name__} {err.errno} {err.strerror}".encode()
        os.write(writing, said)
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading, "rb") as file:
        return file.read().decode()


def test_a_label_goes_to_the_kernel(tmp_path: Path) -> None:
    """No module of this kernel knows the label, and that is told: the decoys would have taken it."""
    said = with_a_false_proc(tmp_path, "label")
    assert "label 'banana': " in said
    decoys = list(tmp_path.glob("*/attr/exec")) + list(tmp_path.glob("*/attr/apparmor/exec"))
    assert len(decoys) == 4
    assert [decoy for decoy in decoys if decoy.read_bytes()] == []


def test_a_sysctl_goes_to_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel").mkdir(parents=True)
    decoy = tmp_path / "sys/kernel/domainname"
    decoy.write_text("decoy")
    assert with_a_false_proc(tmp_path, "sysctl") == "decoy"
    assert decoy.read_text() == "decoy"
