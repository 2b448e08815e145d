"""Generate the Python modules and their typed stubs from src/hakobune/proto/*.proto, in place.

Only messages are generated: services are bound by hand (containerd/client, containerd/*/rpc.py),
which leaves no generated code between a call and its handler.
"""

from __future__ import annotations

import sys
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

SRC = Path(__file__).resolve().parents[1] / "src"
PROTO = SRC / "hakobune" / "proto"


def main() -> int:
    """Run the compiler once for all files; returns its exit code."""
    for old in PROTO.glob("*_pb2.py*"):
        old.unlink()
    plugin = Path(sys.executable).parent / "protoc-gen-mypy"
    return int(
        protoc.main(
            [
                "protoc",
                f"--proto_path={SRC}",
                f"--proto_path={Path(grpc_tools.__file__).parent / '_proto'}",
                f"--plugin=protoc-gen-mypy={plugin}",
                f"--python_out={SRC}",
                f"--mypy_out=quiet:{SRC}",
                *sorted(str(path) for path in PROTO.glob("*.proto")),
            ]
        )
    )


if __name__ == "__main__":
    raise SystemExit(main())
