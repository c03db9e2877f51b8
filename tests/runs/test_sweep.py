from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment
from distlab.runs import study
from distlab.runs.sweep import Sweep


@pytest.fixture
def conducted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The studies that were conducted, by their arguments."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(study, "conduct", lambda *arguments: calls.append(arguments))
    return calls


def hydras(folder: Path, experiment: str | None = None, **params: str) -> DictConfig:
    """What callbacks see of Hydra's config."""
    return OmegaConf.create(
        {
            "hydra": {
                "sweep": {"dir": str(folder)},
                "sweeper": {"params": params or None},
                "overrides": {"task": ["model=mlp,lenet5"]},
                "runtime": {"choices": {"experiment": experiment}},
            }
        }
    )


def ended(value: Any) -> JobReturn:
    job = JobReturn(status=JobStatus.COMPLETED)
    job.return_value = value
    return job


def swept(config: DictConfig, *values: Any, of_jobs: DictConfig | None = None) -> None:
    sweep = Sweep()
    sweep.on_multirun_start(config)
    for value in values:
        sweep.on_job_end(of_jobs or config, ended(value))
    sweep.on_multirun_end(config)


def test_all_combinations_become_one_study(
    conducted: list[Any], tmp_path: Path, experiment: Callable[..., Experiment]
) -> None:
    planned = [experiment("model=mlp").options, experiment("model=lenet5").options]
    swept(hydras(tmp_path, "quickstart"), *planned)
    assert conducted == [(planned, tmp_path, ["model=mlp,lenet5"], "quickstart", 0)]


def test_a_refused_combination_is_counted(
    conducted: list[Any], tmp_path: Path, experiment: Callable[..., Experiment]
) -> None:
    one = experiment().options
    swept(hydras(tmp_path), None, one)
    assert conducted == [([one], tmp_path, ["model=mlp,lenet5"], None, 1)]


def test_nothing_is_begun_where_all_are_refused(conducted: list[Any], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as left:
        swept(hydras(tmp_path), None, None)
    assert left.value.code == 1 and conducted == []


def test_a_single_run_is_no_study(
    conducted: list[Any], tmp_path: Path, experiment: Callable[..., Experiment]
) -> None:
    Sweep().on_job_end(hydras(tmp_path), ended(experiment().options))
    assert conducted == []


def test_an_experiments_own_combinations_are_run(
    conducted: list[Any], tmp_path: Path, experiment: Callable[..., Experiment]
) -> None:
    swept(hydras(tmp_path, "classroom_mlp", framework="torch,tf"), experiment().options)
    assert conducted[0][3] == "classroom_mlp"


def test_combinations_of_a_swept_experiment_are_refused_and_not_forgotten(
    conducted: list[Any],
    tmp_path: Path,
    experiment: Callable[..., Experiment],
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, of_job = hydras(tmp_path), hydras(tmp_path, "classroom_mlp", framework="torch,tf")
    with pytest.raises(SystemExit) as left:
        swept(config, experiment().options, of_jobs=of_job)
    assert left.value.code == 1 and conducted == []
    assert "python -m distlab.launch experiment=classroom_mlp" in capsys.readouterr().err


def test_a_users_mistake_ends_the_command_with_its_words(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    experiment: Callable[..., Experiment],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*arguments: Any) -> None:
        raise DistlabError("study=x", "there is none", "make one")

    monkeypatch.setattr(study, "conduct", refuse)
    with pytest.raises(SystemExit) as left:
        swept(hydras(tmp_path), experiment().options)
    assert left.value.code == 1
    assert "found: there is none" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_goes_on_to_the_command(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    experiment: Callable[..., Experiment],
    error: type[BaseException],
) -> None:
    def stop(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(study, "conduct", stop)
    with pytest.raises(error):
        swept(hydras(tmp_path), experiment().options)


def test_a_fault_of_distlab_fails_the_command_though_hydra_forgives_callbacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, experiment: Callable[..., Experiment]
) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(study, "conduct", fail)
    with pytest.raises(SystemExit, match="a bug") as left:
        swept(hydras(tmp_path), experiment().options)
    assert str(tmp_path / "driver.log") in str(left.value)
