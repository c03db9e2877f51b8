"""Studies as ``study.json`` holds them, with seeded noise, for tests of what reads them."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from summaries import load, summary

from distlab.report.figures.runs import options

Summary = dict[str, Any]
Predicate = Callable[[Mapping[str, Any]], bool]

VERSIONS = {"torch": "2.13.0", "tf": "2.21.0", "paddle": "3.3.1"}
EXECUTIONS = {"torch": "eager", "tf": "graph", "paddle": "eager"}
# Samples/s of one worker with one thread at batch 64.
RATES = {
    ("mlp", "torch"): 108_000.0,
    ("mlp", "tf"): 175_000.0,
    ("mlp", "paddle"): 120_000.0,
    ("lenet5", "torch"): 12_300.0,
    ("lenet5", "tf"): 17_900.0,
    ("lenet5", "paddle"): 9_200.0,
}
# Seconds of gradient exchange a step with two workers.
EXCHANGE_S = {"torch": 0.0005, "tf": 0.0016, "paddle": 0.0007}
FLOPS = {"mlp": 537_660, "lenet5": 2_263_920}
ACCURACY = {"mlp": 0.975, "lenet5": 0.989}
TARGET = {"mlp": 0.97, "lenet5": 0.985}
SAMPLES = 60_000


def where(**values: Any) -> Predicate:
    """Whether a run has all these values; a tuple of values means any of them."""

    def chosen(run: Mapping[str, Any]) -> bool:
        return all(
            run[name] in value if isinstance(value, tuple) else run[name] == value
            for name, value in values.items()
        )

    return chosen


def nothing(run: Mapping[str, Any]) -> bool:
    return False


def study(
    *,
    repeats: int = 5,
    frameworks: Iterable[str] = ("torch", "tf", "paddle"),
    world_sizes: Iterable[int] = (1, 2),
    scalings: Iterable[str] = ("weak", "strong"),
    models: Iterable[str] = ("mlp", "lenet5"),
    epochs: int = 3,
    batch_size: int = 64,
    noise: float = 0.02,
    random_seed: int = 0,
    experiment: str | None = None,
    baselines: str = "study",
    slower: Mapping[str, float] | None = None,
    unverified: Predicate = nothing,
    noisy: Predicate = nothing,
    oversubscribed: Predicate = nothing,
    failed: Predicate = nothing,
    values: Mapping[str, Any] | None = None,
    precision: str = "fp32",
    group_runs: int | None = 1,
    executions: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A study of all cells and repeats, interleaved as distlab runs them.

    ``noise`` is the relative standard deviation of a run's throughput; half of it is shared by the
    runs of one repeat, as drift of the machine is. ``slower`` multiplies a framework's times.
    ``baselines`` says where the runs with one worker are: in the ``study``, in the ``store``, or
    ``nowhere``. ``unverified``, ``noisy``, ``oversubscribed`` and ``failed`` choose runs;
    ``values`` overrides keys of every run. Workers are renewed after ``group_runs`` runs of a cell
    (None: it isn't known when). ``executions`` are those of frameworks that differ from the
    defaults.
    """
    random = np.random.default_rng(random_seed)
    sizes = sorted({1, *world_sizes} if baselines == "store" else set(world_sizes))
    runs, failures = [], []
    for repeat in range(repeats):
        drift = random.normal(0, noise / 2)
        for model in models:
            for scaling in scalings:
                for world_size in sizes:
                    for framework in frameworks:
                        run = _run(
                            random,
                            repeat=repeat,
                            model=model,
                            scaling=scaling,
                            world_size=world_size,
                            framework=framework,
                            epochs=epochs,
                            batch_size=batch_size,
                            precision=precision,
                            execution={**EXECUTIONS, **(executions or {})}[framework],
                            pace=(slower or {}).get(framework, 1.0)
                            * float(np.exp(drift + random.normal(0, noise / 2))),
                        )
                        del run["group"]
                        if group_runs is not None:
                            run["group"] = f"{run['cell']}-{repeat // group_runs}"
                        run.update(values or {})
                        run["options"] = options({**run, "options": None})
                        if failed(run):
                            failures.append(_failure(run))
                            continue
                        if unverified(run):
                            run["verified"] = False
                            run["checks"]["trajectory"] = {
                                "passed": False,
                                "detail": "relative error 3.1e-02 at step 4 <of 10>",
                            }
                        if noisy(run):
                            why = "other processes kept 1.3 of 2 cores busy"
                            run["load"].update(other_cores=1.3, too_noisy=why)
                            run["caveats"].append({"code": "noisy", "detail": why})
                        if oversubscribed(run):
                            detail = "4 threads on 2 cores of here"
                            run["caveats"].append({"code": "oversubscribed", "detail": detail})
                        runs.append(run)
    ones = [run for run in runs if run["world_size"] == 1]
    if baselines != "study":
        runs = [run for run in runs if run["world_size"] > 1]
    for run in runs:
        run.update(speedup=None, scaling_efficiency=None, baseline_run_id=None)
    if baselines != "nowhere":
        _relate(runs, ones)
    return {
        "schema_version": 2,
        "study": _hash("study", random_seed),
        "experiment_id": "1",
        "name": f"study of {', '.join(models)}: {', '.join(frameworks)}",
        "command": "python -m distlab.launch -m framework=torch,tf,paddle gpus=1,2 device=cpu "
        f"repeats={repeats}",
        "experiment": experiment,
        "started": "2026-03-02T09:15:00+00:00",
        "finished": "2026-03-02T10:02:41+00:00",
        "wall_s": sum(run["wall_s"] for run in runs) + 40.0,
        "looks": 1,
        "distlab_version": "0.1.0",
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "environment": {
            "distlab": "0.1.0",
            "git_commit": "0123456789abcdef0123456789abcdef01234567",
            "platform": "Linux-6.1-x86_64-with-glibc2.36",
            "processor": "AMD EPYC 7B13",
            "cpus": 2,
            "python": "3.11.9 (main) [GCC 12.2.0]",
            "packages": {"ray": "2.60.0", "mlflow": "3.17.0", "numpy": "2.3.1", "torch": "2.13.0"},
        },
        "tracking_uri": "sqlite:////there/mlflow.db",
        "runs": runs,
        "failed": failures,
        "baselines": ones if baselines == "store" else [],
    }


def together(*studies: dict[str, Any]) -> dict[str, Any]:
    """One study of the runs of several; the rest is the first's."""
    return {
        **studies[0],
        **{name: [run for one in studies for run in one[name]] for name in ("runs", "failed")},
    }


def with_variants(told: dict[str, Any], values: int) -> dict[str, Any]:
    """Every run as often as an option of its framework's own has values, each value 1 % faster.

    So many more cells stand in each setting and are compared with each other.
    """
    runs = []
    for value, run in itertools.product(range(values), told["runs"]):
        cell = f"{value:02d}{run['cell'][2:]}"
        runs.append(
            {
                **run,
                "cell": cell,
                "group": run.get("group") and f"{cell}-{run['group'].rpartition('-')[2]}",
                "throughput_samples_per_s": run["throughput_samples_per_s"] * 1.01**value,
                "options": {**run["options"], "framework.tuning": str(value)},
            }
        )
    return {**told, "runs": runs}


def classroom(model: str = "mlp", *, repeats: int = 10, **options: Any) -> dict[str, Any]:
    """The classroom study of one model: three frameworks, one worker, 10 epochs, 10 repeats."""
    return study(
        models=(model,),
        repeats=repeats,
        epochs=10,
        world_sizes=(1,),
        scalings=("weak",),
        experiment=f"classroom_{model}",
        **options,
    )


def _run(
    random: np.random.Generator,
    *,
    repeat: int,
    model: str,
    scaling: str,
    world_size: int,
    framework: str,
    epochs: int,
    batch_size: int,
    precision: str,
    execution: str,
    pace: float,
) -> Summary:
    local = batch_size if scaling == "weak" else batch_size // world_size
    overall = local * world_size
    compute_s = (0.35 + 0.65 * local / 64) * 64 / RATES[model, framework]
    exchange_s = EXCHANGE_S[framework] * (world_size > 1)
    steps = SAMPLES // overall
    seconds = [
        (compute_s + exchange_s) * pace * steps * float(np.exp(random.normal(0, 0.004)))
        for _ in range(epochs)
    ]
    final = ACCURACY[model] + random.normal(0, 0.0012)
    accuracy = [final - 0.03 * 0.45**epoch for epoch in range(epochs)]
    reached = next((e for e, value in enumerate(accuracy) if value >= TARGET[model]), None)
    rate = overall * steps * epochs / sum(seconds)
    peak = 1.92e11 * world_size
    fresh = repeat == 0
    equal = (model, scaling, epochs, batch_size, *([precision] if precision != "fp32" else []))
    own = (framework, *([execution] if execution != EXECUTIONS[framework] else []))
    step_ms = sum(seconds) / (epochs * steps) * 1e3
    return summary(
        study=_hash("study", 0),
        cell=_hash(*own, world_size, *equal)[:16],
        comparison_key=_hash(*equal)[:16],
        series=_hash(*own, *equal)[:16],
        repeat=repeat,
        seed=0,
        run_seed=repeat,
        group_run=0 if fresh else repeat,
        framework=framework,
        framework_version=VERSIONS[framework],
        execution=execution,
        precision=precision,
        optimizer="reference",
        model=model,
        parameters=89_610 if model == "mlp" else 61_706,
        training_flops_per_sample=FLOPS[model],
        data="mnist",
        data_sha256=2 * _hash("mnist"),
        device="cpu",
        device_name="AMD EPYC 7B13",
        resources={
            **summary()["resources"],
            "framework_version": VERSIONS[framework],
            "device_name": "AMD EPYC 7B13",
        },
        world_size=world_size,
        scaling=scaling,
        batch_size=batch_size,
        global_batch_size=overall,
        learning_rate=0.001,
        epochs=epochs,
        threads_per_worker=1,
        kept_from_workers=[],
        pin=None,
        steps_per_epoch=steps,
        target_accuracy=TARGET[model],
        throughput_samples_per_s=rate,
        step_time_ms={
            "mean": step_ms,
            "p50": step_ms,
            "p95": step_ms * 1.05,
            "p99": None,
            "spans": 30,
            "span_steps": 190,
        },
        epoch_time_s=seconds,
        train_loss=[0.35 * 0.5**epoch for epoch in range(epochs)],
        test_loss=[0.3 * 0.6**epoch for epoch in range(epochs)],
        test_accuracy=accuracy,
        time_to_accuracy_s=None if reached is None else sum(seconds[: reached + 1]),
        loss_curve=_losses(model, steps * epochs, repeat, random),
        **_shares(exchange_s / (compute_s + exchange_s) if world_size > 1 else None),
        matrix_product_flops_per_s=peak,
        model_flop_utilisation=rate * FLOPS[model] / peak,
        peak_memory_bytes=int(random.integers(400, 600)) * 2**20,
        peak_device_memory_bytes=None,
        compile_s=0.3 * pace if fresh else 0.01,
        startup_s=8.0 * pace if fresh else 0.9,
        startup_split_s={"workers": 5.0 if fresh else 0.2, "worker_framework_import": 2.1},
        wall_s=sum(seconds) + (10.0 if fresh else 2.0),
        load=load(own_cores=float(world_size)),
        mlflow={
            "tracking_uri": "sqlite:////there/mlflow.db",
            "experiment": "distlab",
            "run_id": _hash(*own, world_size, repeat, *equal),
        },
    )


def _shares(share: float | None) -> dict[str, float | None]:
    """The communication share of a run, known to within a point."""
    names = [f"communication_share{end}" for end in ("", "_low", "_high")]
    shares = [None if share is None else share + error for error in (0.0, -0.01, 0.01)]
    return dict(zip(names, shares, strict=True))


def _losses(model: str, steps: int, repeat: int, random: np.random.Generator) -> dict[str, Any]:
    """The same curve for all runs of one seed, but for a little rounding."""
    ends = np.unique(np.linspace(1, steps, 101).astype(int)[1:])
    shared = np.random.default_rng(repeat).normal(0, 0.06, ends.size)
    loss = (0.05 + 2.25 / (1 + ends / (60 if model == "mlp" else 90))) * np.exp(
        shared + random.normal(0, 0.003, ends.size)
    )
    return {"step": [int(step) for step in ends], "loss": [float(value) for value in loss]}


def _relate(runs: list[Summary], baselines: list[Summary]) -> None:
    """Give each run its speed-up against the run with one worker of the same repeat."""
    for run in runs:
        for one in baselines:
            same = all(
                one[key] == run[key]
                for key in ("framework", "execution", "comparison_key", "repeat")
            )
            if same:
                rate = run["throughput_samples_per_s"] / one["throughput_samples_per_s"]
                run.update(
                    speedup=rate,
                    scaling_efficiency=rate / run["world_size"],
                    baseline_run_id=one["mlflow"]["run_id"],
                )


def _failure(run: Summary) -> dict[str, Any]:
    keys = (
        "framework",
        "execution",
        "precision",
        "model",
        "world_size",
        "scaling",
        "device",
        "batch_size",
        "options",
        "cell",
        "repeat",
    )
    error = "worker 0 died: signal 9 <SIGKILL>"
    return {**{key: run[key] for key in keys}, "error": error, "log": "outputs/x/rank0.log"}


def _hash(*parts: Any) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:32]
