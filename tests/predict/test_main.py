"""``python -m distlab.predict``, from a file; from a store it reads as the report does."""

import json
from pathlib import Path
from typing import Any

import pytest
from studies import study, where

from distlab.errors import DistlabError
from distlab.predict.__main__ import main, numbers

SIZES = (2**10, 2**14, 2**18, 4 * 89_610, 2**20)


@pytest.fixture
def told() -> dict[str, Any]:
    made = study(models=["mlp"], frameworks=["torch", "paddle"], repeats=3)
    for run in made["runs"]:
        if run["world_size"] > 1:
            run["all_reduces"] = [
                {"bytes": size, "seconds": [1e-4 + 1e-9 * size, 1.1e-4 + 1.1e-9 * size]}
                for size in SIZES
            ]
            run["stretches"][0]["hosts"] = ["here"]
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "study.json"


def test_numbers_of_workers_are_doubled_or_listed() -> None:
    assert numbers("2..1024") == [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert numbers("3..20") == [3, 6, 12]
    assert numbers("48,2,6,6") == [2, 6, 48]


@pytest.mark.parametrize(
    "text", ["", "1", "1..4", "8..2", "2..", "two", "2,", "-2", "2..4..8", "9999999", "9" * 5000]
)
def test_what_is_no_number_of_workers_is_refused_with_words_that_work(text: str) -> None:
    with pytest.raises(DistlabError) as raised:
        numbers(text)
    for line in raised.value.fix.splitlines():
        assert numbers(line.removeprefix("workers="))


def test_a_study_is_predicted_with_what_is_not_known_of_it(
    told: dict[str, Any], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(json.dumps(told))
    assert main([f"file={file}", "workers=4..1024"]) == 0
    shown = capsys.readouterr().out
    weak, strong = shown.split("mlp, strong scaling, batch 64 over all workers")
    for name in ("torch eager", "paddle eager"):
        assert f"| {name} | 4 | " in weak and f"| {name} | 1,024 | " in weak
        # 64 samples are of no use to more than 64 workers.
        assert f"| {name} | 64 | " in strong and f"| {name} | 128 | " not in strong
    assert "extrapolated from 2 workers on 1 host; nothing of your network between hosts" in shown
    assert "any would fit: latency" in shown
    assert "Steps of fewer samples than 32 a worker were not measured" in strong
    assert "no confidence intervals" in strong


def test_a_study_that_says_nothing_of_more_workers_says_what_would(
    told: dict[str, Any], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crowded = study(
        models=["mlp"], frameworks=["torch"], repeats=1, oversubscribed=where(world_size=2)
    )
    file.write_text(json.dumps(crowded))
    assert main([f"file={file}"]) == 1
    said = capsys.readouterr().err
    assert "torch eager: 2 CPU workers: 1 oversubscribed" in said
    assert "python -m distlab.launch -m framework=torch gpus=1,2 model=mlp device=cpu" in said


def test_a_mistyped_option_is_answered_in_the_commands_own_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["worker=4"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "python -m distlab.predict worker=4" in said and "did you mean workers=4 ?" in said
    assert main(["--help"]) == 0
    assert "workers=2..1024" in capsys.readouterr().out
