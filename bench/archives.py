"""Load: an image archive of about 249 MB in 11,000 files from a local file, ours beside dockerd.

    python bench/archives.py [ROUNDS [LAYER.tar]]

Made of this host's files as in registry_bench.py, or of the tar that is named (one that mmdebstrap made, say). Each
round's layer differs by one file, and nothing is removed in between. Printed: medians in seconds until the engine has
said all, the ratio, and the sum over an engine's processes of the most memory (RSS) that each had.
"""

from __future__ import annotations

import io
import json
import socket
import statistics
import sys
import tarfile
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.engines import KINDS, Engine, installed
from bench.registry_bench import layer, peak, variant

_CHUNK = 1 << 20
_EMPTY_END = 2 * tarfile.BLOCKSIZE


def archive(plain: Path, number: int, into: Path) -> Path:
    """What `docker save` writes of the layer `plain`, with one file more in front that makes it another one."""
    diff, first = variant(plain, number)
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff]},
    }).encode()  # fmt: skip
    manifest = [{"Config": "config.json", "RepoTags": [f"bench/load:{number}"], "Layers": ["layer.tar"]}]
    made = into / f"{number}.tar"
    with made.open("wb") as out:
        for name, data in (("config.json", config), ("manifest.json", json.dumps(manifest).encode())):
            out.write(_head(name, len(data)) + data + bytes(-len(data) % tarfile.BLOCKSIZE))
        size = len(first) + plain.stat().st_size
        out.write(_head("layer.tar", size) + first)
        with plain.open("rb") as source:
            while data := source.read(_CHUNK):
                out.write(data)
        out.write(bytes(-size % tarfile.BLOCKSIZE + _EMPTY_END))
    return made


def _head(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT)


def load(engine: Engine, path: Path) -> float:
    """Seconds until the engine has said all. Raises RuntimeError for anything but success."""
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as connection, path.open("rb") as file:
        connection.connect(str(engine.socket))
        connection.sendall(
            b"POST /images/load?quiet=1 HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
            b"Content-Type: application/x-tar\r\nContent-Length: %d\r\n\r\n" % path.stat().st_size
        )
        connection.sendfile(file)
        answer = io.BytesIO()
        while data := connection.recv(1 << 16):
            answer.write(data)
    said = answer.getvalue()
    if b" 200 " not in said[:20] or b"errorDetail" in said or b"Loaded image" not in said:
        raise RuntimeError(said.decode("utf-8", "replace"))
    return time.monotonic() - began


def measure(kind: str, archives: list[Path]) -> tuple[float, int]:
    """(median seconds, MiB) of one engine; its first round is not counted."""
    with KINDS[kind]() as engine:
        took = [load(engine, one) for one in archives]
        return statistics.median(took[1:]), peak(engine)


def main() -> None:
    """Each engine in turn."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    kinds = [kind for kind in installed()[0] if kind in ("hakobune", "dockerd")]
    with tempfile.TemporaryDirectory(prefix="hk-") as directory:
        plain = Path(directory, "layer.tar")
        if len(sys.argv) > 2:
            plain = Path(sys.argv[2])
        else:
            layer(plain).unlink()
        archives = [archive(plain, number, Path(directory)) for number in range(rounds + 1)]
        print(f"{archives[0].stat().st_size / 1e6:.0f} MB as an archive", flush=True)
        found = {kind: measure(kind, archives) for kind in kinds}
    for kind, (seconds, memory) in found.items():
        print(f"{kind:10} load {seconds:.2f} s  peak {memory} MiB")
    if len(found) == 2:
        print(f"ours / dockerd: load {found['hakobune'][0] / found['dockerd'][0]:.2f}")


if __name__ == "__main__":
    main()
