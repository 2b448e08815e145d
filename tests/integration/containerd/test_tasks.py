"""The life of tasks and execs through a real manager, zygote and shim."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest

from hakobune.containerd.client import Client, Container, TaskExit
from hakobune.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from hakobune.testing.manager import PrivateManager
from hakobune.testing.recipes import create, process, remove

pytestmark = [pytest.mark.root, pytest.mark.slow]


def leftovers(manager: PrivateManager, name: str) -> list[str]:
    """What of a task is still to be found: bundle, socket, cgroup. The end of a shim goes on after its Delete was answered."""
    assert no_sockets(manager)
    deadline = time.monotonic() + 5
    while (found := _found(manager, name)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def _found(manager: PrivateManager, name: str) -> list[str]:
    found = [str(path) for path in Path(manager.state).glob(f"io.containerd.runtime.v2.task/*/{name}")]
    ours = f"hakotest-{os.getpid()}/{name}"  # os.walk: others' groups come and go meanwhile
    return found + [top for top, _, _ in os.walk("/sys/fs/cgroup") if top.endswith(ours)]


def no_sockets(manager: PrivateManager) -> bool:
    """The end of a shim goes on for a moment after its Delete was answered."""
    deadline = time.monotonic() + 5
    while os.listdir(f"{manager.state}/s"):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_exit_status_and_event(run, manager, tmp_path) -> None:
    async def work(client: Client) -> None:
        events = await client.events.open("topic==/tasks/exit")
        pid = await create(
            client, "one", ["sh", "-c", "echo hello; exit 7"], stdout=f"json-file://{tmp_path}/out"
        )
        assert (await client.tasks.get("one")).status == "created"
        assert await client.tasks.start("one") == pid
        end = await client.tasks.wait("one")
        assert end.status == 7
        event = await asyncio.wait_for(events.__anext__(), 5)
        assert event.value == TaskExit("one", "one", pid, 7, end.exited_at)
        assert event.namespace == "test"
        state = await client.tasks.get("one")
        assert (state.status, state.exit_status, state.exited_at) == ("stopped", 7, end.exited_at)
        deleted = await client.tasks.delete("one")
        assert (deleted.status, deleted.pid, deleted.exited_at) == (7, pid, end.exited_at)
        with pytest.raises(NotFound):
            await client.tasks.get("one")
        events.close()
        await client.containers.delete("one")
        await client.snapshots.remove("one")

    run(work)
    assert json.loads((tmp_path / "out").read_text())["log"] == "hello\n"
    assert leftovers(manager, "one") == []


def test_exec_kill_pids_pause(run, manager, tmp_path) -> None:
    async def work(client: Client) -> None:
        await create(client, "two", ["sleep", "600"])
        await client.tasks.start("two")
        await client.tasks.exec(
            "two", "e1", process(["sh", "-c", "exit 9"]), stdout=f"json-file://{tmp_path}/e"
        )
        assert (await client.tasks.get("two", "e1")).status in ("created", "unknown")
        await client.tasks.start("two", "e1")
        assert (await client.tasks.wait("two", "e1")).status == 9
        assert (await client.tasks.delete("two", "e1")).status == 9
        with pytest.raises(NotFound):
            await client.tasks.get("two", "e1")
        assert len(await client.tasks.pids("two")) == 1
        await client.tasks.pause("two")
        assert (await client.tasks.get("two")).status == "paused"
        await client.tasks.resume("two")
        assert "two" in [task.id for task in await client.tasks.list()]
        assert await client.tasks.metrics("two")
        await client.tasks.update("two", json.dumps({"pids": {"limit": 50}}).encode())
        with pytest.raises(FailedPrecondition):
            await client.tasks.delete("two")
        await client.tasks.kill("two", signal.SIGKILL)
        assert (await client.tasks.wait("two")).status == 137
        with pytest.raises(NotFound):
            await client.tasks.kill("two", signal.SIGTERM)
        await remove(client, "two")

    run(work)
    assert leftovers(manager, "two") == []


def test_same_id_again_at_once(run) -> None:
    async def work(client: Client) -> None:
        for _ in range(3):
            await create(client, "again", ["true"])
            with pytest.raises(AlreadyExists):
                await client.tasks.create("again", [])
            await client.tasks.start("again")
            await client.tasks.wait("again")
            await remove(client, "again")

    run(work)


@pytest.mark.parametrize(
    ("args", "spec"),
    [
        (["true"], {"linux": {"namespaces": [{"type": "nonsense"}]}}),
        (["true"], {"mounts": [{"destination": "/x", "type": "nofilesystem", "source": "x"}]}),
        (["true"], {"process": 3}),
    ],
)
def test_failed_create_leaves_nothing(run, manager, args, spec) -> None:
    async def work(client: Client) -> None:
        with pytest.raises(Exception):  # noqa: B017
            await create(client, "bad", args, spec=spec)
        assert [task.id for task in await client.tasks.list()] == []
        with pytest.raises(NotFound):
            await client.tasks.get("bad")
        await client.containers.delete("bad")
        await client.snapshots.remove("bad")

    run(work)
    assert leftovers(manager, "bad") == []
    assert no_sockets(manager)


def test_program_that_is_not_there(run, manager) -> None:
    async def work(client: Client) -> None:
        try:
            await create(client, "nope", ["/no/such/program"])
            await client.tasks.start("nope")
            pytest.fail("it started")
        except Exception as err:
            assert "no such file" in str(err).lower()  # noqa: PT017
        states = [task.status for task in await client.tasks.list()]
        if states:
            assert (await client.tasks.wait("nope")).status != 0
            await client.tasks.delete("nope")
        await client.containers.delete("nope")
        await client.snapshots.remove("nope")

    run(work)
    assert leftovers(manager, "nope") == []


def test_what_is_not_there_and_what_is_not_served(run) -> None:
    async def work(client: Client) -> None:
        with pytest.raises(NotFound):
            await client.tasks.create("nobody", [])
        with pytest.raises(NotFound):
            await client.tasks.wait("nobody")
        await client.containers.create(Container("odd", runtime="io.containerd.nobody.v9", spec=b"{}"))
        with pytest.raises(NotFound, match="containerd-shim-nobody-v9 is not installed"):
            await client.tasks.create("odd", [])
        await client.containers.delete("odd")
        with pytest.raises(InvalidArgument):
            await client.containers.create(Container("../x", spec=b"{}"))

    run(work)


def test_namespaces_do_not_see_each_other(run, manager) -> None:
    async def work(client: Client) -> None:
        await client.containers.create(Container("mine", spec=b"{}"))
        other = await manager.client("other")
        with pytest.raises(NotFound):
            await other.containers.get("mine")
        assert await other.snapshots.list() == []
        await other.close()
        await client.containers.delete("mine")
        nameless = Client(manager.address, "")
        with pytest.raises(FailedPrecondition, match="namespace is required"):
            await nameless.containers.list()
        await nameless.close()

    run(work)


def test_many_at_once(run, manager) -> None:
    async def one(client: Client, name: str) -> int:
        await create(client, name, ["sh", "-c", f"exit {int(name[1:]) + 1}"])
        await client.tasks.start(name)
        status = (await client.tasks.wait(name)).status
        await remove(client, name)
        return status

    async def work(client: Client) -> None:
        got = await asyncio.gather(*(one(client, f"m{n}") for n in range(20)))
        assert got == list(range(1, 21))

    run(work)
    assert no_sockets(manager)
