"""Chapter 1: an image out of nothing but this machine."""

from __future__ import annotations

from .stage import Stage

IMAGE = "hako/starter"


def play(stage: Stage) -> None:
    """Raises StoryFailed when nothing can be run at all."""
    stage.chapter(1, "An image, made of this machine's own files")
    stage.tell(
        "The first run finds no image and makes one: this host's shell and core utilities, with the libraries"
        " that their ELF headers name. Nothing is downloaded."
    )
    out = stage.hako("run", "--rm", IMAGE, "sh", "-c", 'echo "hello from $(hostname), process $$"')
    stage.claim("the command ran as process 1 of its own world", "process 1" in out, otherwise=out.strip())
    listed = stage.hako("images")
    stage.claim(f"{IMAGE} is an image now", IMAGE in listed)
    left = stage.hako("ps", "-aq")
    stage.claim("--rm left no container behind", not left.strip(), otherwise=left.strip())
