import json
from pathlib import Path
from typing import Any

import pytest
from studies import study

from distlab.errors import DistlabError
from distlab.report.__main__ import main, parse
from distlab.report.asked import read

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return study(models=["mlp"], scalings=["weak"], repeats=3)


@pytest.fixture
def file(told: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "study.json"
    path.write_text(json.dumps(told))
    return path


def test_values_are_taken_as_they_stand() -> None:
    options = parse(["study=12e45678", "output=007", "tracking.uri=sqlite:///a=b.db"])
    assert options.study == "12e45678"
    assert options.output == "007"
    assert options.tracking.uri == "sqlite:///a=b.db"
    assert options.tracking.experiment is None


def test_the_home_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert parse(["file=~/a study.json", "output=~/r"]).file == "/home/me/a study.json"
    assert parse(["tracking.uri=sqlite:///~/m.db"]).tracking.uri == "sqlite:////home/me/m.db"
    assert parse(["tracking.experiment=a~b"]).tracking.experiment == "a~b"


def test_nothing_asks_for_the_latest_study_of_the_default_store() -> None:
    options = parse([])
    assert (options.study, options.file, options.output, options.tracking.uri) == (None,) * 4
    assert parse(["study=null"]).study is None


@pytest.mark.parametrize(
    ("word", "near"),
    [("studi=3", "study=3"), ("tracking.uir=x", "tracking.uri=x"), ("--study=3", "study=3")],
)
def test_a_mistyped_option_is_answered_with_the_nearest(word: str, near: str) -> None:
    with pytest.raises(DistlabError) as raised:
        parse([word])
    assert f"did you mean {near} ?" in raised.value.fix
    assert word in raised.value.found


def test_a_file_and_a_study_of_a_store_exclude_each_other() -> None:
    with pytest.raises(DistlabError, match="either from a file or from a store"):
        parse(["file=study.json", "study=3"])


@pytest.mark.parametrize("content", ["[]", "{}", "not JSON", '{"study": "x"}'])
def test_a_file_that_is_no_study_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text(content)
    with pytest.raises(DistlabError):
        read(path)


def test_a_file_becomes_a_report(
    file: Path, told: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"file={file}"]) == 0
    folder = file.parent / "reports" / told["study"][:8]
    assert (folder / "report.html").exists()
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "| torch eager (2.13.0) | 1 CPU (1 thread) | " in shown
    assert "tf trains mlp 1." in shown
    assert f"wrote reports/{told['study'][:8]}/report.html" in shown
    assert max(map(len, shown.splitlines())) > 100


def test_the_folder_may_be_chosen(file: Path) -> None:
    assert main([f"file={file}", "output=elsewhere"]) == 0
    assert (file.parent / "elsewhere" / "report.html").exists()


def test_mistakes_are_shown_without_a_traceback(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["file=missing.json"]) == 1
    assert main([f"file={file}", f"output={file}/below"]) == 1
    shown = capsys.readouterr().err
    assert shown.count("distlab: error") == 2
    assert "missing.json" in shown
    assert "Traceback" not in shown


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in ("study=", "file=", "output=", "tracking.uri=", "tracking.experiment="):
        assert name in shown


@pytest.mark.slow
def test_a_store_without_a_study_is_a_mistake_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([f"tracking.uri=sqlite:///{tmp_path}/new/mlflow.db"]) == 1
    assert "there is no store" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
