"""What labels refer to, and when leases end."""

from __future__ import annotations

import datetime

import pytest

from hakobune.containerd.metadata.collector import expired, references

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_references() -> None:
    labels = {
        "containerd.io/gc.ref.content": "a",
        "containerd.io/gc.ref.content.l.0": "b",
        "containerd.io/gc.ref.content/x": "c",
        "containerd.io/gc.ref.contents": "no",
        "containerd.io/gc.ref.snapshot.overlayfs": "d",
        "containerd.io/gc.ref.snapshot.overlayfs/2": "e",
        "other": "no",
    }
    assert set(references(labels)) == {
        ("content", "a"), ("content", "b"), ("content", "c"),
        ("snapshots/overlayfs", "d"), ("snapshots/overlayfs", "e"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "over"),
    [
        ("2025-12-31T23:59:59Z", True),
        ("2026-01-01T01:00:00+02:00", True),
        ("2026-01-01T00:00:01Z", False),
        ("2025-01-01T00:00:00", True),
        ("2025-01-01T00:00:00.123456789Z", True),
        ("soon", False),
        ("", False),
    ],
)
def test_expiry(text: str, over: bool) -> None:
    assert expired({"containerd.io/gc.expire": text} if text else {}, NOW) is over
