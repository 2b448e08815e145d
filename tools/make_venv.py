"""`python3 tools/make_venv.py DIRECTORY REQUIREMENT`: a virtual environment with this project in it.

Runs on whatever `python3` is, so it may use nothing but the standard library and must say what is wrong
in one sentence. `python3` may be a version manager's shim: the environment is made from the interpreter
behind it. An interpreter that is too old looks for a newer one on PATH and starts again with that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

OLDEST = (3, 11)
CANDIDATES = ("python3.11", "python3.12", "python3.13", "python3.14")


def say(text: str) -> None:
    """One line for the person who waits."""
    print(f"==> {text}", flush=True)


def newer_or_die() -> None:
    """Re-run with a CPython that is new enough; exits with one sentence when there is none."""
    for name in CANDIDATES:
        found = shutil.which(name)
        if found and subprocess.call([found, "-c", "pass"]) == 0:
            os.execv(found, [found, *sys.argv])
    have = ".".join(map(str, sys.version_info[:3]))
    sys.exit(
        f"hakobune needs CPython 3.11 or newer, and {sys.executable} is {have}: set PYTHON=/path/to/python3.11"
    )


def ensure_venv_module() -> None:
    """Debian splits `venv` from python3; as root on Debian this installs the missing half."""
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        if os.geteuid() == 0 and shutil.which("apt-get"):
            say("python3-venv is missing: installing it")
            env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.call(["apt-get", "update", "-qq"], env=env)
            line = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "python3-venv"]
            if subprocess.call(line, env=env) == 0:
                return
        sys.exit("python's venv module is missing: install the package python3-venv and run this again")


def main() -> int:
    """Make the environment unless it is there and works, then install the requirement in it."""
    if sys.version_info < OLDEST:
        newer_or_die()
    where, requirement = sys.argv[1], sys.argv[2]
    python = os.path.join(where, "bin", "python")
    if not os.path.exists(python) or subprocess.call(
        [python, "-m", "pip", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ):
        ensure_venv_module()
        say(f"virtual environment in {where} from {sys.executable}")
        made = subprocess.call([os.path.realpath(sys.executable), "-m", "venv", "--clear", where])
        if made:
            return made
    say(f"installing {requirement} (only the first time are wheels fetched over the network)")
    return subprocess.call([python, "-m", "pip", "install", "-q", "-e", requirement])


if __name__ == "__main__":
    raise SystemExit(main())
