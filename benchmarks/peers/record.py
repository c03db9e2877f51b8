"""What every peer is told on its command line and tells in one line of JSON."""

import argparse
import json
import os
import resource
import time


def options() -> argparse.Namespace:
    """``model``, ``data``, ``epochs`` and ``batch`` (samples of a step in this process)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=("mlp", "lenet5"), default="mlp")
    parser.add_argument("--data", choices=("mnist", "mnist5k"), default="mnist")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="of quickstarts")
    return parser.parse_args()


class Record:
    """The clock of one peer. The first epoch is its warm-up, unless there is but one.

    ``first_step_time`` and ``first_step_end_time`` are seconds since 1970; the latter is null where
    the framework's own loop (``model.fit``) does not show single steps without being slowed.
    """

    def __init__(self) -> None:
        self.epoch_time_s: list[float] = []
        self.steps_per_epoch = 0
        self.first_step_time: float | None = None
        self.first_step_end_time: float | None = None

    def begin_epoch(self) -> None:
        """Call before the first step of an epoch, all ranks and devices idle."""
        if self.first_step_time is None:
            self.first_step_time = time.time()
        self._start = time.perf_counter()

    def first_step_done(self) -> None:
        """Call after a step; only the first call counts."""
        if self.first_step_end_time is None:
            self.first_step_end_time = time.time()

    def end_epoch(self, steps: int) -> None:
        """Call after the last step of an epoch, all ranks and devices idle."""
        self.epoch_time_s.append(time.perf_counter() - self._start)
        self.steps_per_epoch = steps

    def write(self, final_loss: float, world_size: int, checksum: float) -> None:
        """Print the line; ``checksum`` is a sum over the final weights, to compare the ranks."""
        timed = self.epoch_time_s[1:] or self.epoch_time_s
        line = {
            "steps": self.steps_per_epoch * len(timed),
            "seconds": sum(timed),
            "steps_per_epoch": self.steps_per_epoch,
            "epoch_time_s": self.epoch_time_s,
            "first_step_time": self.first_step_time,
            "first_step_end_time": self.first_step_end_time,
            "final_loss": final_loss,
            "weights_checksum": checksum,
            "world_size": world_size,
            "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        print(json.dumps(line), flush=True)  # noqa: T201
