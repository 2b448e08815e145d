"""A sysctl, an annotation, an id or a name brings something else along (CVE-2022-0811, CVE-2022-4318, CVE-2024-3154).

Guards: `check` of oci/sysctls.py (only those of a namespace of the container's own), `_sysctl` of oci/config.py (a name is
no path, a value is one line), one write below a proc of our own (`Sysctl` of oci/rootfs/steps.py); ids are checked before they
are paths (oci/status.py); what our shim reads out of annotations is the engine's word (engine/containers/spec.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.security.hostile import Hostile

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root
HOSTS = (
    "kernel/core_pattern",
    "kernel/modprobe",
    "kernel/randomize_va_space",
    "vm/overcommit_memory",
    "net/ipv4/ip_forward",
    "fs/suid_dumpable",
)


@pytest.fixture(autouse=True)
def _the_hosts_stay() -> Iterator[None]:
    """None of the host's changes; one that did is put back, for a build that is naive on purpose."""
    before = {name: Path("/proc/sys", name).read_text() for name in HOSTS if Path("/proc/sys", name).exists()}
    yield
    changed = [name for name, value in before.items() if Path("/proc/sys", name).read_text() != value]
    for name in changed:
        Path("/proc/sys", name).write_text(before[name])
    assert changed == []


INJECTED = [
    ("kernel.core_pattern", "|/evil"), ("kernel/core_pattern", "|/evil"), ("net.ipv4/../../kernel/core_pattern", "|/evil"),
    ("net.ipv4.conf.all/../../../../kernel/core_pattern", "|/evil"), ("net....kernel.core_pattern", "|/evil"),
    ("net.ipv4.ip_forward\nkernel.core_pattern", "1"), ("net.ipv4.ip_forward", "1\nkernel.core_pattern=|/evil"),
    ("net.ipv4.ip_forward", "1+kernel.core_pattern=|/evil"), ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/evil"),
    ("net.ipv4.ip_forward", "1\0"), ("vm.overcommit_memory", "1"), ("fs.suid_dumpable", "2"), ("kernel.hostname", "evil"),
    ("", "1"), (".", "1"), ("..", "1"), ("net.", "1"), ("net", "1"), ("user.", "1"), ("fs.mqueue...x", "1"), ("kernel.domainname/../core_pattern", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), INJECTED)
def test_by_the_program(hako: Runtime, name: str, value: str) -> None:
    image = Hostile(hako, "true")
    image.linux(sysctl={name: value})
    done = image.run()
    assert done.returncode == 1
    assert "sysctl" in done.stderr


@pytest.mark.parametrize("number", range(0, len(INJECTED), 3))
def test_by_the_shim(engine: PrivateEngine, number: int) -> None:
    name, value = INJECTED[number]
    body = {"Image": "hako/starter", "Cmd": ["true"], "HostConfig": {"Sysctls": {name: value}}}
    done: object = ""
    try:
        made = engine.client.post("/containers/create", body)
        engine.client.post(f"/containers/{made['Id']}/start")
    except Exception as err:
        done = err
    assert "sysctl" in str(done).lower(), done


def test_where_the_network_is_the_hosts(engine: PrivateEngine) -> None:
    done = engine.hako(
        "run", "--rm", "--network", "host", "--sysctl", "net.ipv4.ip_forward=1", "hako/starter", "true"
    )
    assert done.returncode != 0


@pytest.mark.parametrize("name", ["../evil", "a/b", ".", "..", "", "a\n", "a b", "ä", "/evil"])
def test_ids(hako: Runtime, name: str) -> None:
    image = Hostile(hako, "true")
    before = sorted(os.listdir(hako.place))
    done = hako("create", "--bundle", str(image.path), name, check=False)
    assert done.returncode == 1
    state = hako.place / "state"
    assert sorted({*os.listdir(hako.place)} - {"state", "log", "stderr"}) == sorted(
        {*before} - {"state", "log", "stderr"}
    )
    assert not state.exists() or os.listdir(state) == []


@pytest.mark.parametrize("name", ["../evil", "a/b", ".", "-x", "a\n", "a b", "ä", "/evil/b"])
def test_names(engine: PrivateEngine, name: str) -> None:
    done = engine.hako("create", f"--name={name}", "hako/starter", "true")
    assert done.returncode != 0
    assert "Invalid container name" in done.stderr, done.stderr


def test_what_the_shim_is_told_is_the_engines_word(engine: PrivateEngine, tmp_path: Path) -> None:
    """An annotation, or a label of an image's (CVE-2026-53488), names another place for the side socket."""
    evil = tmp_path / "evil"
    done = engine.hako("run", "--name", "base", "--annotation", f"io.hakobune.side={evil}", "--label", f"io.hakobune.side={evil}",
                       "hako/starter", "echo", "said")  # fmt: skip
    assert (done.stdout, done.stderr) == ("said\n", "")
    assert engine.hako("commit", "-c", f"LABEL io.hakobune.side={evil}", "base", "evil").returncode == 0
    assert engine.hako("run", "--rm", "evil", "echo", "said").stdout == "said\n"
    assert not evil.exists()


def test_lines_that_are_two(engine: PrivateEngine) -> None:
    """A host's name or a variable with a newline does not become another line of the container's own files."""
    done = engine.hako(
        "run",
        "--rm",
        "-e",
        "A=1\nroot::0:0::/:/bin/sh",
        "hako/starter",
        "sh",
        "-c",
        "cat /etc/hosts /etc/passwd 2>&-",
    )
    assert "root::0:0" not in done.stdout
    done = engine.hako("run", "--rm", "--hostname", "a\n6.6.6.6 evil", "hako/starter", "cat", "/etc/hosts")
    assert "\n6.6.6.6 evil" not in done.stdout
