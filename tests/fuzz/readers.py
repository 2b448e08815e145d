"""Fuzzing what reads a stranger's bytes: tar archives in any compression, and the documents of images.

    python tests/fuzz/readers.py tar|decompress|manifest [SECONDS [CORPUS]]

By atheris (libFuzzer), which is no dependency: `pip install atheris`, where it has a wheel for the interpreter. A reader may
refuse with one of hakobune's errors; anything else is a finding, and the input is left in a file as libFuzzer does it.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib
import io
import json
import lzma
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

_SECONDS = 60
_LARGEST = 16 << 10  # bytes of an input
_MOST = 4 << 20  # bytes that are read of what it unpacks to


def pieces(data: bytes) -> Iterator[bytes]:
    """In three parts, so that no reader counts on getting all at once."""
    third = len(data) // 3 + 1
    for at in range(0, len(data), third):
        yield data[at : at + third]


def read_tar(data: bytes) -> None:
    """Every entry and its data."""
    from hakobune.layers import apply, tar

    reader = tar.Reader(pieces(data))
    for entry in reader:
        apply.clean(entry.name)
        for _chunk in reader.data():
            pass
    reader.drain()


def read_compressed(data: bytes) -> None:
    """The beginning of what it unpacks to."""
    from hakobune.layers import decompress

    total = 0
    for chunk in decompress.chunks(io.BytesIO(data)):
        total += len(chunk)
        if total > _MOST:
            return


def read_manifest(data: bytes) -> None:
    """A document, and what it says is below it."""
    from hakobune.containerd.transfer import blobs, tree

    document = blobs.parse(data, "fuzz")
    tree.children(document)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "tar": read_tar,
    "decompress": read_compressed,
    "manifest": read_manifest,
}


def an_archive() -> bytes:
    """A little of everything: long names, PAX records, links, a device, a directory."""
    out = io.BytesIO()
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(fileobj=out, mode="w", format=form) as packed:
            for number, kind in enumerate((b"0", b"5", b"1", b"2", b"3", b"6")):
                info = tarfile.TarInfo("long/" * 24 * (number % 2) + str(number))
                info.type, info.linkname, info.size = kind, "0", 3 if kind == b"0" else 0
                info.pax_headers = {"SCHILY.xattr.user.a": "b", "mtime": "1.5"}
                packed.addfile(info, io.BytesIO(b"abc"))
    return out.getvalue()[:_LARGEST]


def seeds(name: str) -> Iterator[bytes]:
    """What a fuzzer begins with."""
    if name == "tar":
        yield an_archive()
    elif name == "decompress":
        yield from (pack(b"some text" * 9) for pack in (gzip.compress, bz2.compress, lzma.compress))
        yield bytes.fromhex("28b52ffd0400190000616263b9a27c94")  # a frame of zstd
    else:
        part = {
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": f"sha256:{'0' * 64}",
            "size": 1,
        }
        yield json.dumps(
            {"schemaVersion": 2, "config": part, "layers": [part, {**part, "urls": ["http://x"]}]}
        ).encode()
        platform = {"os": "linux", "architecture": "arm", "variant": "v7"}
        yield json.dumps(
            {"schemaVersion": 2, "manifests": [{**part, "platform": platform, "annotations": {}}]}
        ).encode()


def once(target: Callable[[bytes], None], data: bytes) -> None:
    """One input. Raises what is a finding."""
    from hakobune.errors import HakoError

    with contextlib.suppress(HakoError):
        target(data)


def main() -> int:
    """Run until a finding or the end of the time."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError as err:
        print(f"atheris cannot be imported by Python {sys.version.split()[0]}: {err}", file=sys.stderr)
        return 3
    target = TARGETS[sys.argv[1]]
    with atheris.instrument_imports(include=["hakobune"]):
        for data in (b"", b"{}", bytes(1024)):
            once(target, data)  # what is imported here is instrumented
    if sys.argv[1] == "tar":  # a sum that anybody can write keeps nobody out, but a fuzzer it does
        importlib.import_module("hakobune.layers.tar")._checked = lambda _header: True  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory(prefix="hk-fuzz-") as corpus:
        for number, data in enumerate(seeds(sys.argv[1])):
            Path(corpus, str(number)).write_bytes(data)
        if child := os.fork():  # libFuzzer ends its process without a word to Python
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        run(atheris, target, sys.argv[3:] or [corpus])
    return 0


def run(atheris: Any, target: Callable[[bytes], None], corpus: list[str]) -> None:
    """Does not return."""
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else _SECONDS
    options = [f"-max_total_time={seconds}", f"-max_len={_LARGEST}", "-rss_limit_mb=512", "-timeout=10"]
    atheris.Setup([sys.argv[0], *options, *corpus], lambda data: once(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    raise SystemExit(main())
