"""Progress of a transfer as Docker's clients show it: a line for each layer, by the first digits of its digest. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hakobune.containerd.client.transfer import Progress
from hakobune.engine.images.model import short
from hakobune.engine.images.progress import line

_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_EVERY = 1 << 16  # bytes between two lines of one layer


class _Layers:
    """What was said of each layer last."""

    def __init__(self) -> None:
        self.events: dict[str, str] = {}  # short digest -> event
        self._told: dict[str, int] = {}

    def of(self, said: Progress) -> str:
        """The layer's short digest; "" for what is no layer."""
        if said.about is None or not said.about.media_type.startswith(_LAYERS):
            return ""
        return short(said.about.digest)

    def worth(self, layer: str, said: Progress) -> bool:
        """Whether so much has moved that a line tells something."""
        last = self._told.get(layer, -_EVERY)
        if said.progress < said.total and said.progress - last < _EVERY:
            return False
        self._told[layer] = said.progress
        return True


def _status(layer: str, status: str) -> bytes:
    return line(status=status, progressDetail={}, id=layer)


def _bar(layer: str, status: str, current: int, total: int) -> bytes:
    return line(
        status=status,
        progressDetail={"current": current, "total": total},
        progress=bar(current, total),
        id=layer,
    )


def bar(current: int, total: int) -> str:
    """`[====>    ]  1.2MB/3MB`, as old clients print it."""
    if total <= 0:
        return f"{_size(current):>8}"
    done = min(50 * current // total, 50)
    arrow = "=" * done + ">" if done < 50 else "=" * 50 + ">"
    return f"[{arrow}{' ' * (50 - done)}] {_size(current):>8}/{_size(total)}"


def _size(count: int) -> str:
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.4g}{units[0]}"


class _Shown:
    """`lines(progress)` for each message."""

    def __init__(self) -> None:
        self._layers = _Layers()

    def lines(self, said: Progress) -> Iterator[bytes]:
        """What there is to print; nothing for most."""
        if layer := self._layers.of(said):
            yield from self._of(layer, self._layers.events.get(layer, ""), said)

    def _of(self, layer: str, before: str, said: Progress) -> Iterator[bytes]:
        """Of a layer of which `before` was said last."""
        raise NotImplementedError


class Pulling(_Shown):
    """And `rest()` at the end."""

    def _of(self, layer: str, before: str, said: Progress) -> Iterator[bytes]:
        events = self._layers.events
        if before in ("extracted", "exists"):
            return
        if not before and said.event != "already exists":
            yield _status(layer, "Pulling fs layer")
        events[layer] = said.event
        if said.event == "downloading":
            if said.total and self._layers.worth(layer, said):
                yield _bar(layer, "Downloading", said.progress, said.total)
        elif said.event == "already exists":
            events[layer] = "exists"
            yield _status(layer, "Already exists")
        elif said.event == "complete" and before != "complete":
            yield _status(layer, "Verifying Checksum")
            yield _status(layer, "Download complete")
        elif said.event == "extracting" and before != "extracting":
            yield _bar(layer, "Extracting", said.total, said.total)
        elif said.event == "extracted":
            yield _status(layer, "Pull complete")

    def rest(self) -> Iterator[bytes]:
        """Layers of which a manager did not say that they are done, now that all is."""
        for layer, event in self._layers.events.items():
            if event not in ("extracted", "exists"):
                yield _status(layer, "Pull complete")


class Pushing(_Shown):
    """The other way."""

    def _of(self, layer: str, before: str, said: Progress) -> Iterator[bytes]:
        self._layers.events[layer] = said.event
        if not before:
            yield _status(layer, "Preparing")
        if said.event == before and said.event != "uploading":
            return
        if said.event == "uploading" and self._layers.worth(layer, said):
            yield _bar(layer, "Pushing", said.progress, said.total)
        elif said.event == "already exists":
            yield _status(layer, "Layer already exists")
        elif said.event.startswith("mounted from "):
            yield _status(layer, f"Mounted from {said.event.removeprefix('mounted from ')}")
        elif said.event == "complete":
            yield _status(layer, "Pushed")


def message(text: str, **fields: Any) -> bytes:
    """A line about the whole."""
    return line(status=text, **fields)
