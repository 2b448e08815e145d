"""Who cancelled: the present task, or what it waits for. Imports: asyncio."""

from __future__ import annotations

import asyncio


def asked_to_end() -> bool:
    """Whether somebody has cancelled the present task, and not only what it waited for: gRPC tells both alike."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
