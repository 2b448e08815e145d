"""hakobune.manager.v1.Check, our own service: Run({"repair": …, "young": seconds}) answers with one JSON text for each finding."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

from google.protobuf.wrappers_pb2 import StringValue

from hakobune.containerd.checking.check import Check
from hakobune.containerd.serving import Call, Service

NAME = "hakobune.manager.v1.Check"
_YOUNG_SECONDS = 60.0


def service(check: Callable[[bool, float], Check]) -> Service:
    """The edge. It names no namespace: all are meant. `check(repair, young)` makes one."""

    async def run(request: StringValue, _call: Call) -> AsyncIterator[StringValue]:
        asked = json.loads(request.value or "{}")
        async for found in check(bool(asked.get("repair")), float(asked.get("young", _YOUNG_SECONDS))).run():
            yield StringValue(value=found.text())

    served = Service(NAME, namespaced=False)
    served.stream("Run", StringValue, run)
    return served
