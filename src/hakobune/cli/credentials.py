"""Credentials of registries as docker keeps them: `config.json`, its credential helpers and its store.

Read by `pull`, `push`, `run`; written by `login` and `logout`. Standard library only, and of it little before a helper
has to be asked.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os

from .failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HUB = "https://index.docker.io/v1/"
_HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io")
_TOKEN = "<token>"
_SECONDS = 30.0


def path() -> str:
    """Of the file."""
    directory = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    return os.path.join(directory, "config.json")


def server_of(image: str) -> str:
    """The key under which an image's registry has its credentials."""
    head, slash, _ = image.partition("/")
    if not slash or not (set(head) & set(".:") or head == "localhost"):
        return HUB
    return key_of(head)


def key_of(server: str) -> str:
    """As docker writes it: host and port; the URL only for its own registry."""
    host = server.partition("://")[2] if "://" in server else server
    host = host.partition("/")[0]
    return HUB if not host or host in _HUB_NAMES else host


def header(image: str) -> dict[str, str]:
    """The header that tells the engine who we are at the image's registry; empty when we are nobody."""
    found = get(server_of(image))
    if not found:
        return {}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(found).encode()).decode()}


def get(server: str) -> dict[str, str]:
    """An AuthConfig of the API; empty for none. Raises Failure for a file that cannot be read."""
    config = _read()
    helper = _helper(config, server)
    if helper:
        return _asked(helper, server)
    entry = _entry(config.get("auths") or {}, server)
    if entry.get("identitytoken"):
        return {"identitytoken": str(entry["identitytoken"]), "serveraddress": server}
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        with contextlib.suppress(ValueError):
            username, _, password = base64.b64decode(str(entry["auth"])).decode().partition(":")
    return _config(username, password, server) if username else {}


def _config(username: str, secret: str, server: str) -> dict[str, str]:
    if username == _TOKEN:
        return {"identitytoken": secret, "serveraddress": server}
    return {"username": username, "password": secret, "serveraddress": server}


def _entry(auths: dict[str, Any], server: str) -> dict[str, Any]:
    """Under its key, or under another spelling of it."""
    entry = auths.get(server)
    if entry is None:
        entry = next((one for key, one in auths.items() if key_of(key) == server), None)
    return entry if isinstance(entry, dict) else {}


def _read() -> dict[str, Any]:
    try:
        with open(path(), encoding="utf-8") as file:
            config = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as err:
        raise Failure(f"hako: {path()}: {getattr(err, 'strerror', None) or err}") from err
    return config if isinstance(config, dict) else {}


def _helper(config: dict[str, Any], server: str) -> str:
    helpers = config.get("credHelpers") or {}
    return str(helpers.get(server) or config.get("credsStore") or "")


def _asked(helper: str, server: str) -> dict[str, str]:
    text = _run(helper, "get", server)
    if text is None:
        return {}
    try:
        answer = json.loads(text)
        return _config(str(answer["Username"]), str(answer["Secret"]), server)
    except (ValueError, KeyError, TypeError) as err:
        raise Failure(f"hako: docker-credential-{helper} get: its answer makes no sense") from err


def _run(helper: str, verb: str, data: str) -> str | None:
    """What the helper says; None when it knows nothing. Raises Failure when it is not there, or fails at a change."""
    import subprocess

    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, verb], input=data, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        raise Failure(
            f"hako: error getting credentials: {program}: {getattr(err, 'strerror', None) or err}"
        ) from err
    if done.returncode == 0:
        return done.stdout
    if verb == "get":
        return None
    raise Failure(f"hako: {program} {verb}: {(done.stdout or done.stderr).strip()}")


def store(server: str, username: str, password: str, token: str) -> str:
    """Keep them; where: "" for a helper, else the file, in which they are not encrypted. Raises Failure."""
    config = _read()
    helper = _helper(config, server)
    auths = config.setdefault("auths", {})
    if helper:
        secret = {"ServerURL": server, "Username": _TOKEN if token else username, "Secret": token or password}
        _run(helper, "store", json.dumps(secret))
        auths[server] = {}
    else:
        auths[server] = {
            "auth": base64.b64encode(f"{username}:{'' if token else password}".encode()).decode()
        }
        if token:
            auths[server]["identitytoken"] = token
    _write(config)
    return "" if helper else path()


def erase(server: str) -> bool:
    """Forget them; whether there were any. Raises Failure."""
    config = _read()
    helper = _helper(config, server)
    if helper:
        with contextlib.suppress(Failure):
            _run(helper, "erase", server)
    auths = config.get("auths") or {}
    known = [key for key in auths if key == server or key_of(key) == server]
    for key in known:
        del auths[key]
    if known:
        _write(config)
    return bool(known) or bool(helper)


def _write(config: dict[str, Any]) -> None:
    """The whole file in one step, readable by its owner alone."""
    where = path()
    fresh = f"{where}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(where), mode=0o700, exist_ok=True)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(config, file, indent="\t")
        os.replace(fresh, where)
    except OSError as err:
        raise Failure(f"hako: {where}: {err.strerror}") from err
