"""By what TensorFlow reduces, read from what it traced in a process of its own."""

import json
import sys
from importlib.util import find_spec
from typing import Any

import fresh_process
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("tensorflow") is None,
        reason='TensorFlow is not installed: pip install "distlab[tf]"',
    ),
]


def traced(hint: str, device: str) -> Any:
    """A function that reduces in a function that it calls, as it is traced for a device."""
    import tensorflow as tf

    @tf.function
    def reduce(value: Any) -> Any:
        with tf.device(f"/job:worker/replica:0/task:0/device:{device}:0"):
            return tf.raw_ops.CollectiveReduceV2(
                input=value,
                **dict.fromkeys(("group_size", "group_key", "instance_key"), tf.constant(2)),
                ordering_token=[],
                merge_op="Add",
                final_op="Id",
                communication_hint=hint,
            )

    inlined_by_nobody = tf.function(lambda value: reduce(value) / 2)
    return inlined_by_nobody.get_concrete_function(tf.TensorSpec([]))


def child() -> dict[str, str]:
    """What is told of each hint: on a CPU, and as if on a GPU, by two builds."""
    import tensorflow as tf

    from distlab.backends.tensorflow.exchange import collectives

    found = {}
    for hint in ("ring", "auto", "nccl"):
        for device, cuda in (("CPU", True), ("GPU", True), ("GPU", False)):
            tf.test.is_built_with_cuda = lambda cuda=cuda: cuda
            found[f"{hint} {device} {cuda}"] = collectives(traced(hint, device))
    try:
        nothing = tf.function(lambda value: value + 1)
        found["nothing"] = collectives(nothing.get_concrete_function(tf.TensorSpec([])))
    except ValueError as error:
        found["nothing"] = str(error)
    return found


def test_nccl_is_told_only_where_all_three_conditions_of_tensorflow_are_read() -> None:
    found = fresh_process.found(__file__)
    assert found.pop("nothing") == "no collective operation in the traced function"
    assert found.pop("nccl GPU True") == "nccl"
    assert set(found.values()) == {"grpc ring"}
    assert len(found) == 8


if __name__ == "__main__":
    sys.stdout.write(json.dumps(child()))
