"""Chunks that another thread makes ahead of who uses them.

Decompression and hashing let go of the interpreter's lock, and so do the system calls of who writes files: two
processors work where one would. Imports: queue, threading.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator

DEPTH = 8  # chunks that wait
_End = tuple[BaseException | None]


def ahead(chunks: Iterator[bytes]) -> Generator[bytes, None, None]:
    """The same chunks in the same order; what `chunks` raises is raised when its turn comes.

    Left early, the thread ends with the chunk that it is at; until then `close` of this iterator waits.
    """
    made: queue.Queue[bytes | _End] = queue.Queue(DEPTH)
    enough = threading.Event()

    def make() -> None:
        failure: BaseException | None = None
        try:
            for chunk in chunks:
                made.put(chunk)
                if enough.is_set():
                    return
        except BaseException as err:
            failure = err
        made.put((failure,))

    maker = threading.Thread(target=make, name="ahead", daemon=True)
    maker.start()
    try:
        while not isinstance(found := made.get(), tuple):
            yield found
        if found[0] is not None:
            raise found[0]
    finally:
        enough.set()
        while maker.is_alive():  # it may wait for room
            try:
                made.get(timeout=0.01)
            except queue.Empty:
                continue
        maker.join()
