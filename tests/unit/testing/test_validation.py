"""What is read from the answers of OCI's validation programs."""

from __future__ import annotations

import pytest

from hakobune.testing.validation import Outcome, judge


@pytest.mark.parametrize(
    ("output", "errors", "status", "wanted"),
    [
        ("TAP version 13\nok 1 - a\nok 2 # SKIP b\n1..2\n", "", 0, Outcome(1, "")),
        ("TAP version 13\n1..0\n", "failed to create the container\n", 0, Outcome(0, "")),
        ('TAP version 13\n  ---\n  {\n    "error": "MUST be\\nRefer to"\n  }\n1..0\n', "", 0, Outcome(0, "MUST be")),
        ("ok 1 - a\nnot ok 2 - b\n1..2\n", "failed to x\nr: reason\nexit status 1\n", 0, Outcome(1, "b: r: reason")),
        ("not ok 1 - exit status 1\n", 'time="now" level=error msg="reason"\n', 1, Outcome(0, "reason")),
        ("", "exit status 1\n", 1, Outcome(0, "exit status 1")),
    ],
)  # fmt: skip
def test_what_is_read_from_their_answers(output: str, errors: str, status: int, wanted: Outcome) -> None:
    assert judge(output, errors, status) == wanted
