"""Whether Ray has an autoscaler, by what Ray of each sort says of itself."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.core.generated import autoscaler_pb2

from distlab.cluster.start import waiting

ID = "node_dffeeb18369d80bd63650650fb2bd4fece16cae856191a9b5a30ac00"


def told(kinds: dict[str, int]) -> bytes:
    """What the monitor beside a head writes (Ray's first autoscaler)."""
    report = {"active_nodes": kinds, "pending_launches": {}}
    return json.dumps({"autoscaler_report": report}).encode()


def status(kind: str, version: int) -> bytes:
    """What Ray's head says of its nodes and its second autoscaler, which may never have spoken."""
    messages: Any = autoscaler_pb2
    reply = messages.GetClusterStatusReply()
    reply.cluster_resource_state.node_states.add().ray_node_type_name = kind
    if version:
        reply.autoscaling_state.autoscaler_state_version = version
    found: bytes = reply.SerializeToString()
    return found


@pytest.mark.parametrize(
    ("written", "answered", "expected"),
    [
        (told({ID: 2}), status("", 0), False),  # ray start --head
        (told({"ray.head.default": 1}), status("", 0), True),  # ray up
        (None, status("headgroup", 0), False),  # KubeRay without its autoscaler
        (None, status("headgroup", 3), True),  # KubeRay with it
        (b"", status(ID, 3), False),
        (b"no JSON", status("", 0), False),
    ],
)
def test_an_autoscaler_is_known_by_the_kinds_of_its_nodes(
    written: bytes | None, answered: bytes, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = SimpleNamespace(get_cluster_status=lambda **_: answered)
    monkeypatch.setattr(ray._private.worker.global_worker, "gcs_client", head, raising=False)
    monkeypatch.setattr(waiting, "_internal_kv_get", lambda _: written)
    assert waiting.autoscaled() is expected
