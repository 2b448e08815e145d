"""Chapter 4: what outlives a container, and what does not."""

from __future__ import annotations

from .images import IMAGE
from .stage import Stage

_WRITE = "echo dawn > /log/page; echo rum > /hold/keg; echo mine > /own; cat /own"
_READ = "cat /log/page /hold/keg; cat /own"


def play(stage: Stage) -> None:
    """Raises StoryFailed when a container does not run."""
    stage.chapter(4, "Volumes and host directories stay, the container's own root goes")
    hold = stage.engine.root / "hold"
    hold.mkdir(exist_ok=True)
    stage.hako("volume", "create", "logbook")
    shared = ("-v", "logbook:/log", "-v", f"{hold}:/hold")
    out = stage.hako("run", "--rm", *shared, IMAGE, "sh", "-c", _WRITE)
    stage.claim(
        "the first container read what it had written to its own root", out == "mine\n", otherwise=out
    )
    out = stage.hako("run", "--rm", *shared, IMAGE, "sh", "-c", _READ, fine=tuple(range(256)))
    stage.claim("the next one finds the volume's page", "dawn" in out)
    stage.claim("and the keg in the host's directory", "rum" in out)
    stage.claim("but not what the first wrote to its own root", stage.code == 1 and "mine" not in out)
    keg = (hold / "keg").read_text() if (hold / "keg").exists() else ""
    stage.claim("the host sees the keg as well", keg == "rum\n", otherwise=repr(keg))
    stage.hako("volume", "ls")
    stage.hako("volume", "rm", "logbook")
