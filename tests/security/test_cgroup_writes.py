"""Root of a container writes to control groups: limits of its own, others' processes, release_agent (CVE-2022-0492, CVE-2023-25809).

Guards: /sys/fs/cgroup is the container's own part, mounted read-only (`_cgroup_steps` of oci/init/parent.py, `Seal` of
oci/rootfs/steps.py), the default filter has neither mount(2) nor unshare(2) without CAP_SYS_ADMIN, and a path with `..` is no
control group (cgroups/cgroup.py). With `rw` in place of `ro` the first tests write.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from tests.security.hostile import Hostile

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root
WRITE = """\
find /sys/fs/cgroup -type f -perm -200 2>/dev/null | while read file; do
    case $file in *procs|*tasks|*limit*|*max|*release_agent|*notify*|*clone_children|*freeze|*kill|*allow)
        if (echo 1 >$file) 2>/dev/null; then echo "written $file"; fi;; esac
done
mkdir /sys/fs/cgroup/new 2>/dev/null && echo made
for one in /sys/fs/cgroup/*; do mkdir $one/new 2>/dev/null && echo made $one; done
mount -o remount,rw /sys/fs/cgroup 2>/dev/null && echo remounted
mount -t cgroup -o memory none /mnt 2>/dev/null && echo mounted
mount -t cgroup2 none /mnt 2>/dev/null && echo mounted 2
mount -o bind / /mnt 2>/dev/null && echo bound
unshare -UrmC true 2>/dev/null && echo unshared
unshare -m true 2>/dev/null && echo unshared
cat /proc/self/cgroup
echo over
"""


def only_roots(lines: list[str]) -> bool:
    """In a control group namespace of its own: every hierarchy's path is /."""
    return bool(lines) and all(line.endswith(":/") for line in lines)


def test_by_the_program(hako: Runtime) -> None:
    image = Hostile(hako, "sh", "-c", WRITE)
    image.capable()
    done = image.run()
    *groups, last = done.stdout.splitlines()
    assert last == "over", done.stderr
    assert only_roots(groups), done.stdout


def attacks(said: str) -> list[str]:
    """What went well of them. The paths are the host's on v1, as Docker has it, where `--cgroupns private` was not given."""
    *lines, last = said.splitlines() or [""]
    assert last == "over"
    return [line for line in lines if ":/" not in line]


@pytest.mark.parametrize(
    "words", [[], ["--cap-add", "DAC_OVERRIDE"], ["-u", "1000"], ["--cgroupns", "private"]]
)
def test_by_the_shim(engine: PrivateEngine, words: list[str]) -> None:
    done = engine.hako("run", "--rm", *words, "hako/starter", "sh", "-c", WRITE)
    assert attacks(done.stdout) == [], done.stderr


def test_an_exec(engine: PrivateEngine) -> None:
    engine.hako("run", "-d", "--name", "one", "hako/starter", "sleep", "60")
    assert attacks(engine.hako("exec", "one", "sh", "-c", WRITE).stdout) == []


def _groups() -> set[str]:
    return {str(path) for path in Path("/sys/fs/cgroup").glob("*/*evil*")} | {
        str(path) for path in Path("/sys/fs/cgroup").glob("*evil*")
    }


@pytest.mark.parametrize(
    "path", ["/../evil", "/a/../../evil", "../evil", "/hakotest/../../../tmp/evil", "/.."]
)
def test_a_path_that_leads_out(hako: Runtime, path: str) -> None:
    image = Hostile(hako, "true")
    image.linux(cgroupsPath=path)
    before = _groups(), sorted(os.listdir(tempfile.gettempdir()))
    done = image.run()
    assert done.returncode == 1, path
    assert done.stderr
    assert _groups() == before[0]
    assert "evil" not in sorted(os.listdir(tempfile.gettempdir()))


@pytest.mark.parametrize("name", ["memory.max/../../x", "../memory.max", "a/b", "cgroup.procs\n"])
def test_a_file_that_leads_out(hako: Runtime, name: str) -> None:
    """linux.resources.unified names files of the container's own directory."""
    image = Hostile(hako, "true")
    image.linux(resources={"unified": {name: "1"}})
    assert image.run().returncode == 1


@pytest.mark.parametrize("parent", ["/../evil", "../evil", "/a/../../evil"])
def test_a_parent_that_leads_out(engine: PrivateEngine, parent: str) -> None:
    before = _groups()
    assert engine.hako("run", "--rm", "--cgroup-parent", parent, "hako/starter", "true").returncode != 0
    assert _groups() == before
