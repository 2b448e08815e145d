"""Containers that share what others have their own: the host's mount namespace, users of a namespace that is there."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hakobune.oci.rootfs import hostroot
from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root
MAP = "0 300000 65536"


def change(path: str, **linux: Any) -> None:
    """Fields of config.json's `linux`."""
    file = Path(path, "config.json")
    document = json.loads(file.read_text())
    document["linux"] |= linux
    file.write_text(json.dumps(document))


def namespaces(path: str, without: str = "", **given: str) -> list[dict[str, str]]:
    """Those of the bundle, one left out, others by path."""
    document = json.loads(Path(path, "config.json").read_text())
    found = [one for one in document["linux"]["namespaces"] if one["type"] not in (without, *given)]
    return found + [{"type": kind, "path": place} for kind, place in given.items()]


def mounts(below: str) -> list[str]:
    """Of the host, at `below` and under it."""
    listed = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [place for place in listed if place == below or place.startswith(f"{below}/")]


def run(hako: Runtime, path: str) -> Path:
    """Detached; the file that it writes to."""
    out = Path(path, "out")
    with out.open("w") as file:
        hako("run", "-d", "--bundle", path, Path(path).name, stdout=file)
    return out


@pytest.mark.parametrize("by_path", [False, True])
def test_the_hosts_mount_namespace(hako: Runtime, by_path: bool) -> None:
    """Its mounts are there while it is, and gone with it; an exec is in its root, not in the host's."""
    path = hako.bundle("sleep", "600")
    name, root = Path(path).name, os.path.realpath(hako.lower)
    before = mounts(root)
    (hako.lower / "tmp/mark").write_text("in the root")
    change(path, namespaces=namespaces(path, "mount", **({"mount": "/proc/self/ns/mnt"} if by_path else {})))
    run(hako, path)
    pid = json.loads(hako("state", name).stdout)["pid"]
    assert os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    assert f"{root}/proc" in mounts(root)
    assert hako("exec", name, "sh", "-c", "cd ..; cat tmp/mark").stdout == "in the root"
    assert hako("exec", name, "ls", path, check=False).returncode != 0
    hako("delete", "--force", name)
    (hako.lower / "tmp/mark").unlink()
    assert mounts(root) == before


def test_mounts_of_the_host_below_the_root_stay(hako: Runtime, tmp_path: Path) -> None:
    """Shared ones, too: what goes with the container are copies."""
    path = hako.bundle("sleep", "600")
    name, root = Path(path).name, tmp_path / "own"
    subprocess.run(["cp", "-a", hako.lower, root], check=True)
    (root / "a").mkdir()
    document = json.loads(Path(path, "config.json").read_text())
    document["root"] = {"path": str(root)}
    document["linux"]["namespaces"] = namespaces(path, "mount")
    document["mounts"].append({"destination": "/a/b/c", "type": "tmpfs", "source": "tmpfs"})
    Path(path, "config.json").write_text(json.dumps(document))
    try:
        for place in ("a", "a/b"):
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root / place], check=True)
            subprocess.run(["mount", "--make-shared", root / place], check=True)
            (root / "a/b").mkdir(exist_ok=True)
        (root / "a/b/data").write_text("the host's")
        before = mounts(str(root))
        run(hako, path)
        hako("delete", "--force", name)
        assert mounts(str(root)) == before
        assert (root / "a/b/data").read_text() == "the host's"
    finally:
        subprocess.run(["umount", "-R", root / "a"], check=True)


def test_nothing_of_a_failure_is_mounted(hako: Runtime) -> None:
    path = hako.bundle("nowhere")
    name, root = Path(path).name, os.path.realpath(hako.lower)
    before = mounts(root)
    change(path, namespaces=namespaces(path, "mount"))
    done = hako("run", "--bundle", path, name, check=False)
    assert done.returncode != 0
    assert "nowhere" in done.stderr
    assert mounts(root) == before


def test_whoever_was_killed_left_a_note(tmp_path: Path) -> None:
    """Before the mount there is nothing to take away, after it there is, and twice is once."""
    root = tmp_path / "root"
    root.mkdir()
    note = tmp_path / "note"
    note.write_text(f"{hostroot.mount_id(str(root))}\n{root}")
    hostroot.take_away(str(note))
    assert not note.exists()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root], check=True)  # the caller's own
    try:
        note.write_text(f"{hostroot.mount_id(str(root))}\n{root}")
        subprocess.run(["mount", "--bind", root, root], check=True)
        hostroot.take_away(str(note))
        hostroot.take_away(str(note))
        assert mounts(str(root)) == [str(root)]
    finally:
        subprocess.run(["umount", root], check=True)


def test_what_needs_a_mount_namespace_says_so(hako: Runtime) -> None:
    path = hako.bundle("true")
    change(path, namespaces=namespaces(path, "mount"), rootfsPropagation="shared")
    assert (
        "linux.rootfsPropagation: needs a mount namespace"
        in hako("run", "--bundle", path, Path(path).name, check=False).stderr
    )
    change(path, namespaces=[*namespaces(path, "mount"), {"type": "user"}], rootfsPropagation="",
           uidMappings=[{"containerID": 0, "hostID": 0, "size": 10}],
           gidMappings=[{"containerID": 0, "hostID": 0, "size": 10}])  # fmt: skip
    assert (
        "a user namespace needs a mount namespace"
        in hako("run", "--bundle", path, Path(path).name, check=False).stderr
    )


@pytest.fixture
def holder() -> Iterator[int]:
    """A process that holds a user namespace with 65,536 users."""
    process = subprocess.Popen(["unshare", "--user", "sleep", "600"])
    end = time.monotonic() + 10
    while os.readlink(f"/proc/{process.pid}/ns/user") == os.readlink("/proc/self/ns/user"):
        assert time.monotonic() < end
        time.sleep(0.01)
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{process.pid}/{name}").write_text(MAP)
    yield process.pid
    process.kill()
    process.wait()


def test_users_of_a_namespace_that_is_there(hako: Runtime, holder: int) -> None:
    path = hako.bundle(
        "sh", "-c", "cat /proc/self/uid_map; id -u; mount -t tmpfs t /tmp && echo mounted; sleep 600"
    )
    name = Path(path).name
    hako.lower.parent.chmod(0o711)  # root inside is somebody else there
    place = f"/proc/{holder}/ns/user"
    change(path, namespaces=namespaces(path, user=place))
    document = json.loads(Path(path, "config.json").read_text())
    for kind in ("bounding", "effective", "permitted"):
        document["process"]["capabilities"][kind].append("CAP_SYS_ADMIN")
    document["linux"].pop("seccomp", None)
    Path(path, "config.json").write_text(json.dumps(document))
    out = run(hako, path)
    pid = json.loads(hako("state", name).stdout)["pid"]
    assert os.readlink(f"/proc/{pid}/ns/user") == os.readlink(place)
    assert os.stat(f"/proc/{pid}").st_uid in (0, 300000)
    end = time.monotonic() + 10
    while "mounted" not in out.read_text():
        assert time.monotonic() < end, out.read_text()
        time.sleep(0.01)
    assert out.read_text().split()[:4] == [*MAP.split(), "0"]
    assert Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0] == "300000"
    inside = hako("exec", name, "sh", "-c", "cat /proc/self/uid_map; id -u")
    assert inside.stdout.split() == [*MAP.split(), "0"], inside.stderr
    hako("delete", "--force", name)


def test_one_that_is_not_there(hako: Runtime) -> None:
    path = hako.bundle("true")
    change(path, namespaces=namespaces(path, user="/proc/1/ns/nothing"))
    done = hako("run", "--bundle", path, Path(path).name, check=False)
    assert done.returncode != 0
    assert "/proc/1/ns/nothing" in done.stderr
    change(path, namespaces=namespaces(path, user="/proc/self/ns/net"))
    assert (
        "join user namespace: invalid argument"
        in hako("run", "--bundle", path, Path(path).name, check=False).stderr
    )


@pytest.fixture
def link() -> Iterator[str]:
    """A device of the host with two addresses, one end of a pair, which may be gone at the end."""
    name = f"hkt{os.getpid() % 100000}"
    for words in (("link", "add", name, "type", "veth", "peer", "name", f"{name}p"), ("addr", "add", "192.0.2.9/28", "dev", name),
                  ("addr", "add", "2001:db8::9/64", "dev", name), ("link", "set", name, "mtu", "1400")):  # fmt: skip
        subprocess.run(["ip", *words], check=True)
    yield name
    subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


def test_a_device_of_the_host(hako: Runtime, link: str) -> None:
    """Under another name, up, with its addresses and MTU; without it nothing is made."""
    path = hako.bundle("sleep", "600")
    name = Path(path).name
    change(path, netDevices={link: {"name": "given0"}})
    run(hako, path)
    pid = str(json.loads(hako("state", name).stdout)["pid"])
    shown = subprocess.run(["nsenter", "-t", pid, "-n", "ip", "-j", "addr", "show", "given0"],
                           check=True, capture_output=True, text=True)  # fmt: skip
    (device,) = json.loads(shown.stdout)
    assert "UP" in device["flags"]
    assert device["mtu"] == 1400
    assert {one["local"] for one in device["addr_info"] if one["scope"] == "global"} == {
        "192.0.2.9",
        "2001:db8::9",
    }
    assert not Path(f"/sys/class/net/{link}").exists()
    hako("delete", "--force", name)
    path = hako.bundle("true")
    change(path, netDevices={link: {}})
    refused = hako("run", "--bundle", path, Path(path).name, check=False)
    assert f"linux.netDevices.{link}: there is no such network device" in refused.stderr
    change(path, netDevices={link: {"name": "a/b"}})
    refused = hako("run", "--bundle", path, Path(path).name, check=False)
    assert f"linux.netDevices.{link}: 'a/b' is not the name of a network device" in refused.stderr
    change(path, netDevices={"lo": {"name": "x0"}})
    assert "linux.netDevices.lo: " in hako("run", "--bundle", path, Path(path).name, check=False).stderr
    change(path, netDevices={link: {}}, namespaces=namespaces(path, "network"))
    refused = hako("run", "--bundle", path, Path(path).name, check=False)
    assert "linux.netDevices: needs a network namespace" in refused.stderr
