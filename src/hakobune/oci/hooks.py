"""Programs of others around a container's life (runtime-spec, config.md, POSIX-platform Hooks).

Served: `prestart` and `createRuntime`, in the host's namespaces, when the container's namespaces exist and its
init process waits before it makes its mounts; `poststop`, when the container is gone. A hook gets the container's
state on its standard input. Its output is kept only to say why it failed. The other kinds are refused by name.
Imports: json, os, select.
"""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Mapping, Sequence

from hakobune.errors import FailedPrecondition, HakoError, InvalidArgument, Unimplemented
from hakobune.record import Any

BEFORE = ("prestart", "createRuntime")
AFTER = "poststop"
SERVED = (*BEFORE, AFTER)
VERSION = "1.0.2"
_TAIL = 1000

Hook = Mapping[str, Any]


def check(hooks: Mapping[str, Any]) -> None:
    """Refuse what is not served, and what cannot be run. Raises Unimplemented, InvalidArgument."""
    for kind, listed in hooks.items():
        if listed and kind not in SERVED:
            raise Unimplemented(f"hooks: not supported yet, got {kind}")
        for hook in listed or ():
            if not isinstance(hook, dict) or not str(hook.get("path", "")).startswith("/"):
                raise InvalidArgument(f"hooks.{kind}: {hook!r:.80} has no absolute path")


def state(container_id: str, status: str, pid: int, bundle: str, annotations: Mapping[str, str]) -> bytes:
    """What a hook reads (runtime.md, State)."""
    told: dict[str, Any] = {"ociVersion": VERSION, "id": container_id, "status": status, "bundle": bundle}
    if pid:
        told["pid"] = pid
    return json.dumps(told | {"annotations": dict(annotations)}).encode()


def run_before(hooks: Mapping[str, Any], told: bytes) -> None:
    """All hooks that come before the mounts, in order. Raises FailedPrecondition for the first that fails."""
    for kind in BEFORE:
        for hook in hooks.get(kind) or ():
            _run(kind, hook, told)


def keep_after(hooks: Mapping[str, Any], told: bytes, path: str) -> None:
    """Write down what is to run when the container is gone, if anything is. Raises OSError."""
    listed = hooks.get(AFTER)
    if listed and path:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(json.dumps({"hooks": listed, "state": told.decode()}).encode())


def run_after(path: str) -> list[str]:
    """Run what `keep_after` wrote, once; why some failed (the spec: the others run all the same)."""
    try:
        with open(path, "rb") as file:
            kept = json.loads(file.read())
        os.unlink(path)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as err:
        return [f"{path}: {err}"]
    failed = []
    for hook in kept["hooks"]:
        try:
            _run(AFTER, hook, kept["state"].encode())
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
