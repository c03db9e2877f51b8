import math

import launching
import pytest

FRAMEWORKS = ("torch", "tf", "paddle")
ARGUMENTS = ("--data", "mnist5k", "--epochs", "2", "--model", "mlp")


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_quickstart_peer_learns_and_tells_its_times(framework: str) -> None:
    record = launching.quickstart_peer(framework, *ARGUMENTS, "--batch", "64")
    assert record["steps_per_epoch"] == 4000 // 64
    assert record["steps"] == 4000 // 64, "the first epoch is warm-up"
    assert len(record["epoch_time_s"]) == 2 and min(record["epoch_time_s"]) > 0
    assert record["command_time"] < record["first_step_time"]
    assert record["omp_num_threads"] == "1"
    assert record["final_loss"] < math.log(10) / 2


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_parallel_peer_learns_on_two_workers_with_equal_weights(framework: str) -> None:
    # Each peer compares its workers' weights at the end and fails where they differ.
    record = launching.parallel_peer(framework, 2, *ARGUMENTS, "--batch", "32")
    assert record["world_size"] == 2
    assert record["steps_per_epoch"] == 4000 // 64
    assert record["command_time"] < record["first_step_time"] < record["first_step_end_time"]
    assert record["final_loss"] < math.log(10) / 2


def test_a_peer_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(RuntimeError, match="invalid choice: 'resnet'"):
        launching.quickstart_peer("torch", "--model", "resnet")
