"""What shims and their workers write first, learnt by some and copied ahead by others. Imports: linux.pages."""

from __future__ import annotations

from hakobune.linux.pages import WrittenPages


class Experience:
    """Made in the zygote, before it forks any; all of them share it."""

    def __init__(self) -> None:
        self.shims = WrittenPages()
        self.workers = WrittenPages()  # of creations
        self.execs = WrittenPages()
