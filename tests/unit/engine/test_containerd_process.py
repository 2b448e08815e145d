"""The keeper of the private manager, over a stand-in: a small process that listens at the manager's socket."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from hakobune.engine import containerd_process
from hakobune.engine.config import Config
from hakobune.engine.containerd_process import ContainerdProcess
from hakobune.errors import Unavailable

STAND_IN = """
import os, socket, sys
path = sys.argv[1]
try:
    os.unlink(path)
except FileNotFoundError:
    pass
sock = socket.socket(socket.AF_UNIX)
sock.bind(path + ".new")
sock.listen()
os.rename(path + ".new", path)
while True:
    peer = sock.accept()[0]
    try:
        peer.sendall(b"%d" % os.getpid())
    except BrokenPipeError:
        pass  # it only wanted to know whether somebody listens
    peer.close()
"""


class Rig:
    """A keeper with a stand-in for the manager; also the client that it asks."""

    def __init__(self, root: Path, program: str = STAND_IN) -> None:
        self.config = Config(hosts=(), data_root=f"{root}/d", exec_root=str(root))
        self.argv = [sys.executable, "-I", "-c", program, self.config.containerd_address]
        self.starts = 0
        self.keeper = ContainerdProcess(self.config, self, argv=self._command)

    def _command(self, config: Config) -> list[str]:
        self.starts += 1
        return self.argv

    async def pid(self) -> int:
        """Of whoever answers, 0 for nobody."""
        try:
            reader, writer = await asyncio.open_unix_connection(self.config.containerd_address)
            try:
                answer = await reader.read()
            finally:  # it may be killed meanwhile, or our time be over
                writer.close()
        except OSError:
            return 0
        return int(answer or 0)

    async def other_than(self, *gone: int) -> int:
        """Of whoever answers next."""
        while True:
            found = await self.pid()
            if found not in (0, *gone):
                return found
            await asyncio.sleep(0.01)

    async def ready(self, timeout: float) -> None:
        """As the client's."""
        try:
            async with asyncio.timeout(timeout):
                await self.other_than()
        except TimeoutError as err:
            raise Unavailable("nobody answers") from err


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def test_it_is_started_and_ended(tmp_path: Path) -> None:
    async def story() -> None:
        rig = Rig(tmp_path)
        await rig.keeper.start()
        pid = await rig.pid()
        assert os.getsid(pid) == pid
        await rig.keeper.stop(keep=False)
        assert not os.path.exists(f"/proc/{pid}")
        assert rig.starts == 1

    run(story())


def test_it_is_started_again_when_it_dies(tmp_path: Path) -> None:
    async def story() -> None:
        rig = Rig(tmp_path)
        await rig.keeper.start()
        first = await rig.pid()
        os.kill(first, signal.SIGKILL)
        second = await rig.other_than(first)
        assert rig.starts == 2
        await rig.keeper.stop(keep=False)
        assert not os.path.exists(f"/proc/{second}")

    run(story())


def test_one_that_lives_is_kept_used_and_watched(tmp_path: Path) -> None:
    """The keeper is collected and its loop closed in between, as at the end of an engine."""
    pids: list[int] = []

    async def before() -> None:
        rig = Rig(tmp_path)
        await rig.keeper.start()
        pids.append(await rig.pid())
        await rig.keeper.stop(keep=True)

    async def after() -> None:
        rig = Rig(tmp_path)
        await rig.keeper.start()
        assert await rig.pid() == pids[0]
        assert rig.starts == 0
        os.kill(pids[0], signal.SIGKILL)
        await rig.other_than(pids[0])
        assert rig.starts == 1
        await rig.keeper.stop(keep=False)
        assert not await rig.pid()

    run(before())
    run(after())
    with pytest.raises(ChildProcessError):  # it has been reaped, although another keeper had started it
        os.waitpid(pids[0], 0)


def test_one_that_we_did_not_start_is_ended_too(tmp_path: Path) -> None:
    async def story() -> None:
        rig = Rig(tmp_path)
        other = subprocess.Popen(rig.argv)
        await rig.ready(5)
        await rig.keeper.start()
        await rig.keeper.stop(keep=False)
        assert other.wait(5) == -signal.SIGTERM
        assert rig.starts == 0

    run(story())


def test_one_that_ends_at_once_is_told_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containerd_process, "_OTHER_SECONDS", 0.05)

    async def story() -> None:
        rig = Rig(tmp_path, "raise SystemExit(3)")
        with pytest.raises(Unavailable, match="exit code 3"):
            await rig.keeper.start()
        await rig.keeper.stop(keep=False)

    run(story())


def test_one_that_serves_our_root_slowly_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It did not answer in time, so another was started, which found the root taken."""
    monkeypatch.setattr(containerd_process, "_ANSWER_SECONDS", 0.0)

    async def story() -> None:
        rig = Rig(tmp_path)
        other = subprocess.Popen(rig.argv)
        rig.argv = [sys.executable, "-I", "-c", "raise SystemExit(1)"]
        await rig.keeper.start()
        assert await rig.pid() == other.pid
        await rig.keeper.stop(keep=False)
        assert other.wait(5) in (
            -signal.SIGTERM,
            0,
        )  # 0: the keeper has reaped it, as it does its own of before an exec

    run(story())


def test_one_that_answers_before_ours_has_ended_is_used_and_ended(tmp_path: Path) -> None:
    """Ours is still on its way to finding the root taken when the other one answers in its stead."""

    async def story() -> None:
        rig = Rig(tmp_path)
        command, rig.argv = (
            rig.argv,
            [sys.executable, "-I", "-c", "import time; time.sleep(1); raise SystemExit(1)"],
        )
        start = asyncio.create_task(rig.keeper.start())
        await asyncio.sleep(0.3)
        assert rig.keeper.ours
        other = subprocess.Popen(command)
        await start
        await asyncio.sleep(1.5)
        assert rig.starts == 1
        assert await rig.pid() == other.pid
        await rig.keeper.stop(keep=False)
        assert other.wait(5) == -signal.SIGTERM

    run(story())


def test_one_with_an_address_is_left_alone(tmp_path: Path) -> None:
    async def story() -> None:
        rig = Rig(tmp_path)
        other = subprocess.Popen(rig.argv)
        config = Config(hosts=(), exec_root=str(tmp_path), containerd=rig.config.containerd_address)
        keeper = ContainerdProcess(config, rig)
        await keeper.start()
        await keeper.stop(keep=False)
        assert other.poll() is None
        other.kill()
        other.wait()

    run(story())
