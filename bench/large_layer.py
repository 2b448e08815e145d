"""Memory of the daemons, and of every process that they start, while an image with one layer of 2 GB is pulled; aim: 150 MiB.

    python bench/large_layer.py [MB]

The layer is made and pushed as a stream, once as gzip (level 1) and once as zstd, to Debian's docker-registry on
loopback; a private engine pulls it. 40 times a second each process of the engine is asked for its memory as the kernel
shares it out (PSS); beside it stands the most that it has had resident (VmHWM, shared pages and all). Needs about three
times the layer on the disk of /tmp.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import random
import shutil
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backports import zstd
from isal import igzip

from bench.memory import pss_kib
from hakobune.cli.http import query
from hakobune.registry.remote import open_repository
from hakobune.registry.repository import MANIFEST, Access
from hakobune.spec.descriptor import Descriptor
from hakobune.testing.engine import PrivateEngine
from hakobune.testing.processes import command_lines, descendants
from hakobune.testing.registry import RealRegistry

AIM_MIB = 150
TICK = 0.025
FILE = 8_000_000
BLOCK = 1 << 20
NAME = "bench/large"
KINDS: dict[str, Callable[[IO[bytes]], Any]] = {
    "gzip": lambda out: igzip.IGzipFile(fileobj=out, mode="wb", compresslevel=1),
    "zstd": lambda out: zstd.ZstdFile(out, "wb", level=1),
}


class Sums:
    """What goes through `write`: its digest and length, on the way to `out`."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._out.write(data)

    def flush(self) -> None:
        self._out.flush()

    @property
    def digest(self) -> str:
        """sha256:…"""
        return f"sha256:{self._hash.hexdigest()}"


def layer(path: Path, kind: str, size: int) -> tuple[str, str, int]:
    """Write a layer of `size` bytes to `path`; (digest of the tar, digest and length of the blob).

    Half of each file is noise, half one letter, so that it packs about 2 to 1.
    """
    noise = random.Random(1)
    with path.open("wb") as file:
        blob = Sums(file)
        with KINDS[kind](blob) as packed:
            tar = Sums(packed)
            with tarfile.open(fileobj=tar, mode="w|") as archive:
                for number in range(size // FILE):
                    member = tarfile.TarInfo(f"data/{number}")
                    member.size = FILE
                    archive.addfile(member, io.BytesIO(noise.randbytes(FILE // 2) + b"x" * (FILE // 2)))
    return tar.digest, blob.digest, blob.size


async def push(registry: RealRegistry, kind: str, path: Path, made: tuple[str, str, int]) -> None:
    """Push an image of this one layer by hand."""
    diff, digest, size = made
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff]},
    }).encode()  # fmt: skip
    kinds = "application/vnd.oci.image"

    def reader(data: IO[bytes]):  # type: ignore[no-untyped-def]
        async def read(offset: int) -> AsyncIterator[bytes]:
            data.seek(offset)
            while part := data.read(BLOCK):
                yield part

        return read

    def described(media: str, data: bytes) -> Descriptor:
        return Descriptor(media, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))

    parts = (
        described(f"{kinds}.config.v1+json", config),
        Descriptor(f"{kinds}.layer.v1.tar+{kind}", digest, size),
    )
    plain = [{"mediaType": one.media_type, "digest": one.digest, "size": one.size} for one in parts]
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": plain[0], "layers": plain[1:]}
    ).encode()
    async with open_repository(f"{registry.name}/{NAME}", Access()) as repository:
        await repository.push_blob(parts[0], reader(io.BytesIO(config)))
        with path.open("rb") as file:
            await repository.push_blob(parts[1], reader(file))
        await repository.push_manifest(kind, described(MANIFEST, manifest), manifest)


class Watch:
    """Looks at an engine's processes in a thread, while `with` lasts: `most` MiB of each, `together` of all at one moment."""

    def __init__(self, engine: PrivateEngine) -> None:
        self._engine = engine
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most: dict[int, tuple[str, float, float]] = {}  # pid -> (what it is, PSS, VmHWM)
        self.together = 0.0

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(TICK):
            total = 0.0
            for pid, name in family(self._engine).items():
                now, high = pss_kib([pid]) / 1024, resident(pid)
                _, pss, hwm = self.most.get(pid, (name, 0.0, 0.0))
                self.most[pid] = name, max(pss, now), max(hwm, high)
                total += now
            self.together = max(self.together, total)


def family(engine: PrivateEngine) -> dict[int, str]:
    """The daemons, and all that descends from them: pid to a name."""
    names = {pid: name for name, pid in engine.daemons().items()}
    lines = dict(command_lines())
    return {pid: names.get(pid) or name_of(lines.get(pid, "")) for pid in descendants(names)}


def name_of(line: str) -> str:
    """What a helper is, short."""
    ours = [word for word in line.split() if "hakobune" in word]
    return (ours[0] if ours else line)[-60:] or "(forked)"


def resident(pid: int) -> float:
    """The most MiB that it has had resident."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0


@contextlib.contextmanager
def source(size: int) -> Iterator[RealRegistry]:
    """A registry that has the image of each kind."""
    with tempfile.TemporaryDirectory(prefix="hk-", dir="/tmp") as directory, RealRegistry() as registry:
        for kind in KINDS:
            path = Path(directory, kind)
            made = layer(path, kind, size)
            asyncio.run(push(registry, kind, path, made))
            path.unlink()
            print(f"{kind}: {size / 1e9:.1f} GB, {made[2] / 1e9:.2f} as a blob", flush=True)
        yield registry


def pull(registry: RealRegistry, kind: str) -> bool:
    """Pull once on a fresh engine and print; whether the aim is kept."""
    with PrivateEngine() as engine:
        with Watch(engine) as watch:
            began = time.monotonic()
            path = "/images/create" + query(fromImage=f"{registry.name}/{NAME}", tag=kind)
            for event in engine.client.open("POST", path).lines():
                if event.get("error"):
                    raise RuntimeError(event["error"])
            took = time.monotonic() - began
        print(
            f"{kind}: {took:.1f} s, all processes together {watch.together:.0f} MiB PSS at most (aim: {AIM_MIB})"
        )
        for name, pss, high in sorted(watch.most.values(), key=lambda one: -one[1])[:8]:
            print(f"    {name:<62}{pss:>6.1f} MiB PSS {high:>6.1f} resident")
    return watch.together <= AIM_MIB


def main() -> int:
    """0 when the aim is kept."""
    size = (int(sys.argv[1]) if len(sys.argv) > 1 else 2000) * 1_000_000
    free = shutil.disk_usage("/tmp").free
    if free < 3 * size:
        print(f"{3 * size / 1e9:.0f} GB are needed in /tmp, {free / 1e9:.0f} are free")
        return 2
    with source(size) as registry:
        kept = [pull(registry, kind) for kind in KINDS]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    raise SystemExit(main())
