"""Messages of the task service in and out, and errors at its edge."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hakobune.errors import NotFound
from hakobune.shim import rpc
from hakobune.shim.publish import encode
from hakobune.spec.mount import Mount
from hakobune.task.lifecycle import Life
from hakobune.task.process import Member, Spec
from hakobune.wire import pb, ttrpc

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.lists(
        st.builds(Mount, TEXT, TEXT, TEXT, st.lists(TEXT.filter(bool), max_size=3).map(tuple)), max_size=3
    )
)
def test_mounts(mounts: list[Mount]) -> None:
    raw: list[int | bytes] = [rpc.write_mount(mount) for mount in mounts]
    assert rpc.read_mounts(raw) == mounts


@given(st.integers(0, 2**62))
def test_timestamp(at: int) -> None:
    fields = pb.decode(rpc.timestamp(at))
    assert pb.number(fields, 1) * 1_000_000_000 + pb.number(fields, 2) == at


class Sink:
    """A connection that keeps what is written."""

    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent += data


def test_an_error_travels_with_its_code() -> None:
    sink = Sink()
    rpc.Call(sink, 5, {}).failed(NotFound("no such exec"))  # type: ignore[arg-type]
    (frame,) = ttrpc.Decoder().feed(sink.sent)
    assert (frame.stream, frame.type) == (5, ttrpc.RESPONSE)
    assert ttrpc.unpack_response(frame.data) == ttrpc.Response(b"", 5, "no such exec")


class Held:
    """As much of a service as an event needs."""

    id = "c1"
    bundle = "/b"
    rootfs = (Mount("overlay", "overlay", "", ("ro",)),)


def test_events() -> None:
    member = Member(Spec("e1", False, "/in", "/out", ""), Life("exec process"))
    member.life.pid, member.life.exit_status, member.life.exited_at = 42, 7, 1_000_000_005
    kind, raw = encode("/tasks/exit", Held(), member)  # type: ignore[arg-type]
    fields = pb.decode(raw)
    assert kind == "containerd.events.TaskExit"
    assert (pb.text(fields, 1), pb.text(fields, 2), pb.number(fields, 3), pb.number(fields, 4)) == (
        "c1",
        "e1",
        42,
        7,
    )
    assert pb.decode(pb.blob(fields, 5)) == {1: [1], 2: [5]}
    for topic in ("create", "start", "delete", "exec-added", "exec-started", "oom", "paused", "resumed"):
        kind, raw = encode(f"/tasks/{topic}", Held(), member)  # type: ignore[arg-type]
        assert kind.lower() == "containerd.events.task" + topic.replace("-", "")
        assert pb.text(pb.decode(raw), 1) == "c1" or topic == "delete"
