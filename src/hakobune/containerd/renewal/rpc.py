"""hakobune.manager.v1.Renewal, our own service: Run() answers with one JSON text for each process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import StringValue

from hakobune.containerd.renewal.renewal import renew
from hakobune.containerd.serving import Call, Service
from hakobune.containerd.tasks.tasks import Tasks
from hakobune.shim.manager_client import Zygote

NAME = "hakobune.manager.v1.Renewal"


def service(tasks: Tasks, zygote: Zygote) -> Service:
    """The edge. It names no namespace: all are meant."""

    async def run(_request: Empty, _call: Call) -> AsyncIterator[StringValue]:
        async for one in renew(tasks, zygote):
            yield StringValue(value=json.dumps(one.record()))

    served = Service(NAME, namespaced=False)
    served.stream("Run", Empty, run)
    return served
