"""The `filters` query parameter: {"label": ["a", "b=c"]}, or {"label": {"a": true}} as old clients write it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from hakobune.engine.schema import times
from hakobune.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Filters:
    """Wanted values by filter name; several values of one name are alternatives unless said otherwise."""

    wanted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.wanted)

    def __contains__(self, name: str) -> bool:
        return name in self.wanted

    def get(self, name: str) -> tuple[str, ...]:
        """The values given for a filter; empty when it was not given."""
        return self.wanted.get(name, ())

    def check(self, known: Collection[str]) -> None:
        """Raise InvalidArgument for a filter that the request cannot use."""
        for name in self.wanted:
            if name not in known:
                raise InvalidArgument(f"invalid filter '{name}'")

    def any_of(self, name: str, values: Iterable[str]) -> bool:
        """Whether the filter is absent, or one of its values is among `values`."""
        wanted = self.wanted.get(name)
        return not wanted or not set(wanted).isdisjoint(values)

    def labels(self, labels: Mapping[str, str], *, name: str = "label") -> bool:
        """Whether all wanted labels (`key` or `key=value`) are there."""
        return all(_has_label(labels, wanted) for wanted in self.get(name))

    def pruned(self, labels: Mapping[str, str], created: int) -> bool:
        """Whether a prune means something with these labels, made at `created` (ns): `label`, `label!`, `until`.

        Raises InvalidArgument for an `until` that is none.
        """
        if any(created >= times.bound(text) for text in self.get("until")):
            return False
        unwanted = any(_has_label(labels, wanted) for wanted in self.get("label!"))
        return self.labels(labels) and not unwanted

    def bool(self, name: str, default: bool) -> bool:
        """A filter that is true or false. Raises InvalidArgument for anything else."""
        values = self.get(name)
        if not values:
            return default
        found = {_TRUTH.get(value.lower()) for value in values}
        if None in found or len(found) != 1:
            raise InvalidArgument(f"invalid filter '{name}={list(values)}'")
        return bool(found.pop())


_TRUTH = {"1": True, "true": True, "0": False, "false": False}


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    key, given, value = wanted.partition("=")
    return key in labels and (not given or labels[key] == value)


def parse(text: str | None) -> Filters:
    """Read the parameter's text. Raises InvalidArgument."""
    if not text:
        return Filters()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise InvalidArgument(f"invalid filter: {err}") from err
    if not isinstance(document, dict):
        raise InvalidArgument("invalid filter: an object is needed")
    return Filters({name: _values(name, given) for name, given in document.items()})


def _values(name: str, given: object) -> tuple[str, ...]:
    if isinstance(given, dict):
        given = [value for value, chosen in given.items() if chosen]
    if not isinstance(given, list) or not all(isinstance(value, str) for value in given):
        raise InvalidArgument(f"invalid filter '{name}': a list of strings is needed")
    return tuple(given)
