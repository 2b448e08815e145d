"""The benchmark's table, medians, picture and turns, without an engine."""

from __future__ import annotations

import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from bench import engine_bench, engines, picture, report
from bench.cases import Figures
from bench.engines import Engine

from hakobune.testing import peers

FOUND = {
    "none": {
        "dockerd": {"create": 10.0, "start": 200.0, "run": 200.0, "rm": 5.0},
        "hakobune": {"create": 2.0, "start": 20.0, "run": 25.0, "rm": 5.0},
    },
    "exec": {"dockerd": {"exec": 50.0}},
}


def test_ours_come_first_with_their_ratio_to_each_peer() -> None:
    head, *lines = report.table(FOUND).splitlines()
    assert head.split() == ["hakobune", "dockerd", "ours/dockerd", "aim"]
    run = next(line for line in lines if line.startswith("no network: create+start+wait"))
    assert run.split()[4:7] == ["25.0", "200.0", "0.12"]


def test_a_figure_that_one_engine_has_not_is_a_dash() -> None:
    line = next(line for line in report.table(FOUND).splitlines() if line.startswith("exec"))
    assert line.split()[2:5] == ["–", "50.0", "–"]


def test_peers_alone_have_no_ratios() -> None:
    alone = {"exec": {"dockerd": {"exec": 50.0}}}
    assert report.table(alone).splitlines()[0].split() == ["dockerd"]


def test_medians_of_each_figure() -> None:
    assert engine_bench.medians([{"a": 1.0}, {"a": 9.0}, {"a": 2.0}]) == {"a": 2.0}


class Recorder:
    """A case that tells in which order it was asked; fails in one round if told to."""

    def __init__(self, order: list[str], name: str, fails_at: int) -> None:
        self.order, self.name, self.left = order, name, fails_at

    def once(self) -> Figures:
        self.order.append(self.name)
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("no more")
        return {"x": float(len(self.order))}

    def close(self) -> None:
        self.order.append(f"close {self.name}")


def _engine(name: str) -> Engine:
    return Engine(name, "", "1", set)


def test_rounds_begin_with_another_engine_each_time() -> None:
    order: list[str] = []
    running = [_engine("a"), _engine("b")]
    found = engine_bench.take_turns(running, "case", lambda engine: Recorder(order, engine.name, 0), 2, 1)
    assert order == ["a", "b", "b", "a", "a", "b", "close a", "close b"]
    assert found == {"a": {"x": 4.5}, "b": {"x": 4.5}}


def test_an_engine_that_fails_a_case_leaves_it_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []
    running = [_engine("a"), _engine("b")]
    found = engine_bench.take_turns(
        running, "case", lambda engine: Recorder(order, engine.name, 2 if engine.name == "a" else 0), 3, 0
    )
    assert list(found) == ["b"]
    assert order.count("a") == 2
    assert "a: case: RuntimeError: no more" in capsys.readouterr().err


def test_the_picture_is_well_formed_and_escapes() -> None:
    text = picture.svg("<title>", "a & b", {"x": "x 1"}, [("case", {"x": 3.0})])
    root = xml.etree.ElementTree.fromstring(text)
    words = [node.text for node in root.iter() if node.tag.endswith("text")]
    assert "<title>" in words
    assert "3.0" in words


def test_a_peer_that_is_not_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.shutil, "which", lambda *_words, **_more: None)
    here, missing = engines.installed()
    assert here == ["hakobune"]
    assert [line.partition(":")[0] for line in missing] == ["dockerd", "podman"]
    assert all(line.endswith(", left out") and "\n" not in line for line in missing)
