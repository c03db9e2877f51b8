"""The summary of a run: its record as the figures that ``summary.json`` holds."""

import time
from typing import Any

from distlab.experiment.names import made_of
from distlab.machine.load import worst
from distlab.measure.clock import step_times
from distlab.measure.efficiency import model_flop_utilisation
from distlab.outcome.caveats import Caveat, plain, resized, restarted
from distlab.outcome.devices import energy, gpus
from distlab.outcome.devices.hosts import caveats
from distlab.outcome.evaluations.points import to_target, told
from distlab.outcome.exchange import all_reduces, share
from distlab.outcome.record import Record
from distlab.outcome.stretch import by_size


def summarised(record: Record) -> dict[str, Any]:
    """The figures of the run as JSON-able values; checks and tracking ids are added later."""
    experiment, options, hosts = record.experiment, record.experiment.options, record.hosts
    exchange = share([done.exchange for done in record.finished.values() if done.exchange])
    resources = record.ready[0].resources if 0 in record.ready else {}
    seconds = [epoch.seconds for epoch in record.epochs]
    steps = len(record.dataset.train_labels) // experiment.global_batch
    slowest = [
        max(parts.values(), key=lambda part: part.window.seconds).window for parts in record.windows
    ]
    taken = sum(epoch.steps for epoch in record.epochs)
    samples = experiment.global_batch * taken
    points = record.points
    reached, resolution = to_target(points, options.target_accuracy)
    every = options.evaluate.every
    figure = samples / sum(seconds) if seconds else None
    rates: list[Any] = [
        ready.resources.get("matrix_product_flops_per_s") for ready in record.ready.values()
    ]
    limit = float(sum(rates)) if rates and None not in rates else None
    return {
        "framework": options.framework.name,
        "framework_version": resources.get("framework_version"),
        "execution": experiment.execution,
        "precision": str(options.precision),
        "optimizer": str(options.optimizer.variant),
        "model": options.model.name,
        "data": record.dataset.name,
        "data_sha256": record.dataset.checksum,
        "comparison_key": experiment.comparison_key(
            record.dataset.checksum, str(resources.get("device_name"))
        ),
        "series": experiment.series(record.dataset.checksum),
        "options": made_of(options, record.dataset.name),
        "device": experiment.device,
        "device_name": resources.get("device_name"),
        "resources": resources,
        "world_size": experiment.world_size,
        "scaling": str(options.scaling),
        "batch_size": options.batch_size,
        "global_batch_size": experiment.global_batch,
        "learning_rate": options.learning_rate,
        "epochs": options.epochs,
        "seed": options.seed,
        "repeat": experiment.repeat,
        "run_seed": experiment.run_seed,
        "group": record.stretches[-1].group,
        "group_run": record.stretches[-1].group_run,
        "restarts": record.restarts,
        "recovery_s": record.recovery_s,
        "stretches": [stretch.plain() for stretch in record.trained],
        "sizes": by_size(record.trained),
        "threads_per_worker": options.threads_per_worker,
        "kept_from_workers": record.kept_out,
        "engine": str(options.engine),
        "pin": None if options.pin is None else str(options.pin),
        "placement": str(options.placement),
        "nodes": record.nodes,
        "ranks": record.stretches[-1].ranks(),
        "target_accuracy": options.target_accuracy,
        "parameters": experiment.spec.parameter_count,
        "input_shape": list(experiment.spec.input_shape),
        "training_flops_per_sample": experiment.spec.training_flops,
        "steps_per_epoch": steps,
        "steps": taken,
        "stopped": record.stopped,
        "epoch_time_s": seconds,
        "throughput_samples_per_s": figure,
        "communication_share": exchange and exchange.value,
        "communication_share_low": exchange and exchange.low,
        "communication_share_high": exchange and exchange.high,
        "all_reduces": all_reduces([done.all_reduces for done in record.finished.values()]),
        "matrix_product_flops_per_s": limit,
        "matrix_product_library": resources.get("matrix_product_library"),
        "model_flop_utilisation": (
            model_flop_utilisation(experiment.spec.training_flops, figure, limit)
            if figure and limit
            else None
        ),
        "load": worst([host.load for host in hosts if host.load is not None]),
        "gpus": gpus.told(record.trained),
        **energy.told(record.trained, samples, experiment.device),
        "caveats": plain(
            list(
                dict.fromkeys(
                    [
                        *caveats(hosts),
                        *gpus.caveats(record.trained, experiment.device),
                        *_further(record),
                    ]
                )
            )
        ),
        "step_time_ms": step_times(slowest) if slowest else None,
        "train_loss": [epoch.train_loss for epoch in record.epochs],
        "test_loss": [epoch.test_loss for epoch in record.epochs],
        "test_accuracy": [epoch.told_accuracy for epoch in record.epochs],
        "evaluations": None if every is None else told(points, record.dataset.learnable),
        "time_to_accuracy_s": reached if record.dataset.learnable else None,
        "time_to_accuracy_resolution_s": resolution if record.dataset.learnable else None,
        "first_losses": record.first_losses,
        "loss_curve": record.loss_curve,
        "weights_sha256": record.ready[0].weights_sha256 if 0 in record.ready else None,
        "final_weights_sha256": (
            record.finished[0].weights_sha256 if 0 in record.finished else None
        ),
        "samples_sha256": record.samples_sha256,
        "evaluated_samples": record.epochs[-1].evaluated if record.epochs else 0,
        "startup_s": record.startup_s,
        "startup_split_s": record.startup,
        "compile_s": (
            max(ready.seconds["compile"] for ready in record.ready.values())
            if record.ready
            else None
        ),
        "peak_memory_bytes": max(
            (finished.peak_memory_bytes for finished in record.finished.values()), default=None
        ),
        "peak_device_memory_bytes": max(
            (
                finished.peak_device_memory_bytes
                for finished in record.finished.values()
                if finished.peak_device_memory_bytes is not None
            ),
            default=None,
        ),
        "wall_s": record.earlier_s + time.time() - record.command_time,
    }


def _further(record: Record) -> list[Caveat]:
    """The caveats of a run that went on after failures, or with other numbers of workers."""
    found = [restarted(record.restarts, record.recovery_s)] if record.restarts else []
    sizes = sorted({one.world_size for one in record.trained if one.windows})
    return found + ([resized(sizes)] if len(sizes) > 1 else [])
