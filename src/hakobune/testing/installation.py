"""Another installation of Hakobune beside the running one: a copy of the code with a version of its own.

It is what an upgrade brings: a directory with an interpreter that finds the copy first and everything else where
the present one finds it. Imports: shutil, sys.
"""

from __future__ import annotations

import re
import shutil
import sys
import sysconfig
from pathlib import Path

import hakobune


def copy(directory: Path, version: str) -> Path:
    """Make one in `directory`, which must not exist; the path of its interpreter."""
    base = Path(sys.executable).resolve()
    site = directory / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    site.mkdir(parents=True)
    (directory / "bin").mkdir()
    python = directory / "bin" / "python"
    python.symlink_to(base)
    (directory / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    (site / "rest.pth").write_text(sysconfig.get_path("purelib") + "\n")
    package = site / "hakobune"
    shutil.copytree(Path(hakobune.__file__).parent, package)
    place = package / "version.py"
    place.write_text(re.sub(r'^VERSION = ".*"$', f'VERSION = "{version}"', place.read_text(), flags=re.M))
    return python
