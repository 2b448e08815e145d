"""Beside the docker CLI, where it is installed: the same request bodies and the same tables, word for word."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine, Hako

NOW = int(time.time())
CONTAINERS = [
    {
        "Id": "a1b2c3d4e5f60718293a4b5c6d7e8f90" * 2,
        "Names": ["/web", "/other/alias"],
        "Image": "nginx:1.25",
        "ImageID": "sha256:" + "12" * 32,
        "Command": 'nginx -g "daemon off;" --and --more',
        "Created": NOW - 7300,
        "Ports": [
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"PrivatePort": 443, "Type": "tcp"},
            {"PrivatePort": 444, "Type": "tcp"},
            {"PrivatePort": 53, "Type": "udp"},
        ],
        "SizeRw": 12_345,
        "SizeRootFs": 72_812_345,
        "Labels": {"b": "2", "a": "1"},
        "State": "running",
        "Status": "Up 2 hours",
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {"bridge": {"NetworkID": "n"}}},
        "Mounts": [
            {"Type": "volume", "Name": "data", "Driver": "local", "Destination": "/d", "Source": "/v"},
            {"Type": "bind", "Source": "/a/very/long/host/path", "Destination": "/e"},
        ],
    },
    {
        "Id": "ff" * 32,
        "Names": ["/quiet"],
        "Image": "sha256:" + "ab" * 32,
        "ImageID": "sha256:" + "ab" * 32,
        "Command": "sh",
        "Created": NOW - 3600 * 4,
        "Ports": [],
        "Labels": {},
        "State": "exited",
        "Status": "Exited (0) 5 seconds ago",
        "HostConfig": {"NetworkMode": "none"},
        "NetworkSettings": {"Networks": {"none": {}}},
        "Mounts": [],
    },
]
IMAGES = [
    {
        "Id": "sha256:" + "12" * 32,
        "RepoTags": ["nginx:1.25", "nginx:latest", "localhost:5000/a/b:v1"],
        "RepoDigests": ["nginx@sha256:" + "99" * 32],
        "Created": NOW - 86400 * 20,
        "Size": 187_654_321,
        "SharedSize": -1,
        "Containers": -1,
        "Labels": {"a": "b"},
    },
    {
        "Id": "sha256:" + "34" * 32,
        "RepoTags": [],
        "RepoDigests": [],
        "Created": NOW - 86400 * 3,
        "Size": 999,
        "SharedSize": -1,
        "Containers": -1,
    },
]
VOLUMES = {
    "Volumes": [
        {
            "Name": "zeta",
            "Driver": "local",
            "Mountpoint": "/v/zeta/_data",
            "Scope": "local",
            "Labels": {"k": "v"},
        },
        {
            "Name": "alpha",
            "Driver": "local",
            "Mountpoint": "/v/alpha/_data",
            "Scope": "local",
            "Labels": None,
        },
    ],
    "Warnings": None,
}
NETWORKS = [
    {"Id": "cd" * 32, "Name": "bridge", "Driver": "bridge", "Scope": "local", "EnableIPv6": False,
     "EnableIPv4": True, "Internal": False, "Labels": {}, "Created": "2026-11-24T07:14:38.123456789Z"},
    {"Id": "ef" * 32, "Name": "app", "Driver": "bridge", "Scope": "local", "EnableIPv6": False,
     "EnableIPv4": True, "Internal": True, "Labels": {"x": "y"}, "Created": "2026-11-24T07:14:38Z"},
]  # fmt: skip
HISTORY = [
    {"Id": "sha256:" + "12" * 32, "Created": NOW - 3600, "CreatedBy": "CMD [\"nginx\" \"-g\" \"daemon off;\" \"--long\"]",
     "Size": 0, "Comment": "made", "Tags": ["nginx:1.25"]},
    {"Id": "<missing>", "Created": NOW - 86400 * 400, "CreatedBy": "ADD file", "Size": 123456, "Comment": ""},
]  # fmt: skip
INSPECT = {
    "Id": "a1" * 32,
    "Name": "/web",
    "Created": "2026-11-24T07:14:38.123456789Z",
    "State": {"Status": "running", "Running": True, "Pid": 4711, "ExitCode": 0},
    "Config": {
        "Env": ["A=b", "C=d"],
        "Labels": {"a": "1", "b": "2"},
        "Cmd": None,
        "Tty": False,
        "Image": "i",
    },
    "HostConfig": {"Memory": 0, "PortBindings": {}},
    "NetworkSettings": {
        "Networks": {"bridge": {"IPAddress": "172.17.0.2"}, "app": {"IPAddress": "172.18.0.2"}},
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": None},
    },
}
EVENTS = [
    {"status": "start", "id": "x" * 64, "Type": "container", "Action": "start", "scope": "local", "time": 1764000000,
     "timeNano": 1764000000123456789, "Actor": {"ID": "x" * 64, "Attributes": {"name": "n", "image": "i"}}},
    {"Type": "network", "Action": "connect", "scope": "local", "time": 1764000001, "timeNano": 1764000001000000000,
     "Actor": {"ID": "net", "Attributes": {}}},
]  # fmt: skip
DF = {
    "LayersSize": 187_655_320,
    "Images": [
        {**IMAGES[0], "Containers": 1, "SharedSize": 0},
        {**IMAGES[1], "Containers": 0, "SharedSize": 0},
    ],
    "Containers": CONTAINERS,
    "Volumes": [{**VOLUMES["Volumes"][0], "UsageData": {"Size": 1000, "RefCount": 0}}],  # type: ignore[index]
    "BuildCache": [],
}


@pytest.fixture
def docker(peer: Callable[[str], Path], fake: FakeEngine, tmp_path: Path) -> Hako:
    """`docker …` against the same engine, with no configuration of the user's."""
    program = peer("docker")

    def run(*words: str, data: str = "") -> subprocess.CompletedProcess[str]:
        line = [str(program), "--config", str(tmp_path), "-H", fake.host, *words]
        return subprocess.run(line, input=data, capture_output=True, text=True, timeout=20, check=False)

    return run


@pytest.fixture
def filled(fake: FakeEngine) -> FakeEngine:
    """An engine with a few of everything."""
    fake.answer("GET /containers/json", CONTAINERS)
    fake.answer("GET /images/json", IMAGES)
    fake.answer("GET /volumes", VOLUMES)
    fake.answer("GET /networks", NETWORKS)
    fake.answer("GET /images/nginx/history", HISTORY)
    fake.answer("GET /containers/web/json", INSPECT)
    fake.answer(
        "GET /containers/web/top", {"Titles": ["PID", "CMD"], "Processes": [["1", "sh"], ["234", "x y"]]}
    )
    fake.answer("GET /events", "".join(_document(event) for event in EVENTS))
    fake.answer("GET /system/df", DF)
    fake.answer("GET /info", {})
    for kind in ("containers", "images", "networks", "volumes", "volumes/create"):
        fake.answer(f"GET /{kind}/none(/json)?", {"message": f"No such thing: {kind}"}, 404)
    fake.answer(
        "POST /containers/.*/(stop|start|pause|restart|kill)", {"message": "No such container: x"}, 404
    )
    fake.answer("DELETE /containers/web", None, 204)
    fake.answer("DELETE /containers/none", {"message": "No such container: none"}, 404)
    fake.answer("DELETE /images/nginx", [{"Untagged": "nginx:1.25"}, {"Deleted": "sha256:12"}])
    fake.answer("POST /containers/web/wait", {"StatusCode": 3})
    return fake


def _document(event: Any) -> str:
    return json.dumps(event) + "\n"


SAME = [
    ["ps"], ["ps", "-a", "--no-trunc"], ["ps", "-q"], ["ps", "-s"], ["ps", "--format", "{{json .}}"], ["ps", "--format", "json", "--no-trunc"], ["container", "ls", "-aq", "--no-trunc"],
    ["ps", "--format", "{{.Names}} {{.Ports}}"], ["ps", "--format", "table {{.ID}}\\t{{.Status}}"],
    ["ps", "--format", '{{.Label "a"}}|{{.Labels}}|{{.Mounts}}|{{.Networks}}|{{.LocalVolumes}}'],
    ["ps", "--format", 'table {{.Names}}\\t{{.Label "a"}}'], ["ps", "--format", "{{json .Names}}"],
    ["ps", "--format", "{{.CreatedAt}}"], ["ps", "--format", "{{.ID | printf \"%.4s\"}}{{println}}"],
    ["images"], ["images", "-q"], ["images", "--digests"], ["images", "--no-trunc"], ["image", "ls", "nginx"],
    ["images", "--format", "{{json .}}"], ["images", "--format", "table {{.Repository}}\\t{{.Size}}"],
    ["images", "--format", "json"], ["images", "--format", "{{.Repository}}:{{.Tag}} {{.CreatedAt}}"],
    ["volume", "ls"], ["volume", "ls", "-q"], ["volume", "ls", "--format", "{{json .}}"],
    ["network", "ls"], ["network", "ls", "-q"], ["network", "ls", "--no-trunc"],
    ["network", "ls", "--format", "{{json .}}"], ["history", "nginx"], ["history", "--no-trunc", "nginx"],
    ["history", "-H=false", "nginx"], ["history", "-q", "nginx"], ["history", "--format", "{{json .}}", "nginx"],
    ["inspect", "web"], ["inspect", "-f", "{{.State.Pid}} {{.Name}} {{.State.Running}}", "web"],
    ["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", "web"],
    ["inspect", "-f", "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}};{{end}}", "web"],
    ["inspect", "-f", '{{index .Config.Labels "a"}}{{len .Config.Env}}{{join .Config.Env ","}}', "web"],
    ["inspect", "-f", '{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "web"],
    ["inspect", "-f", "{{json .Config.Env}} {{.Config.Labels}} {{.Config.Env}}", "web"],
    ["inspect", "-f", "{{if .State.Running}}yes{{else}}no{{end}}{{with .Config.Cmd}}x{{else}}none{{end}}", "web"],
    ["inspect", "-f", '{{if eq .State.Status "running"}}{{upper .Name | printf "<%s>"}}{{end}}', "web"],
    ["inspect", "-f", "{{- range .Config.Env }}\n{{ . }}\n{{- end }}", "web"],
    ["inspect", "none"], ["inspect", "web", "none"],
    ["inspect", "--type", "container", "none"], ["container", "inspect", "none"], ["image", "inspect", "none"],
    ["volume", "inspect", "none"], ["network", "inspect", "none"],
    ["inspect", "-f", "{{.Nope}}", "web"],
    ["inspect", "-f", "{{.ID", "web"], ["logs", "--since", "5x", "web"], ["events", "--since", "x"],
    ["port", "web"], ["port", "web", "80"], ["port", "web", "80/tcp"], ["port", "web", "99"],
    ["top", "web"], ["events", "--until", "1"], ["events", "--until", "1", "--format", "{{.Action}} {{.Actor.ID}}"],
    ["system", "df"], ["stop", "x"], ["stop", "x", "y"], ["start", "x"], ["rm", "web", "none"], ["rm", "-f", "none"],
    ["rmi", "nginx"], ["wait", "web"], ["kill", "-s", "HUP", "x"],
    ["ps", "--nope"], ["ps", "-zq"], ["ps", "extra"], ["rename", "a"], ["wait"], ["volume", "nope"], ["frobnicate"],
    ["kill", "-s"], ["stop", "--time=a", "x"], ["volume", "rm"], ["network", "connect", "a"], ["--nope"],
]  # fmt: skip


def _plain(text: str) -> str:
    """Ours and theirs differ in their own name and in one verb of a hint only."""
    text = text.replace("hako", "docker").replace("See 'docker", "Run 'docker")
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


@pytest.mark.parametrize("words", SAME, ids=" ".join)
def test_the_same_output(filled: FakeEngine, docker: Hako, command: Hako, words: list[str]) -> None:
    theirs, ours = docker(*words), command(*words)
    if words[0] in ("images", "image"):
        # docker shows the names of one image in no certain order
        assert sorted(ours.stdout.splitlines()) == sorted(theirs.stdout.splitlines())
    else:
        assert _plain(ours.stdout) == _plain(theirs.stdout)
    assert _plain(ours.stderr) == _plain(theirs.stderr)
    assert ours.returncode == theirs.returncode


EMPTY = (None, "", 0, False, [], {}, -1)


def _bare(value: Any) -> Any:
    """Without what is empty: leaving it out and sending a zero mean the same."""
    if isinstance(value, dict):
        pairs = {key: _bare(item) for key, item in value.items()}
        if set(pairs) == {"default"}:
            return {}
        return {key: item for key, item in pairs.items() if item not in EMPTY or "/" in key}
    if value == [0, 0]:
        return []
    return sorted(map(_bare, value), key=str) if isinstance(value, list) else value


CREATE = [
    [], ["sh", "-c", "echo -n hi"], ["-i"], ["-t"], ["-it"], ["-e", "A=b", "-eC=d", "-e", "HOME", "-e", "UNSET_X"],
    ["-w", "/x", "-u", "1:2", "-h", "box", "--domainname", "d", "--entrypoint", "/bin/sh"],
    ["--entrypoint", ""], ["-v", "/a:/b:ro", "-v", "data:/d", "-v", "/anon", "-v", "./rel:/r"],
    ["--mount", "type=bind,src=/a,dst=/b,ro,bind-propagation=rslave", "--mount", "target=/v,source=n,volume-nocopy"],
    ["--mount", "type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1777"],
    ["--mount", "type=volume,src=s,dst=/d,volume-opt=a=b,volume-label=c=d,volume-driver=local"],
    ["--rm", "--read-only", "--privileged", "--init"], ["--network", "none"], ["--network", "host"],
    ["--network", "app", "--network-alias", "w", "--ip", "10.0.0.5"], ["--network", "container:web"],
    ["--network", "name=app,alias=x,ip=10.0.0.6"], ["-p", "8080:80", "-p", "127.0.0.1:53:53/udp", "-p", "90"],
    ["-p", "7000-7002:8000-8002", "--expose", "9000-9001/tcp"], ["-p", "[::1]:80:80"], ["-P"], ["-p", "7000-7002:80"],
    ["--cap-add", "CAP_NET_ADMIN", "--cap-drop", "ALL"], ["-m", "512m", "--cpus", "1.5", "-c", "512", "--pids-limit", "9"],
    ["--memory-swap", "-1", "-m", "1.5g", "--memory-reservation", "10k"], ["--restart", "on-failure:3"],
    ["--restart", "unless-stopped"], ["-l", "a=b", "--label", "c", "--annotation", "x=y"],
    ["--tmpfs", "/run:size=1m", "--tmpfs", "/t"], ["--dns", "1.1.1.1", "--dns-search", "x", "--dns-option", "y"],
    ["--add-host", "a:1.2.3.4", "--add-host", "b=host-gateway"], ["--stop-signal", "USR1", "--stop-timeout", "3"],
    ["--ulimit", "nofile=10:20", "--ulimit", "core=0"], ["--shm-size", "64m"], ["-a", "stdout", "-i"],
    ["--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined"],
    ["--security-opt", "systempaths=unconfined"], ["--device", "/dev/fuse", "--device", "/dev/a:/dev/b:r"],
    ["--log-driver", "json-file", "--log-opt", "max-size=1m"], ["--sysctl", "net.a=1", "--group-add", "g"],
    ["--pid", "host", "--ipc", "private", "--uts", "host", "--userns", "host", "--cgroupns", "host"],
    ["--health-cmd", "true", "--health-interval", "5s", "--health-retries", "2"], ["--no-healthcheck"],
    ["--oom-score-adj", "5", "--oom-kill-disable", "--memory-swappiness", "10"], ["--runtime", "runc"],
    ["--cpuset-cpus", "0", "--cpu-period", "1000", "--cpu-quota", "500"], ["--mac-address", "92:d0:c6:0a:29:33"],
    ["--volumes-from", "x", "--volume-driver", "local", "--link", "a:b", "--cgroup-parent", "/p"],
]  # fmt: skip


@pytest.mark.parametrize("words", CREATE, ids=lambda words: " ".join(words) or "plain")
def test_the_same_request(fake: FakeEngine, docker: Hako, command: Hako, words: list[str]) -> None:
    fake.answer("POST /containers/create", {"Id": "c1", "Warnings": []}, 201)
    line = ["create", "img", *words] if words and words[0] == "sh" else ["create", *words, "img", "cmd"]
    for run in (docker, command):
        done = run(*line)
        assert (done.returncode, done.stdout) == (0, "c1\n"), done.stderr
    theirs, ours = fake.requests("POST", "/containers/create")
    assert _bare(ours.json) == _bare(theirs.json)
    assert ours.query == theirs.query


BAD = [
    ["-m", "x"], ["--cpus", "a"], ["-p", "99999999:80"], ["-v", ":/x"], ["--mount", "type=bind,src=/x"],
    ["--mount", "nonsense=1,target=/x"], ["--ulimit", "x"], ["--ulimit", "nofile=5:3"], ["--ulimit", "bad=1"],
    ["--restart", "on-failure:x"], ["--add-host", "x"], ["--no-healthcheck", "--health-cmd", "x"], ["--pull", "foo"],
    ["--stop-timeout", "x"], ["--health-interval", "5x"], ["-a", "nothing"], ["--label-file", "/nope"],
    ["--env-file", "/nope"], ["--security-opt", "seccomp=/nope"], ["-p", "80:80/xyz"], ["--expose", "a"],
    ["-p", "1.2.3.999:80:80"], ["--name"], ["-e"], ["--rm", "--restart", "always"], ["--read-only=maybe"],
]  # fmt: skip


@pytest.mark.parametrize("words", BAD, ids=" ".join)
def test_the_same_refusal(fake: FakeEngine, docker: Hako, command: Hako, words: list[str]) -> None:
    fake.answer("POST /containers/create", {"Id": "c1", "Warnings": []}, 201)
    line = ["run", *words] if words in (["--name"], ["-e"]) else ["run", *words, "img"]
    theirs, ours = docker(*line), command(*line)
    assert _plain(ours.stderr) == _plain(theirs.stderr)
    assert ours.returncode == theirs.returncode


ASK = [
    ["volume", "create"], ["volume", "create", "v", "--label", "a=b", "-o", "type=tmpfs", "-d", "local"],
    ["volume", "rm", "-f", "v", "w"], ["volume", "prune", "-f"], ["volume", "prune", "-af", "--filter", "label=a=b"],
    ["network", "create", "n"], ["network", "rm", "n"], ["network", "prune", "-f", "--filter", "until=1h"],
    ["network", "create", "--internal", "--subnet", "10.9.0.0/16", "--gateway", "10.9.0.1", "--label", "x=y", "n"],
    ["network", "create", "-d", "bridge", "-o", "com.x=1", "--ip-range", "10.9.1.0/24", "--subnet", "10.9.0.0/16", "n"],
    ["network", "connect", "--ip", "10.9.0.7", "--alias", "w", "n", "c"], ["network", "disconnect", "-f", "n", "c"],
    ["stop", "-t", "3", "c"], ["stop", "-s", "INT", "c"], ["restart", "c"], ["kill", "c"], ["kill", "-s", "HUP", "c"],
    ["pause", "c"], ["unpause", "c"], ["rename", "c", "d"], ["rm", "-fv", "c"], ["rm", "c"], ["wait", "c"],
    ["start", "c"], ["update", "-m", "64m", "--cpus", "2", "--restart", "no", "c"], ["tag", "i", "r/x:1"],
    ["tag", "i:2", "y"], ["rmi", "-f", "i"], ["rmi", "localhost:5000/a/b:v1"], ["image", "prune", "-f"],
    ["image", "prune", "-af"], ["container", "prune", "-f"], ["import", "-", "r:1", "-m", "hi", "-c", "CMD sh"],
    ["import", "-"], ["import", "http://x/y.tar", "r"], ["exec", "-d", "-e", "A=b", "-w", "/x", "-u", "1", "c", "ls", "-l"],
    ["exec", "--privileged", "-d", "-t", "c", "ls"], ["logs", "c"], ["logs", "-ft", "--tail", "5", "c"],
    ["logs", "--since", "2026-01-02T03:04:05Z", "--until", "1795504478.5", "--details", "c"],
    ["events", "--since", "100", "--until", "200", "--filter", "type=container", "-f", "event=die"],
    ["ps", "-a", "-f", "status=exited", "--filter", "label=a=b"], ["ps", "-l"], ["ps", "-n", "3"], ["ps", "-s"],
    ["images", "-a", "-f", "dangling=true"], ["top", "c", "-o", "pid"], ["system", "df"], ["system", "prune", "-f"],
    ["create", "--platform", "linux/amd64", "--name", "x", "i"], ]  # fmt: skip


def _open_engine(fake: FakeEngine) -> None:
    """Everything succeeds, with just enough in the answers."""
    made = {"Id": "c", "Name": "v", "StatusCode": 0, "SpaceReclaimed": 0}
    fake.answer("GET /containers/c/json", {"Id": "c", "Name": "/c", "Config": {"Tty": True}, "State": {}})
    fake.answer("GET /containers/c/top", {"Titles": ["PID"], "Processes": []})
    fake.answer("GET /containers/c/logs", "")
    fake.answer("GET /(containers|images)/json", [])
    fake.answer("GET /(info|system/df)", {})
    fake.answer("GET /events", "")
    fake.answer("DELETE /images/.*", [])
    fake.answer("DELETE /.*", None, 204)
    fake.answer("POST /images/create", "")
    fake.answer("POST /images/.*/tag", None, 201)
    fake.answer("POST /exec/c/start", None)
    fake.answer("POST /networks/n/(dis)?connect", None)
    fake.answer("POST /containers/c/(start|stop|restart|kill|pause|unpause|rename)", None, 204)
    fake.answer("POST /.*", made, 201)


def _asked(seen: list[Any]) -> list[Any]:
    """What a client asked for, without its small talk and its zeros."""
    talk = ("/_ping", "/build/prune", "/networks/n", "/info", "/containers/c/json", "/exec/c/json")
    asked = []
    for request in seen:
        if (request.path in talk and request.method in ("GET", "HEAD")) or request.path == "/build/prune":
            continue
        query: dict[str, Any] = {
            key: json.loads(value)
            if key == "filters"
            else value.removeprefix("docker.io/").removeprefix("library/")
            for key, value in request.query.items()
            if value not in ("", "0", "{}")
        }
        body = request.json if request.body.startswith(b"{") else request.body
        asked.append((request.method, request.path, query, _bare(body) if isinstance(body, dict) else body))
    return sorted(asked, key=str)


@pytest.mark.parametrize("words", ASK, ids=" ".join)
def test_the_same_questions(fake: FakeEngine, docker: Hako, command: Hako, words: list[str]) -> None:
    _open_engine(fake)
    theirs = docker(*words, data="tar")
    first = list(fake.seen)
    fake.seen.clear()
    ours = command(*words, data="tar")
    assert theirs.returncode == ours.returncode == 0, (theirs.stderr, ours.stderr)
    assert _asked(fake.seen) == _asked(first)
    if words[:2] != ["system", "prune"]:
        assert _plain(ours.stdout) == _plain(theirs.stdout)


@pytest.mark.parametrize(
    "words",
    [
        ["alpine"], ["alpine:3"], ["a/b"], ["-a", "a/b"], ["localhost/x"], ["host:5/x/y:1"], ["docker.io/alpine"], ["Host/x"],
        ["index.docker.io/library/alpine"], ["alpine@sha256:" + "ab" * 32], ["-q", "alpine"], ["-q", "localhost:5000/x:1"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_pull_ends_with_the_whole_name(
    fake: FakeEngine, docker: Hako, command: Hako, words: list[str]
) -> None:
    fake.answer("POST /images/create", "")
    theirs, ours = docker("pull", *words), command("pull", *words)
    assert theirs.returncode == ours.returncode == 0
    assert ours.stdout == theirs.stdout
