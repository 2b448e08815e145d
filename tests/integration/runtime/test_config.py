"""What config.json may ask for beside what every container does: namespaces, users, clocks, mounts, shares of the processor."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root
Done = subprocess.CompletedProcess[str]


def test_clocks_of_its_own(hako: Runtime) -> None:
    path = hako.bundle("sh", "-c", "cat /proc/uptime; sleep 60")
    document = json.loads(Path(path, "config.json").read_text())
    document["linux"]["namespaces"].append({"type": "time"})
    document["linux"]["timeOffsets"] = {"boottime": {"secs": 864000, "nanosecs": 5}, "monotonic": {"secs": 1}}
    Path(path, "config.json").write_text(json.dumps(document))
    name = Path(path).name
    out = Path(path, "out")
    with out.open("w") as file:
        hako("run", "-d", "--bundle", path, name, stdout=file)
    ours = float(Path("/proc/uptime").read_text().split()[0])
    end = time.monotonic() + 10
    while not out.read_text().strip() and time.monotonic() < end:
        time.sleep(0.01)
    assert 863900 < float(out.read_text().split()[0]) - ours < 864001
    inside = hako("exec", name, "cat", "/proc/uptime").stdout
    assert float(inside.split()[0]) - ours > 863000
    hako("delete", "--force", name)
    for wrong, words in (
        (
            {"boottime": {"nanosecs": 1_000_000_000}},
            "linux.timeOffsets.boottime.nanosecs: 1000000000 is outside",
        ),
        ({"realtime": {}}, "linux.timeOffsets.realtime: expected monotonic or boottime"),
        ({"boottime": {"secs": -(10**12)}}, "linux.timeOffsets: "),
    ):
        document["linux"]["timeOffsets"] = wrong
        Path(path, "config.json").write_text(json.dumps(document))
        assert words in hako("create", "--bundle", path, name, check=False).stderr


def edited(path: str, **process: Any) -> None:
    """More of `process`; `linux` is another section."""
    document = json.loads(Path(path, "config.json").read_text())
    document["linux"] |= process.pop("linux", {})
    document["process"] |= process
    Path(path, "config.json").write_text(json.dumps(document))


def test_how_the_processor_is_shared_out(hako: Runtime) -> None:
    path = hako.bundle("sh", "-c", "sleep 60; true")
    edited(
        path, scheduler={"policy": "SCHED_BATCH", "nice": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6}, linux={"personality": {"domain": "LINUX32"}},
    )  # fmt: skip
    name = Path(path).name
    hako("run", "-d", "--bundle", path, name, stdout=subprocess.DEVNULL)
    pid = json.loads(hako("state", name).stdout)["pid"]
    assert os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_BATCH
    assert os.sched_getscheduler(pid) & os.SCHED_RESET_ON_FORK
    assert os.getpriority(os.PRIO_PROCESS, pid) == 7
    assert Path(f"/proc/{pid}/personality").read_text().strip() == "00000008"
    assert (
        subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True).stdout
        == "best-effort: prio 6\n"
    )
    assert hako("exec", name, "cat", "/proc/self/personality").stdout.strip() == "00000008"
    process = {"args": ["sh", "-c", "grep Cpus_allowed_list /proc/self/status"], "cwd": "/", "user": {},
               "execCPUAffinity": {"initial": "0-1", "final": "1"}}  # fmt: skip
    Path(path, "process.json").write_text(json.dumps(process))
    assert hako("exec", "--process", f"{path}/process.json", name).stdout.split() == [
        "Cpus_allowed_list:",
        "1",
    ]


def test_where_its_memory_lies(hako: Runtime) -> None:
    """Its execs', too; what the kernel has not is the kernel's to refuse."""
    path = hako.bundle("sleep", "60")
    edited(
        path, linux={"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}}
    )
    name = Path(path).name
    if not Path("/proc/self/numa_maps").exists():
        assert (
            "linux.memoryPolicy: function not implemented"
            in hako("run", "--bundle", path, name, check=False).stderr
        )
        return
    hako("run", "-d", "--bundle", path, name, stdout=subprocess.DEVNULL)
    pid = json.loads(hako("state", name).stdout)["pid"]
    assert "bind=static:0" in Path(f"/proc/{pid}/numa_maps").read_text()
    assert "bind=static:0" in hako("exec", name, "cat", "/proc/self/numa_maps").stdout
    features = json.loads(hako("features").stdout)["linux"]["memoryPolicy"]
    assert {"MPOL_BIND", "MPOL_DEFAULT"} <= set(features["modes"])


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"scheduler": {"policy": "SCHED_FAST"}}, "process.scheduler.policy: 'SCHED_FAST' is not"),
        ({"scheduler": {"policy": "SCHED_OTHER", "nice": 20}}, "process.scheduler.nice: 20 is not"),
        ({"scheduler": {"policy": "SCHED_OTHER", "flags": ["X"]}}, "process.scheduler.flags[0]: 'X'"),
        (
            {"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 9, "deadline": 1, "period": 1}},
            "process.scheduler: ",
        ),
        ({"ioPriority": {"class": "BE"}}, "process.ioPriority.class: 'BE'"),
        ({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}, "process.ioPriority.priority: 8"),
        (
            {"execCPUAffinity": {"final": "x"}},
            "process.execCPUAffinity.final: 'x' is not a list of processors",
        ),
        ({"linux": {"personality": {"domain": "BSD"}}}, "linux.personality.domain: 'BSD'"),
        ({"linux": {"personality": {"domain": "LINUX", "flags": ["X"]}}}, "linux.personality.flags: "),
        (
            {"linux": {"memoryPolicy": {"mode": "MPOL_NEAR"}}},
            "linux.memoryPolicy.mode: 'MPOL_NEAR' is not one of",
        ),
        (
            {"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "a"}}},
            "linux.memoryPolicy.nodes: 'a' is not a list",
        ),
        (
            {"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "flags": ["X"]}}},
            "linux.memoryPolicy.flags[0]: 'X'",
        ),
        ({"linux": {"memoryPolicy": {"mode": "MPOL_BIND"}}}, "linux.memoryPolicy: invalid argument"),
    ],
)
def test_what_is_wrong_about_it_is_named(hako: Runtime, sections: dict[str, Any], words: str) -> None:
    path = hako.bundle("true")
    edited(path, **sections)
    refused = hako("create", "--bundle", path, Path(path).name, check=False)
    assert refused.returncode
    assert words in refused.stderr


def test_owners_of_a_mount_are_mapped(hako: Runtime) -> None:
    """Files of user 1000 outside are user 7's inside, and what root 0..6 would write is nobody's."""
    shared = hako.place / "shared"
    shared.mkdir()
    (shared / "file").touch()
    for place in (shared, shared / "file"):
        os.chown(place, 1000, 2000)
    path = hako.bundle(
        "sh",
        "-c",
        "stat -c '%u %g' /in/file; stat -c '%u %g' /plain/file; echo x > /in/new; stat -c '%u %g' /in/new",
    )
    document = json.loads(Path(path, "config.json").read_text())
    maps = {"uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1000, "hostID": 7, "size": 1}],
            "gidMappings": [{"containerID": 2000, "hostID": 8, "size": 1}]}  # fmt: skip
    document["mounts"] += [
        {"destination": "/in", "source": str(shared), "options": ["bind", "idmap"], **maps},
        {"destination": "/plain", "source": str(shared), "options": ["bind"]},
    ]
    Path(path, "config.json").write_text(json.dumps(document))
    done = hako("run", "--bundle", path, Path(path).name, check=False)
    assert done.stdout.splitlines()[:2] == ["7 8", "1000 2000"]
    for index, (change, words) in enumerate((
        ({"uidMappings": []}, "mounts[0]: uidMappings and gidMappings belong together"),
        ({"uidMappings": [], "gidMappings": []}, "mounts[0]: idmap without"),
        ({"uidMappings": [{"containerID": 0, "hostID": 0}]}, "mounts[0].uidMappings[0]: (0, 0, 0) are no ids"),
        ({"uidMappings": [{"containerID": 0, "hostID": 0, "size": 9}] * 2}, "mounts[0].uidMappings, gidMappings: "),
    )):  # fmt: skip
        document["mounts"] = [
            {"destination": "/in", "source": str(shared), "options": ["bind", "idmap"], **maps, **change}
        ]
        Path(path, "config.json").write_text(json.dumps(document))
        refused = hako("create", "--bundle", path, f"{Path(path).name}-{index}", check=False)
        assert words in refused.stderr


def test_namespaces_that_others_have_made(hako: Runtime) -> None:
    """All of them by path; the host's hooks still run in the host's."""
    kinds = {"mount": "mnt", "network": "net", "uts": "uts", "ipc": "ipc"}
    told = hako.place / "ns"
    path = hako.bundle(
        "sh", "-c", "readlink /proc/self/ns/mnt /proc/self/ns/net /proc/self/ns/uts /proc/self/ns/ipc"
    )
    with subprocess.Popen(["unshare", "-m", "-n", "-u", "-i", "sleep", "600"]) as other:
        mine = os.readlink("/proc/self/ns/mnt")
        while os.readlink(f"/proc/{other.pid}/ns/ipc") == os.readlink("/proc/self/ns/ipc"):
            time.sleep(0.01)
        theirs = [os.readlink(f"/proc/{other.pid}/ns/{name}") for name in kinds.values()]
        document = json.loads(Path(path, "config.json").read_text())
        document["linux"]["namespaces"] = [{"type": "pid"}] + [
            {"type": kind, "path": f"/proc/{other.pid}/ns/{name}"} for kind, name in kinds.items()
        ]
        script = f"readlink /proc/self/ns/mnt > {told}"
        document["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
        document["hostname"] = ""
        Path(path, "config.json").write_text(json.dumps(document))
        done = hako("run", "--bundle", path, Path(path).name)
        assert done.stdout.split() == theirs
        assert told.read_text().strip() == mine
        other.kill()


def test_users_of_its_own(hako: Runtime) -> None:
    """Root inside is 100000 outside, of all namespaces; devices, proc and the rest are there; exec is inside, too."""
    line = "id -u; cat /proc/self/uid_map; echo x > /dev/null && echo null; sleep 60"
    path = hako.bundle("sh", "-c", line)
    document = json.loads(Path(path, "config.json").read_text())
    document["linux"]["namespaces"].append({"type": "user"})
    document["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    document["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 200000, "size": 65536}]
    Path(path, "config.json").write_text(json.dumps(document))
    hako.lower.parent.chmod(0o711)  # root inside is somebody else there
    name = Path(path).name
    out = Path(path, "out")
    with out.open("w") as file:
        hako("run", "-d", "--bundle", path, name, stdout=file)
    end = time.monotonic() + 10
    while len(out.read_text().splitlines()) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    assert [" ".join(row.split()) for row in out.read_text().splitlines()] == ["0", "0 100000 65536", "null"]
    pid = json.loads(hako("state", name).stdout)["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    assert "Uid:\t100000\t100000" in status
    assert "Gid:\t200000\t200000" in status
    assert hako("exec", name, "sh", "-c", "id -u; readlink /proc/self/ns/user").stdout.split() == [
        "0", os.readlink(f"/proc/{pid}/ns/user")]  # fmt: skip
    hako("delete", "--force", name)
    document["linux"]["uidMappings"] = [{"containerID": 1, "hostID": 100000, "size": 1}]
    Path(path, "config.json").write_text(json.dumps(document))
    refused = hako("create", "--bundle", path, name, check=False)
    assert "linux.uidMappings: a new user namespace needs a map that holds id 0" in refused.stderr
    document["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 9}] * 2
    Path(path, "config.json").write_text(json.dumps(document))
    assert "uid_map" in hako("create", "--bundle", path, name, check=False).stderr
    assert name not in hako("list", "-q", check=False).stdout.split()


def test_attributes_of_mounts_and_of_what_lies_below(hako: Runtime) -> None:
    """The plain words mean one mount, those with an r all below it; a tmpfs takes a copy of what it covers."""
    shared = hako.place / "tree"
    (shared / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(shared / "below")], check=True)
    try:
        path = hako.bundle(
            "sh",
            "-c",
            "grep ' /[pr]lain' /proc/self/mountinfo; cat /etc/kept; grep ' /etc ' /proc/self/mountinfo",
        )
        root = Path(path, "root")
        for name in ("bin", "lib", "lib64", "usr", "proc", "dev", "sys", "plain", "rlain", "etc"):
            (root / name).mkdir(parents=True)
        (root / "etc/kept").write_text("of the image\n")
        document = json.loads(Path(path, "config.json").read_text())
        document["root"] = {"path": str(root)}
        document["mounts"] += [
            {"destination": f"/{name}", "source": str(hako.lower / name), "options": ["rbind"]}
            for name in ("bin", "lib", "lib64", "usr") if (hako.lower / name).is_dir()
        ] + [
            {"destination": "/plain", "source": str(shared), "options": ["rbind", "ro", "noexec"]},
            {"destination": "/rlain", "source": str(shared), "options": ["rbind", "rro", "rnosuid", "rnoatime"]},
            {"destination": "/etc", "type": "tmpfs", "source": "tmpfs",
             "options": ["tmpcopyup", "nosuid", "nostrictatime", "silent", "lazytime", "size=64k"]},
        ]  # fmt: skip
        Path(path, "config.json").write_text(json.dumps(document))
        said = hako("run", "--bundle", path, Path(path).name).stdout.splitlines()
    finally:
        subprocess.run(["umount", "-l", str(shared / "below")], check=True)
    flags = {
        line.split()[4]: set(line.split()[5].split(",")) for line in said if "/" in line and " - " in line
    }
    assert {"ro", "noexec"} <= flags["/plain"]
    assert "rw" in flags["/plain/below"]
    for place in ("/rlain", "/rlain/below"):
        assert {"ro", "nosuid", "noatime"} <= flags[place]
    assert {"rw", "nosuid", "relatime"} <= flags["/etc"]
    assert "of the image" in said
