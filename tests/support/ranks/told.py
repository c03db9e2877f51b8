"""What two ranks tell of a short run, as events, for tests of what is made of them."""

from typing import Any

import numpy as np

from distlab.backends.base import Evaluation
from distlab.data.order import epoch_order, shard
from distlab.measure.clock import Window
from distlab.outcome.events import Begun, EpochDone, Finished, Progress, Ready, Started
from distlab.outcome.record import Record
from distlab.outcome.summary import summarised

STEPS = 31
SPANS = (10, 10, 10, 1)


def window(seconds: float) -> Window:
    return Window(seconds, tuple((n, seconds * n / 40) for n in SPANS))


def part(
    rank: int, epoch: int, seconds: float, loss: float, correct: int, of: int = 2
) -> EpochDone:
    order = epoch_order(0, epoch, 124, 4)
    evaluation = Evaluation(11 + rank, correct, 2.0 * (11 + rank))
    losses = np.full(STEPS, loss, np.float32)
    mine = shard(order, rank, of)
    return EpochDone(rank, epoch, window(seconds), losses, mine, evaluation)


def ready(rank: int, **seconds: float) -> Ready:
    resources = {"framework_version": "1.2", "device_name": "abacus", "threads": 1, "tf32": False}
    causes = dict.fromkeys(
        ("framework_import", "process_group", "build", "warm_up", "compile"), 0.0
    )
    return Ready(rank, "a" * 64, 0.0, resources, {**causes, **seconds})


def fill(record: Record) -> dict[str, Any]:
    for rank in (0, 1):
        record.add(Started(rank, "here", 100 + rank))
    record.add(ready(0, build=1.0, warm_up=2.0, compile=1.5))
    record.add(ready(1, build=3.0, warm_up=4.0, compile=2.5))
    for epoch, correct in ((0, 4), (1, 7)):
        record.add(part(0, epoch, 1.0 + epoch, 2.0 - epoch, correct))
        record.add(Progress(0, epoch, 10, 0.1, 1.0))
        record.add(part(1, epoch, 2.0 + 2 * epoch, 1.0 - epoch, correct))
    record.add(Finished(0, "b" * 64, 10_000, {"w": np.zeros(1, np.float32)}))
    record.add(Finished(1, "b" * 64, 30_000))
    return summarised(record)


def begun(record: Record, epoch: int = 0, failure: str | None = None, **values: Any) -> None:
    record.add(Begun(f"g{epoch}", 0, 2, epoch, failure, values.get("failed")))
    for rank in (0, 1):
        record.add(Started(rank, values.get("host", "here"), 100 + rank))
        record.add(ready(rank))


def trained(record: Record, epoch: int, seconds: float) -> None:
    for rank in (0, 1):
        record.add(part(rank, epoch, seconds, 1.0, 1))
