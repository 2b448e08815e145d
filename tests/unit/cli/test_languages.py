"""Flags, templates, sizes, times, keys, mounts and ports: the small languages of the command line."""

from __future__ import annotations

import time

import pytest

from hakobune.cli.columns import align
from hakobune.cli.containers.listing import ports
from hakobune.cli.failure import Failure
from hakobune.cli.flags import BadFlags, Parser, read_table
from hakobune.cli.template import Template
from hakobune.cli.terminal import DetachKeys, parse_keys
from hakobune.cli.units import human_duration, human_size, parse_bytes, parse_duration, parse_rfc3339
from hakobune.cli.verbs import GROUPS, TOP, find

TABLE = read_table(
    """
-d, --detach        Switch
-i, --interactive   Switch
-t, --tty           Switch
-e, --env list      Repeated
-p, --publish list  Repeated
    --name string   Text
    --cpus decimal  Number
    --sig-proxy     Switch that is on
"""
)


def test_flags_in_all_spellings() -> None:
    words = [
        "-dit",
        "-eA=b",
        "-e",
        "C=d=e",
        "-p80:80",
        "-p=1:1",
        "--name=x",
        "--name",
        "y",
        "--sig-proxy=false",
    ]
    values, rest = Parser(TABLE, interspersed=False).parse([*words, "img", "-d", "--name", "z"])
    assert rest == ["img", "-d", "--name", "z"]
    assert values.on("detach")
    assert values.on("tty")
    assert not values.on("sig-proxy", True)
    assert values.many("env") == ["A=b", "C=d=e"]
    assert values.many("publish") == ["80:80", "1:1"]
    assert values.text("name") == "y"


def test_flags_after_arguments_and_the_double_dash() -> None:
    values, rest = Parser(TABLE).parse(["a", "-d", "-", "--", "-i", "b"])
    assert rest == ["a", "-", "-i", "b"]
    assert values.on("detach")
    assert not values.on("interactive")


@pytest.mark.parametrize(
    "words", [["--nope"], ["-x"], ["--name"], ["-e"], ["--cpus", "x"], ["-d=maybe"], ["-tx"]]
)
def test_bad_flags(words: list[str]) -> None:
    with pytest.raises(BadFlags) as caught:
        Parser(TABLE).parse(words)
    assert caught.value.code == 125


def test_every_verb_loads_and_explains_itself() -> None:
    lines = [[group, verb] for group, (_, table) in GROUPS.items() for verb in table]
    for line in [*lines, *([verb] for verb in TOP), ["inspect"], ["version"]]:
        command, _, _ = find(line)
        assert command is not None, line
        page = command.help()
        assert page.startswith("Usage:  hako ")
        names = [flag.name for flag in command.table()]
        shorts = [flag.short for flag in command.table() if flag.short]
        assert len(names) == len(set(names)), line
        assert len(shorts) == len(set(shorts)), line
        assert all(len(text) <= 100 for text in page.splitlines()), line


DATA = {"A": {"B": [1, 2], "C": None, "D": True}, "Name": "x", "M": {"k": "v", "a": "b"}}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain", "plain"),
        ("{{.Name}}-{{.A.D}}-{{.A.C}}", "x-true-<nil>"),
        ("{{json .A}}", '{"B":[1,2],"C":null,"D":true}'),
        ("{{range .A.B}}<{{.}}>{{end}}", "<1><2>"),
        ("{{range $i, $e := .A.B}}{{$i}}={{$e}},{{end}}", "0=1,1=2,"),
        ("{{range $k, $v := .M}}{{$k}}{{$v}}{{end}}", "abkv"),
        ("{{range .A.C}}x{{else}}none{{end}}", "none"),
        ("{{if .A.C}}a{{else if .A.D}}b{{else}}c{{end}}", "b"),
        ("{{with .A}}{{.D}}{{end}} {{$.Name}}", "true x"),
        ("{{ $x := len .A.B }}{{$x}}", "2"),
        ('{{index .M "k"}}{{index .A.B 1}}', "v2"),
        ("{{(index .A.B 0)}} {{if and .A.D (not .A.C)}}y{{end}}", "1 y"),
        ('{{printf "%s|%5d|%-3s|%q" .Name 7 "z" "q"}}', 'x|    7|z  |"q"'),
        ("a {{- .Name -}} b", "axb"),
        ("{{/* nothing */}}{{.Name | upper}}", "X"),
        ('{{"}}"}}{{`raw`}}', "}}raw"),
        ("{{.M}} {{.A.B}}", "map[a:b k:v] [1 2]"),
        ("{{.Nope}}", "<no value>"),
        ('{{eq .Name "y" "x"}}{{ne 1 2}}{{gt 3 2}}', "truetruetrue"),
        ('{{join (split "a,b" ",") "+"}}', "a+b"),
    ],
)
def test_templates(text: str, wanted: str) -> None:
    assert Template(text).render(DATA) == wanted


@pytest.mark.parametrize(
    "text",
    ["{{", "{{.A", "{{if .A}}", "{{end}}", "{{nope}}", "{{.Name.X}}", "{{index .A.B 9}}", "{{range .A.D}}{{end}}",
     '{{"a}}', "{{(.A}}", "{{}}", "{{$y}}"],
)  # fmt: skip
def test_bad_templates_are_failures(text: str) -> None:
    with pytest.raises(Failure):
        Template(text).render(DATA)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512m", 512 << 20),
        ("1.5g", 3 << 29),
        ("64MiB", 64 << 20),
        ("10kb", 10240),
        ("7B", 7),
        ("1 G", 1 << 30),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


def test_sizes_for_people() -> None:
    assert [human_size(n, digits=3) for n in (0, 999, 1000, 72_812_345, 1_500_000_000)] == [
        "0B", "999B", "1kB", "72.8MB", "1.5GB",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"), (150, "2 minutes"),
     (3600, "About an hour"), (5400, "2 hours"), (86400, "24 hours"), (86400 * 3, "3 days"), (86400 * 15, "2 weeks"),
     (86400 * 90, "3 months"), (86400 * 800, "2 years")],
)  # fmt: skip
def test_durations_for_people(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_durations_and_dates() -> None:
    assert parse_duration("1h30m") == 5400 * 10**9
    assert parse_duration("-1.5s") == -1_500_000_000
    assert parse_rfc3339("2026-11-24T07:14:38.25Z") == (1795504478, 250_000_000)
    assert parse_rfc3339("2026-11-24T09:14:38+02:00") == (1795504478, 0)
    local = time.mktime((2026, 11, 24, 0, 0, 0, 0, 0, -1))
    assert parse_rfc3339("2026-11-24") == (int(local), 0)


def test_detach_keys() -> None:
    assert parse_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert parse_keys("a,ctrl-[,ctrl-@") == b"a\x1b\x00"
    with pytest.raises(Failure):
        parse_keys("ctrl-pp")
    keys = DetachKeys(b"\x10\x11")
    assert keys.feed(b"ab\x10") == (b"ab", False)
    assert keys.feed(b"c") == (b"\x10c", False)
    assert keys.feed(b"\x10\x10") == (b"\x10", False)
    assert keys.feed(b"\x11") == (b"", True)


def test_columns_are_three_apart_and_ten_wide() -> None:
    assert align([["A", "B"], ["x" * 12, "y"]]) == ["A              B", "xxxxxxxxxxxx   y"]
    assert align([["A", "B"]]) == ["A         B"]
    assert align([]) == []


def test_ports_for_people() -> None:
    one = [{"IP": "0.0.0.0", "PrivatePort": n, "PublicPort": n, "Type": "tcp"} for n in (80, 81, 90)]
    assert ports(one) == "0.0.0.0:80-81->80-81/tcp, 0.0.0.0:90->90/tcp"
