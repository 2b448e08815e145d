"""Instructions of an import's `changes`."""

from __future__ import annotations

from typing import Any

import pytest

from hakobune.engine.images import changes
from hakobune.errors import InvalidArgument

SECOND = 10**9


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ('CMD ["a", "b c"]', {"Cmd": ["a", "b c"]}),
        ("cmd echo $HOME", {"Cmd": ["/bin/sh", "-c", "echo $HOME"]}),
        ('CMD ["a", 1]', {"Cmd": ["/bin/sh", "-c", '["a", 1]']}),
        ("CMD []", {"Cmd": []}),
        ('ENTRYPOINT ["/init"]', {"Entrypoint": ["/init"], "Cmd": None}),
        ('CMD ["a"]\nENTRYPOINT ["/init"]', {"Entrypoint": ["/init"], "Cmd": ["a"]}),
        ('ENV A=1 B="two words" C=\'$A\' D=a\\ b', {"Env": ["A=1", "B=two words", "C=$A", "D=a b"]}),
        ("ENV PATH /bin:/sbin and more", {"Env": ["PATH=/bin:/sbin and more"]}),
        ("ENV A=1\nENV B=${A}2 C=${X:-no} D=${A:+yes} A=3", {"Env": ["A=3", "B=12", "C=no", "D=yes"]}),
        ("LABEL a=b \\\n  c.d=\"e f\"", {"Labels": {"a": "b", "c.d": "e f"}}),
        ("EXPOSE 80 53/UDP 90-92", {"ExposedPorts": {f"{one}": {} for one in ("80/tcp", "53/udp", "90/tcp", "91/tcp", "92/tcp")}}),
        ('VOLUME /a /b\nVOLUME ["/c d"]', {"Volumes": {"/a": {}, "/b": {}, "/c d": {}}}),
        ("USER 1000:1000", {"User": "1000:1000"}),
        ("WORKDIR /a\nWORKDIR b/../c", {"WorkingDir": "/a/c"}),
        ("STOPSIGNAL SIGRTMIN+3", {"StopSignal": "SIGRTMIN+3"}),
        ("ONBUILD RUN x", {"OnBuild": ["RUN x"]}),
        ("# nothing\n\nUSER a", {"User": "a"}),
        ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["NONE"]}}),
        (
            "HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD curl x",
            {"Healthcheck": {"Test": ["CMD-SHELL", "curl x"], "Interval": 90 * SECOND, "Timeout": SECOND // 2, "Retries": 3}},
        ),
        ('HEALTHCHECK CMD ["a"]', {"Healthcheck": {"Test": ["CMD", "a"]}}),
        ("", {}),
    ],
)  # fmt: skip
def test_what_becomes_of_it(text: str, config: dict[str, Any]) -> None:
    assert changes.apply([text]) == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("RUN x", "run is not a valid change command"),
        ("FROM x", "from is not a valid change command"),
        ("CMD", "CMD requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=1 B", "can't find = in 'B'"),
        ("ENV =1", "names can not be blank"),
        ('LABEL a="b', "matching"),
        ("EXPOSE http", "invalid port: http"),
        ("EXPOSE 70000", "invalid port"),
        ("EXPOSE 20-10", "invalid port"),
        ('VOLUME [""]', "VOLUME specified can not be an empty string"),
        ("USER a b", "exactly one argument"),
        ("STOPSIGNAL 99", "invalid signal: 99"),
        ("ONBUILD ONBUILD RUN x", "Chaining"),
        ("ONBUILD FROM x", "FROM isn't allowed"),
        ("HEALTHCHECK x", 'Unknown type "X"'),
        ("HEALTHCHECK CMD", "Missing command"),
        ("HEALTHCHECK --interval=soon CMD a", 'invalid duration "soon"'),
        ("HEALTHCHECK --interval=1us CMD a", "less than 1ms"),
        ("HEALTHCHECK --retries=x CMD a", "whole number"),
        ("HEALTHCHECK --foo=x CMD a", "unknown flag: foo"),
        ("HEALTHCHECK --foo CMD a", "unknown flag: foo"),
        ("HEALTHCHECK NONE x", "takes no arguments"),
        ("[" * 5000, "valid change command"),
    ],
)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=r".") as failure:
        changes.apply([text])
    assert words in str(failure.value)


def test_brackets_that_are_no_json() -> None:
    deep = "[" * 100_000
    assert changes.apply([f"CMD {deep}"])["Cmd"][-1] == deep
