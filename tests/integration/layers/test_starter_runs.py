"""The starter layer of this very host, unpacked and run under chroot."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest

from hakobune.layers import elf, starter
from hakobune.layers.apply import apply

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("starter")
    packed = io.BytesIO()
    starter.write_tar(packed)
    packed.seek(0)
    apply(packed, str(target))
    return target


def shell(root: Path, script: str) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        preexec_fn=lambda: (os.chroot(root), os.chdir("/")),
        env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_shell_and_tools(root: Path) -> None:
    assert shell(root, "echo hello | cat") == "hello\n"
    assert shell(root, "id -u; seq 3 | wc -l; true && basename /a/b").split() == ["0", "3", "b"]
    assert shell(root, "ls -d /tmp /root /etc/passwd").split() == ["/etc/passwd", "/root", "/tmp"]


def test_names_of_users_come_from_the_image(root: Path) -> None:
    assert shell(root, "id -un; ls -ld / | cut -d' ' -f3").split() == ["root", "root"]


def test_every_program_finds_its_libraries_inside(root: Path) -> None:
    plan = starter.plan()
    libraries = elf.Libraries(elf.Root(str(root)))
    for path in plan.files:
        with (root / path.lstrip("/")).open("rb") as file:
            if elf.is_elf(file.read(4)):
                assert libraries.missing(path) == [], path
