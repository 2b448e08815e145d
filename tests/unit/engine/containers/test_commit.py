"""How a committed image is started: the client's word, then the container's, as Docker merges the two."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hakobune.engine.containers.commit import merged, wanted
from hakobune.errors import InvalidArgument

CONTAINER: dict[str, Any] = {
    "User": "u", "Env": ["A=1", "B=2"], "Cmd": ["c"], "Entrypoint": ["e"], "Labels": {"l": "1", "m": "1"},
    "ExposedPorts": {"1/tcp": {}}, "Volumes": {"/v": {}}, "WorkingDir": "/w", "StopSignal": "SIGINT",
    "Healthcheck": {"Test": ["CMD", "x"], "Retries": 3}, "Hostname": "h", "Tty": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        ([], {}),
        (["ENV B=3 C=$A"], {"Env": ["A=1", "B=3", "C=1"]}),
        (["CMD x"], {"Cmd": ["/bin/sh", "-c", "x"]}),
        (['ENTRYPOINT ["f"]'], {"Entrypoint": ["f"], "Cmd": None}),
        (["ENTRYPOINT []"], {"Entrypoint": None}),
        (["CMD x", 'ENTRYPOINT ["f"]'], {"Entrypoint": ["f"], "Cmd": ["/bin/sh", "-c", "x"]}),
        (["LABEL m=2 n=3"], {"Labels": {"l": "1", "m": "2", "n": "3"}}),
        (["EXPOSE 2"], {"ExposedPorts": {"1/tcp": {}, "2/tcp": {}}}),
        (["VOLUME /x"], {"Volumes": {"/v": {}, "/x": {}}}),
        (["USER 5", "WORKDIR d", "STOPSIGNAL 9"], {"User": "5", "WorkingDir": "/w/d", "StopSignal": "9"}),
        (["HEALTHCHECK --interval=1s CMD y"],
         {"Healthcheck": {"Test": ["CMD-SHELL", "y"], "Interval": 10**9, "Retries": 3}}),
        (["HEALTHCHECK NONE"], {"Healthcheck": {"Test": ["NONE"], "Retries": 3}}),
        (["ONBUILD RUN x"], {"OnBuild": ["RUN x"]}),
    ],
)  # fmt: skip
def test_the_merge(instructions: list[str], expected: dict[str, Any]) -> None:
    before = copy.deepcopy(CONTAINER)
    _, config = wanted(CONTAINER, "", "", instructions, None)
    assert before == CONTAINER, "the container's own is left alone"
    kept = {key: value for key, value in CONTAINER.items() if key not in ("Hostname", "Tty")}
    assert merged(config, CONTAINER) == {key: value for key, value in {**kept, **expected}.items() if value}


def test_a_configuration_in_the_request_is_where_the_instructions_begin() -> None:
    _, config = wanted(CONTAINER, "", "", ["ENV C=3"], {"Env": ["A=9"], "Cmd": ["y"], "Hostname": "no"})
    found = merged(config, CONTAINER)
    assert found["Env"] == ["A=9", "C=3", "B=2"]
    assert found["Cmd"] == ["y"]
    assert "Hostname" not in found


@pytest.mark.parametrize(
    ("repository", "tag", "instructions", "words"),
    [
        ("a:b", "", [], "unexpected repository name: a:b"),
        ("UPPER", "", [], "lowercase"),
        ("a", "b c", [], "tag"),
        ("", "", ["RUN x"], "run is not a valid change command"),
        ("", "", ["SHELL sh"], "shell is not a valid change command"),
    ],
)
def test_what_is_refused(repository: str, tag: str, instructions: list[str], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        wanted({}, repository, tag, instructions, None)


def test_names() -> None:
    assert str(wanted({}, "a", "", [], None)[0]) == "docker.io/library/a:latest"
    assert str(wanted({}, "r.io/a", "t", [], None)[0]) == "r.io/a:t"
