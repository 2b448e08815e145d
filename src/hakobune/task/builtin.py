"""The runtime in this process's own image: oci/, in a worker. Imports: json, os; oci, task.runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from hakobune.cgroups.cgroup import Cgroup
from hakobune.linux import sockets
from hakobune.linux.sockets import Socket
from hakobune.oci import hooks
from hakobune.oci.config import Config
from hakobune.oci.init import execs, messages, parent
from hakobune.oci.init.child import Streams, open_gate, socket_gate
from hakobune.task.runtime import Creation, Running, note

FILTER = "filter"  # another: what execs need of the configuration


class Builtin:
    """See task.runtime. It keeps nothing: what it must find again lies in the bundle."""

    gated = True

    def create(
        self, creation: Creation, near: Socket, streams: Streams | None, planned: Callable[[], None]
    ) -> None:
        """Make it and tell; see oci.init.messages. Raises as parent.create."""

        def made(cgroup: Cgroup, config: Config) -> None:
            messages.say_cgroup(near, cgroup.path, note(dict(config.annotations)))

        bundle = creation.bundle
        request = parent.Request(
            bundle, creation.rootfs, streams, near, socket_gate(near), filter=f"{bundle}/{FILTER}",
            kept=bundle, made=made, planned=planned, near_gate=True,
        )  # fmt: skip
        pid, _cgroup, _config = parent.create(request, creation.id)
        messages.say_pid(near, pid)

    def start(self, container: Running) -> None:
        """Nobody asks: init is gated."""

    def exec(self, container: Running, process: bytes, near: Socket, planned: Callable[[], None]) -> None:
        """All that needs no streams is done before START. Raises as execs.exec_process."""
        request = execs.ExecRequest(
            container.bundle, process, container.pid, near, open_gate, container.pidfd,
            cgroup=container.cgroup.path, filter=f"{container.bundle}/{FILTER}", planned=planned,
        )  # fmt: skip
        prepared = execs.prepare_exec(request, container.id)
        packet, fds = sockets.receive(near, messages.MAX_MESSAGE, 3)
        if packet[:1] == messages.START:
            execs.exec_process(prepared, Streams(*fds) if fds else None, messages.started_size(packet))

    def update(self, container: Running, resources: bytes) -> None:
        """Write them to the control group."""
        container.cgroup.update(json.loads(resources))

    def owes(self, event: str, bundle: str) -> bool:
        """Whether hooks were kept for this."""
        return hooks.kept(event, bundle)

    def after(self, event: str, container_id: str, bundle: str) -> Sequence[str]:
        """These hooks."""
        return hooks.run_kept(event, bundle)
