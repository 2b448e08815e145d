"""Pull and push: an image of about 200 MB in 11,000 files (80 MB as gzip) from and to a registry on loopback, ours beside dockerd.

    python bench/registry_bench.py [ROUNDS]

The image is made of this host's files, the same for all; each round has its own, which differs by one file, and nothing
is removed in between: ext4 is slow to give out the numbers of files that were removed a minute ago. Every engine has a room of its own, and in it Debian's
docker-registry twice: one that has the image, and an empty one that is pushed to. Printed: medians in seconds, the
ratio, and the sum over an engine's processes of the most memory (RSS, shared pages and all) that each had.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.engines import KINDS, Engine, installed
from hakobune.cli.http import Client, query
from hakobune.registry.remote import open_repository
from hakobune.registry.repository import MANIFEST, Access
from hakobune.spec.descriptor import Descriptor
from hakobune.testing.registry import RealRegistry

FILES, BYTES, LARGEST = 11_000, 249_000_000, 8_000_000
NAME = "bench/host"
PLACES = ("/usr/bin", "/usr/lib", "/usr/share", "/usr/sbin")


def layer(path: Path) -> Path:
    """A tar of this host's files, and beside it the same as gzip, whose path this returns."""
    found = sorted(
        (file for place in PLACES for top, _, names in os.walk(place) for name in names
         if not (file := Path(top, name)).is_symlink() and file.is_file() and file.stat().st_size < LARGEST),
    )  # fmt: skip
    random.Random(1).shuffle(found)
    size = 0
    with tarfile.open(path, "w") as archive:
        for file in sorted(found[:FILES]):  # in the order of a tree, as layers are
            size += file.stat().st_size
            if size < BYTES:
                archive.add(file, str(file).lstrip("/"))
    packed = path.with_suffix(".gz")
    with path.open("rb") as plain, gzip.open(packed, "wb", 6) as out:
        shutil.copyfileobj(plain, out, 1 << 20)
    return packed


def variant(plain: Path, number: int) -> tuple[str, bytes]:
    """(digest of the whole, tar of one file): put in front of the layer `plain`, it makes that another one."""
    text = b"%d" % number
    head = io.BytesIO()
    with tarfile.open(fileobj=head, mode="w") as archive:
        member = tarfile.TarInfo("round")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    first = head.getvalue()[: 2 * tarfile.BLOCKSIZE]  # without the end mark
    digest = hashlib.sha256(first)
    with plain.open("rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return f"sha256:{digest.hexdigest()}", first


async def fill(registry: RealRegistry, packed: Path, rounds: int) -> None:
    """Push an image for each round by hand."""
    for number in range(rounds):
        diff, first = variant(packed.with_suffix(".tar"), number)
        await _push(registry, str(number), diff, gzip.compress(first) + packed.read_bytes())


async def _push(registry: RealRegistry, tag: str, diff: str, blob: bytes) -> None:
    def reader(data: bytes):  # type: ignore[no-untyped-def]
        async def read(offset: int) -> AsyncIterator[bytes]:
            for at in range(offset, len(data), 1 << 20):
                yield data[at : at + (1 << 20)]

        return read

    def described(kind: str, data: bytes) -> Descriptor:
        return Descriptor(kind, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))

    kinds = "application/vnd.oci.image"
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff]},
    }).encode()  # fmt: skip
    parts = described(f"{kinds}.config.v1+json", config), described(f"{kinds}.layer.v1.tar+gzip", blob)
    plain = [{"mediaType": one.media_type, "digest": one.digest, "size": one.size} for one in parts]
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": plain[0], "layers": plain[1:]}
    ).encode()
    async with open_repository(f"{registry.name}/{NAME}", Access()) as repository:
        for one, data in zip(parts, (config, blob), strict=True):
            await repository.push_blob(one, reader(data))
        await repository.push_manifest(tag, described(MANIFEST, manifest), manifest)


@contextlib.contextmanager
def inside(engine: Engine, registry: RealRegistry) -> Iterator[str]:
    """The registry once more, in the engine's room; its name there."""
    pid = str(min(engine.processes()))
    with registry.log.open("ab") as log:
        process = subprocess.Popen(["nsenter", "-t", pid, "-n", *registry.command()], stdout=log, stderr=log)
    try:
        yield registry.name
    finally:
        process.kill()
        process.wait()


def act(engine: Engine, method: str, path: str) -> float:
    """Seconds until the engine has said all. Raises RuntimeError for an error in it."""
    began = time.monotonic()
    response = Client(f"unix://{engine.socket}").open(method, path, headers={"X-Registry-Auth": "e30="})
    for event in response.lines():
        if isinstance(event, dict) and event.get("error"):
            raise RuntimeError(event["error"])
    return time.monotonic() - began


def peak(engine: Engine) -> int:
    """MiB, the sum over its processes of the most that each has had."""
    total = 0
    for pid in engine.processes():
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return total // 1024


def measure(kind: str, source: RealRegistry, sink: RealRegistry, rounds: int) -> dict[str, float]:
    """Medians of one engine; its first round is not counted."""
    took: dict[str, list[float]] = {"pull": [], "push": []}
    with KINDS[kind]() as engine, inside(engine, source) as here, inside(engine, sink) as there:
        time.sleep(1)  # until both registries listen
        for number in range(rounds + 1):
            name = f"{here}/{NAME}"
            path = "/images/create" + query(fromImage=name, tag=str(number))
            took["pull"].append(act(engine, "POST", path))
            copy = f"{there}/{kind}/{number}"
            act(engine, "POST", f"/images/{name}:{number}/tag" + query(repo=copy, tag="1"))
            took["push"].append(act(engine, "POST", f"/images/{copy}/push" + query(tag="1")))
            sink.forget()
        memory = peak(engine)
    return {name: statistics.median(values[1:]) for name, values in took.items()} | {"memory": memory}


def main() -> None:
    """Each engine in turn."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    kinds = [kind for kind in installed()[0] if kind in ("hakobune", "dockerd")]
    with tempfile.TemporaryDirectory(prefix="hk-") as directory:
        packed = layer(Path(directory, "layer.tar"))
        print(f"{packed.stat().st_size / 1e6:.0f} MB as gzip", flush=True)
        with RealRegistry() as source, RealRegistry() as sink:
            asyncio.run(fill(source, packed, rounds + 1))
            found = {kind: measure(kind, source, sink, rounds) for kind in kinds}
    for kind, figures in found.items():
        print(
            f"{kind:10} pull {figures['pull']:.2f} s  push {figures['push']:.2f} s  peak {figures['memory']:.0f} MiB"
        )
    if len(found) == 2:
        ours, theirs = found["hakobune"], found["dockerd"]
        print(
            f"ours / dockerd: pull {ours['pull'] / theirs['pull']:.2f}, push {ours['push'] / theirs['push']:.2f}"
        )


if __name__ == "__main__":
    main()
