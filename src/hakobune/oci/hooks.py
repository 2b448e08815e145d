"""Programs of others around a container's life (runtime-spec, config.md, POSIX-platform Hooks; runtime.md, Lifecycle).

  prestart, createRuntime   in the host, when the namespaces exist and init waits before it makes its mounts
  createContainer           by init, in the container's namespaces, its root being made but not entered: paths are the host's
  startContainer            by init, in the container, when it is told to start: the last thing before exec(2)
  poststart                 in the host, when init runs, before the start is answered
  poststop                  in the host, when the container is gone
A hook gets the container's state on its standard input. Its output is kept only to say why it failed. One that fails
ends the container, but for poststart and poststop, where that is told and the others run all the same. What comes
later is written down at the creation. Kinds that nobody knows are left alone, as the specification wants it.
Imports: json, os, select.
"""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Callable, Mapping, Sequence

from hakobune.errors import FailedPrecondition, HakoError, InvalidArgument
from hakobune.record import Any

BEFORE = ("prestart", "createRuntime")
CREATE, START = "createContainer", "startContainer"
STARTED, GONE = "poststart", "poststop"
SERVED = (*BEFORE, CREATE, START, STARTED, GONE)
VERSION = "1.0.2"
_TAIL = 1000

Hook = Mapping[str, Any]


def check(hooks: Mapping[str, Any]) -> None:
    """Refuse what cannot be run. Raises InvalidArgument naming the field."""
    for kind in SERVED:
        listed = hooks.get(kind)
        if listed is None:
            continue
        if not isinstance(listed, list):
            raise InvalidArgument(f"hooks.{kind}: expected a list, got {listed!r:.60}")
        for index, hook in enumerate(listed):
            _check(hook, f"hooks.{kind}[{index}]")


def _check(hook: Any, at: str) -> None:
    if not isinstance(hook, dict) or not str(hook.get("path", "")).startswith("/"):
        raise InvalidArgument(f"{at}: {hook!r:.80} has no absolute path")
    for name in ("args", "env"):
        words = hook.get(name) or ()
        if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
            raise InvalidArgument(f"{at}.{name}: expected a list of strings, got {words!r:.60}")
    timeout = hook.get("timeout")
    if timeout is not None and (type(timeout) is not int or timeout <= 0):
        raise InvalidArgument(f"{at}.timeout: expected a number of seconds above zero, got {timeout!r:.60}")


def with_init(hooks: Mapping[str, Any]) -> bool:
    """Whether init has to wait for hooks, or runs some."""
    return any(hooks.get(kind) for kind in (*BEFORE, CREATE, START))


def state(container_id: str, status: str, pid: int, bundle: str, annotations: Mapping[str, str]) -> bytes:
    """What a hook reads (runtime.md, State)."""
    told: dict[str, Any] = {"ociVersion": VERSION, "id": container_id, "status": status, "bundle": bundle}
    if pid:
        told["pid"] = pid
    return json.dumps(told | {"annotations": dict(annotations)}).encode()


def run(hooks: Mapping[str, Any], told: bytes, *kinds: str) -> None:
    """All hooks of these kinds, in order. Raises FailedPrecondition for the first that fails."""
    for kind in kinds:
        for hook in hooks.get(kind) or ():
            _run(kind, hook, told)


def keep(hooks: Mapping[str, Any], kind: str, told: Callable[[], bytes], directory: str) -> None:
    """Write down what is to run later, if anything is. Raises OSError."""
    listed = hooks.get(kind)
    if listed and directory:
        path = f"{directory}/{kind}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(json.dumps({"hooks": listed, "state": told().decode()}).encode())


def kept(kind: str, directory: str) -> bool:
    """Whether anything was."""
    return os.path.exists(f"{directory}/{kind}")


def run_kept(kind: str, directory: str) -> list[str]:
    """Run what `keep` wrote, once; why some failed (the spec: the others run all the same)."""
    path = f"{directory}/{kind}"
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read())
        os.unlink(path)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as err:
        return [f"{path}: {err}"]
    failed = []
    for hook in found["hooks"]:
        try:
            _run(kind, hook, found["state"].encode())
        except (HakoError, OSError) as err:
            failed.append(str(err))
    return failed


def _run(kind: str, hook: Hook, told: bytes) -> None:
    path, timeout = hook["path"], hook.get("timeout")
    stdin, output = os.memfd_create("state"), os.memfd_create("output")
    try:
        os.write(stdin, told)
        os.lseek(stdin, 0, os.SEEK_SET)
        pid = os.posix_spawn(
            path, hook.get("args") or [path], _environment(hook.get("env") or ()),
            file_actions=[(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, output, 1),
                          (os.POSIX_SPAWN_DUP2, output, 2)],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ], setsigmask=[],
        )  # fmt: skip
        status = _wait(pid, timeout)
        if status != 0:
            said = os.pread(output, _TAIL, max(0, os.fstat(output).st_size - _TAIL)).decode(
                "utf-8", "replace"
            )
            how = "took longer than its timeout" if status is None else f"exit status {status}"
            raise FailedPrecondition(f"hook {kind} {path}: {how}: {said.strip()}")
    except OSError as err:
        raise FailedPrecondition(f"hook {kind} {path}: {err.strerror}") from err
    finally:
        os.close(stdin)
        os.close(output)


def _environment(listed: Sequence[str]) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in listed)


def _wait(pid: int, timeout: float | None) -> int | None:
    """Its exit status; None when it was killed because its time (seconds) was over."""
    watched = os.pidfd_open(pid)
    try:
        ended = select.select([watched], [], [], timeout)[0]
        if not ended:
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return status if ended else None
    finally:
        os.close(watched)
