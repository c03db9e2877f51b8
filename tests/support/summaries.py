"""Summaries of runs as ``summary.json`` holds them, for tests of what reads them."""

from typing import Any


def summary(**values: Any) -> dict[str, Any]:
    return {
        "framework": "torch",
        "framework_version": "2.13.0",
        "execution": "eager",
        "precision": "fp32",
        "model": "mlp",
        "parameters": 89_610,
        "data": "mnist5k",
        "device": "cpu",
        "world_size": 2,
        "threads_per_worker": 1,
        "batch_size": 64,
        "global_batch_size": 128,
        "scaling": "weak",
        "epochs": 2,
        "throughput_samples_per_s": 23_456.7,
        "step_time_ms": {"p50": 1.231, "p95": 2.349, "p99": 3.457},
        "epoch_time_s": [1.0, 2.0],
        "test_accuracy": [0.8, 0.9125],
        "time_to_accuracy_s": None,
        "target_accuracy": 0.97,
        "weights_sha256": "a" * 64,
        "samples_sha256": "b" * 64,
        "first_losses": [2.3, 2.2],
        "compile_s": 0.4,
        "startup_s": 7.25,
        "wall_s": 12.5,
        "verified": True,
        "checks": {
            "weights": {"passed": True, "detail": "fine"},
            "clock": {"passed": True, "detail": "fine"},
        },
        "mlflow": {"tracking_uri": "sqlite:////there/mlflow.db"},
        **values,
    }
