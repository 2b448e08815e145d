"""Command lines in runc's manner."""

from __future__ import annotations

import pytest

from hakobune.errors import InvalidArgument
from hakobune.oci.verbs.arguments import MANY, SWITCH, VALUE, parse

FLAGS = {"root": VALUE, "debug": SWITCH, "env": MANY, "size": VALUE}
SHORT = {"e": "env", "d": "debug"}


def test_every_form() -> None:
    found = parse(
        ["--root=/a", "-root", "/b", "-d", "-e", "A=1", "--env", "B=2", "id", "--size", "3"], FLAGS, SHORT
    )
    assert found.text("root") == "/b"
    assert found.on("debug")
    assert found.many("env") == ["A=1", "B=2"]
    assert found.operands == ["id", "--size", "3"]
    assert found.number("size") is None
    assert found.operand(0, "container ID") == "id"


def test_interspersed_and_the_double_dash() -> None:
    found = parse(["id", "--size", "3", "--", "--root", "x"], FLAGS, SHORT, interspersed=True)
    assert (found.operands, found.number("size"), found.text("root")) == (["id", "--root", "x"], 3, "")


def test_a_switch_can_be_off() -> None:
    assert not parse(["--debug=false"], FLAGS, SHORT).on("debug")


@pytest.mark.parametrize(
    ("words", "text"), [(["--nope"], "not defined: --nope"), (["--root"], "needs an argument: --root")]
)
def test_wrong_lines(words: list[str], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        parse(words, FLAGS, SHORT)


def test_wrong_values() -> None:
    found = parse(["--size", "x"], FLAGS, SHORT)
    with pytest.raises(InvalidArgument, match="--size: 'x' is not a number"):
        found.number("size")
    with pytest.raises(InvalidArgument, match="container ID is required"):
        found.operand(0, "container ID")
