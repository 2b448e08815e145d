"""One gzip member that everybody reads, the same each time, whatever is in it and however it comes."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import subprocess
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hakobune.layers import decompress, gzipping
from hakobune.layers.gzipping import Gzip


def packed(*parts: bytes, threads: int = 3) -> bytes:
    out = io.BytesIO()
    writer = Gzip(out, threads)
    for part in parts:
        writer.write(part)
    writer.close()
    return out.getvalue()


NOISE = random.Random(1).randbytes(2_500_000)
SAMPLES = [b"", b"x", b"text " * 700_000, NOISE, b"begin" + NOISE[: 1 << 20] + b"end " * 300_000]


@pytest.fixture(params=["as installed", "by zlib"], autouse=True)
def _kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "by zlib":
        monkeypatch.setattr(gzipping, "_isal", None)


@pytest.mark.parametrize("data", SAMPLES, ids=["nothing", "one", "text", "noise", "mixed"])
def test_everybody_reads_it(data: bytes) -> None:
    made = packed(data)
    assert gzip.decompress(made) == data
    assert b"".join(decompress.chunks(io.BytesIO(made))) == data
    one = zlib.decompressobj(wbits=31)
    assert one.decompress(made) == data
    assert (one.eof, one.unused_data) == (True, b""), "one member, and nothing after it"
    if program := shutil.which("gzip"):
        assert subprocess.run([program, "-dc"], input=made, capture_output=True, check=True).stdout == data


def test_the_same_bytes_however_it_comes() -> None:
    data = SAMPLES[-1]
    made = packed(data, threads=1)
    assert made == packed(*(data[at : at + 70_001] for at in range(0, len(data), 70_001)), threads=4)


def test_noise_is_stored_and_text_is_not() -> None:
    assert len(packed(NOISE)) < len(NOISE) + 2000
    assert len(packed(SAMPLES[2])) < len(SAMPLES[2]) / 50


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=200)))
def test_any_parts(parts: list[bytes]) -> None:
    assert gzip.decompress(packed(*parts, threads=1)) == b"".join(parts)


def test_a_reader_that_goes() -> None:
    class Closed(io.BytesIO):
        def write(self, data: object, /) -> int:
            if len(self.getvalue()) > 10:
                raise BrokenPipeError
            return super().write(data)  # type: ignore[arg-type]

    writer = Gzip(Closed(), 2)
    with pytest.raises(BrokenPipeError):
        writer.write(NOISE * 8)
