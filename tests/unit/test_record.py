"""The light `dataclass` does what the standard one does, for what records are made of here."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys

import pytest

from hakobune import record


@record.dataclass(frozen=True, slots=True)
class Point:
    """Two numbers."""

    x: int
    y: int = 2
    tags: list[str] = record.field(default_factory=list)

    @property
    def double(self) -> int:
        return 2 * self.x


@dataclasses.dataclass(frozen=True, slots=True)
class Standard:
    """As Point."""

    x: int
    y: int = 2
    tags: list[str] = dataclasses.field(default_factory=list)


@record.dataclass(slots=True)
class Open:
    """Can be changed."""

    x: int = 1


def test_what_is_made_equals_the_standard_one() -> None:
    for args, given in (((1,), {}), ((1, 3), {}), ((), {"x": 1, "tags": ["a"]}), ((1, 2, ["b"]), {})):
        ours, theirs = Point(*args, **given), Standard(*args, **given)  # type: ignore[arg-type]
        assert record.astuple(ours) == dataclasses.astuple(theirs)
        assert record.asdict(ours) == dataclasses.asdict(theirs)
        assert repr(ours) == repr(theirs).replace("Standard", "Point")
    assert Point(1) == Point(1) != Point(2)
    assert Point(1) != Standard(1)
    assert hash(Point(1, 2, ())) == hash(Point(1, 2, ()))  # type: ignore[arg-type]
    assert Point.__match_args__ == Standard.__match_args__
    assert Point(1).tags is not Point(1).tags
    assert Point(4).double == 8


@pytest.mark.parametrize(
    ("args", "given", "text"),
    [
        ((), {}, "missing required argument: 'x'"),
        ((1, 2, [], 4), {}, "takes 3 arguments but 4 were given"),
        ((1,), {"x": 2}, "or twice: x"),
        ((1,), {"z": 2}, "does not take, or twice: z"),
    ],
)
def test_wrong_arguments(args: tuple[int, ...], given: dict[str, int], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        Point(*args, **given)  # type: ignore[arg-type]


def test_what_can_be_changed() -> None:
    point, other = Point(1), Open()
    with pytest.raises(AttributeError, match="'x'"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del point.x
    with pytest.raises(AttributeError):
        other.z = 1  # type: ignore[attr-defined]
    other.x = 5
    assert other == Open(5)
    with pytest.raises(TypeError):
        hash(other)


def test_copies() -> None:
    point = Point(1, tags=["a"])
    assert record.replace(point, y=7) == Point(1, 7, ["a"])
    assert copy.deepcopy(point) == point == pickle.loads(pickle.dumps(point))


def test_the_functions_of_the_standard_module_take_them() -> None:
    inner = Point(1, tags=["a"])
    assert dataclasses.asdict(Standard(1, 2, [inner]))["tags"] == [{"x": 1, "y": 2, "tags": ["a"]}]  # type: ignore[list-item]
    assert dataclasses.replace(inner, y=5) == Point(1, 5, ["a"])
    assert dataclasses.astuple(inner) == (1, 2, ["a"])


def test_it_is_cheap() -> None:
    """None of what makes the standard one dear is loaded by it."""
    code = "import sys; from hakobune import record; print(sorted({'dataclasses', 'inspect', 'typing', 're'} & set(sys.modules)))"
    path = f"import sys; sys.path.append({record.__file__.rpartition('/hakobune/')[0]!r}); "
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", path + code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
