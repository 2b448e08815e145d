"""What the garbage collector keeps, as a function of what there is in one namespace. Rules are containerd's.

Roots are images, until `containerd.io/gc.expire` where they have that; containers; what leases hold, until their own
gc.expire; and content or snapshots with `gc.root`, or a `gc.expire` that is still to come. What is kept keeps, in turn:
  a snapshot its parent, an image its target
  gc.ref.content[.…], gc.ref.snapshot.<snapshotter>[/…], gc.ref.image[.…]    what the labels of a kept object name
  gc.bref.content[.…], gc.bref.snapshot.<…>, gc.bref.image[.…], gc.bref.container[.…]   the other way: the labelled
      object is kept when the one that it names is
  gc.cond.snapshot.<snapshotter>[/…] on an image or content, "usedat<1h,usedat>30d|name": the snapshot of that name, when
      one of the conditions holds for the time in the snapshot's own label gc.cond.value-usedat
A lease with the label `gc.flat` keeps what it holds and not what that refers to; parents and targets it does.
Source: containerd, docs/garbage-collection.md, core/metadata/gc.go. Imports: spec.duration.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hakobune.spec.duration import nanoseconds

ROOT = "containerd.io/gc.root"
EXPIRE = "containerd.io/gc.expire"
FLAT = "containerd.io/gc.flat"
USED_AT = "containerd.io/gc.cond.value-usedat"
_CONDITION = "containerd.io/gc.cond.snapshot"
_REF, _BACK = "containerd.io/gc.ref.", "containerd.io/gc.bref."

Node = tuple[
    str, str
]  # ("content", digest), ("snapshots/<snapshotter>", name), ("images", name), ("containers", id)
Labels = Mapping[str, str]
_COMPARED = {"<": datetime.timedelta.__lt__, ">": datetime.timedelta.__gt__}
_PLURAL = {"content": "content", "image": "images", "container": "containers"}


@dataclass(slots=True)
class Facts:
    """One namespace. `below`: a snapshot's parent, an image's target, a container's snapshot."""

    now: datetime.datetime
    labels: dict[Node, Labels] = field(default_factory=dict)
    below: dict[Node, Node] = field(default_factory=dict)
    leases: list[tuple[Labels, Sequence[Node]]] = field(default_factory=list)


def references(labels: Labels) -> Iterator[Node]:
    """What the labels of an object keep."""
    yield from _named(labels, _REF)


def _named(labels: Labels, begin: str) -> Iterator[Node]:
    for label, value in labels.items():
        if not label.startswith(begin):
            continue
        word = label[len(begin) :]
        if word.startswith("snapshot."):
            yield f"snapshots/{word[len('snapshot.') :].partition('/')[0]}", value
            continue
        kind = word.partition(".")[0].partition("/")[0]
        if kind in _PLURAL:
            yield _PLURAL[kind], value


def _conditional(labels: Labels, facts: Facts) -> Iterator[Node]:
    """Snapshots that an image or content keeps as long as one of its conditions holds for them."""
    for label, value in labels.items():
        conditions, bar, name = value.partition("|")
        if not label.startswith(_CONDITION) or not bar:
            continue
        node = (f"snapshots/{label[len(_CONDITION) :].lstrip('./').partition('/')[0]}", name)
        used = _time(facts.labels.get(node, {}).get(USED_AT, ""))
        if used is not None and any(_holds(one, facts.now - used) for one in conditions.split(",")):
            yield node


def _holds(condition: str, age: datetime.timedelta) -> bool:
    """`usedat<24h`: what was used less than a day ago. A condition that is not known never holds."""
    name, sign, text = condition[:6], condition[6:7], condition[7:]
    limit = nanoseconds(text)
    if name != "usedat" or sign not in _COMPARED or limit is None:
        return False
    return bool(_COMPARED[sign](age, datetime.timedelta(microseconds=limit / 1000)))


def _time(text: str) -> datetime.datetime | None:
    """Of RFC 3339; None for what is not. A time without a zone is UTC."""
    with contextlib.suppress(ValueError):
        found = datetime.datetime.fromisoformat(text) if text else None
        if found is not None:
            return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
    return None


def expired(labels: Labels, now: datetime.datetime) -> bool:
    """Whether an object's own time is over. An unreadable time never is."""
    end = _time(labels.get(EXPIRE, ""))
    return end is not None and end <= now


def kept(facts: Facts) -> set[Node]:
    """All that stays."""
    back: dict[Node, list[Node]] = {}
    for node, labels in facts.labels.items():
        for other in _named(labels, _BACK):
            back.setdefault(other, []).append(node)
        if node[0] in ("images", "content"):
            back.setdefault(node, []).extend(_conditional(labels, facts))
    roots = [node for node, labels in facts.labels.items() if _is_root(node, labels, facts.now)]
    flat: list[Node] = []
    for labels, held in facts.leases:
        if not expired(labels, facts.now):
            (flat if FLAT in labels else roots).extend(held)

    def all_of(node: Node) -> Iterator[Node]:
        yield from _below(facts, node)
        yield from references(facts.labels[node])
        yield from back.get(node, ())

    return _reached(facts, roots, all_of) | _reached(facts, flat, lambda node: _below(facts, node))


def _below(facts: Facts, node: Node) -> Iterator[Node]:
    if node in facts.below:
        yield facts.below[node]


def _reached(facts: Facts, roots: Sequence[Node], edges: Callable[[Node], Iterator[Node]]) -> set[Node]:
    found: set[Node] = set()
    todo = list(roots)
    while todo:
        node = todo.pop()
        if node in facts.labels and node not in found:
            found.add(node)
            todo += edges(node)
    return found


def _is_root(node: Node, labels: Labels, now: datetime.datetime) -> bool:
    kind, _name = node
    if kind == "containers":
        return True
    if kind == "images":
        return not expired(labels, now)
    return ROOT in labels or (EXPIRE in labels and not expired(labels, now))
