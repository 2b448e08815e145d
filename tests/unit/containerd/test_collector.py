"""What labels refer to, and when leases end."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakobune.containerd.metadata.marking import Facts, expired, kept, references

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


# --- what is kept ---

SOON, LATE = (
    {"containerd.io/gc.expire": "2026-01-02T00:00:00Z"},
    {"containerd.io/gc.expire": "2025-12-31T00:00:00Z"},
)
C, S, IMAGE, B = "content", "snapshots/overlayfs", "images", "containers"


def facts(**more: Any) -> Facts:
    return Facts(NOW, **more)


def test_roots() -> None:
    labels = {
        (C, "root"): {"containerd.io/gc.root": ""}, (C, "soon"): SOON, (C, "late"): LATE, (C, "none"): {},
        (IMAGE, "name"): {}, (IMAGE, "soon"): SOON, (IMAGE, "late"): LATE, (B, "box"): {}, (S, "held"): {}, (S, "expired"): {},
    }  # fmt: skip
    leases = [({}, [(S, "held"), (C, "nobody")]), (LATE, [(S, "expired")])]
    assert kept(facts(labels=labels, leases=leases)) == {
        (C, "root"), (C, "soon"), (IMAGE, "name"), (IMAGE, "soon"), (B, "box"), (S, "held"),
    }  # fmt: skip


def test_what_is_kept_keeps_more() -> None:
    labels = {
        (IMAGE, "name"): {"containerd.io/gc.ref.snapshot.overlayfs": "c"}, (C, "index"): {"containerd.io/gc.ref.content.m.0": "manifest"},
        (C, "manifest"): {}, (S, "a"): {}, (S, "b"): {}, (S, "c"): {}, (S, "other"): {},
        (C, "attached"): {"containerd.io/gc.bref.image": "name"}, (C, "to-box"): {"containerd.io/gc.bref.container.x": "box"},
        (C, "to-nobody"): {"containerd.io/gc.bref.content": "gone"}, (B, "box"): {},
        (C, "to-snapshot"): {"containerd.io/gc.bref.snapshot.overlayfs": "b"}, (IMAGE, "named"): LATE,
        (C, "config"): {"containerd.io/gc.root": "", "containerd.io/gc.ref.image.x": "named"},
    }  # fmt: skip
    below = {(IMAGE, "name"): (C, "index"), (S, "b"): (S, "a"), (S, "c"): (S, "b")}
    assert set(labels) - kept(facts(labels=labels, below=below)) == {(S, "other"), (C, "to-nobody")}


def test_a_flat_lease_keeps_what_it_names_and_what_that_lies_on() -> None:
    labels = {
        (C, "index"): {"containerd.io/gc.ref.content": "manifest"}, (C, "manifest"): {},
        (S, "a"): {}, (S, "b"): {"containerd.io/gc.ref.content": "manifest"}, (IMAGE, "late"): LATE, (C, "target"): {},
    }  # fmt: skip
    below = {(S, "b"): (S, "a"), (IMAGE, "late"): (C, "target")}
    leases = [({"containerd.io/gc.flat": ""}, [(C, "index"), (S, "b"), (IMAGE, "late")])]
    assert set(labels) - kept(facts(labels=labels, below=below, leases=leases)) == {(C, "manifest")}


@pytest.mark.parametrize(
    ("condition", "stays"),
    [
        ("usedat<1h|warm", True),  # used half an hour ago
        ("usedat<29m59.5s|warm", False),
        ("usedat>29m|warm", True),
        ("usedat>1h30m|warm", False),
        ("usedat>9h,usedat<31m|warm", True),  # one of them is enough
        ("usedat=30m|warm", False),  # a time is never met exactly
        ("usedat<1h|cold", False),  # nobody says when it was used
        ("usedat<1d|warm", False),
        ("size<1h|warm", False),
        ("usedat<1h", False),
        ("usedat<|warm", False),
    ],
)
def test_what_an_image_keeps_under_a_condition(condition: str, stays: bool) -> None:
    labels = {
        (IMAGE, "name"): {"containerd.io/gc.cond.snapshot.overlayfs/1": condition},
        (S, "warm"): {"containerd.io/gc.cond.value-usedat": "2025-12-31T23:30:00Z"}, (S, "cold"): {},
    }  # fmt: skip
    assert (kept(facts(labels=labels)) == {(IMAGE, "name"), (S, "warm")}) is stays
    labels[IMAGE, "name"] |= LATE  # what is not kept itself keeps nothing
    assert kept(facts(labels=labels)) == set()


NAMES = st.sampled_from([(C, n) for n in "abcd"] + [(S, n) for n in "abcd"])


@given(
    st.dictionaries(NAMES, st.lists(NAMES, max_size=3)), st.sets(NAMES), st.lists(st.tuples(NAMES, NAMES), max_size=6)
)  # fmt: skip
def test_against_a_slow_and_plain_model(
    references_of: dict[Any, list[Any]], roots: set[Any], back: list[tuple[Any, Any]]
) -> None:
    """Closure by repetition, over the same labels."""

    def word(node: Any, way: str, number: int) -> tuple[str, str]:
        kind = "content." if node[0] == C else "snapshot.overlayfs/"
        return f"containerd.io/gc.{way}.{kind}{number}", node[1]

    labels: dict[Any, dict[str, str]] = {node: {} for node in references_of}
    for node, named in references_of.items():
        labels[node].update(word(other, "ref", number) for number, other in enumerate(named))
    for number, (node, other) in enumerate(back):
        if node in labels:
            labels[node].update([word(other, "bref", 100 + number)])
    for node in roots & labels.keys():
        labels[node]["containerd.io/gc.root"] = ""
    slow = roots & labels.keys()
    for _ in range(len(labels) + 1):
        slow |= {other for node in slow for other in references_of[node] if other in labels}
        slow |= {node for node, other in back if node in labels and other in slow}
    assert kept(facts(labels=labels)) == slow
