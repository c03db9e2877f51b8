import logging
from pathlib import Path

import pytest

from distlab.runs.log import FILE, driver_log


@pytest.fixture(autouse=True)
def level() -> None:
    """Hydra sets the level in a command."""
    logging.getLogger().setLevel(logging.INFO)


def test_lines_from_info_on_go_to_the_file_during_the_block(tmp_path: Path) -> None:
    log = logging.getLogger("some.library")
    handlers = list(logging.getLogger().handlers)
    log.warning("before")
    with driver_log(tmp_path / "new" / "folder"):
        log.info("a word")
        log.debug("a detail")
    log.warning("after")
    text = (tmp_path / "new" / "folder" / FILE).read_text()
    assert "INFO some.library: a word" in text
    assert not {"before", "after", "a detail"} & set(text.split())
    assert logging.getLogger().handlers == handlers


def test_a_run_of_a_study_stands_in_both_logs(tmp_path: Path) -> None:
    log = logging.getLogger("some.library")
    with driver_log(tmp_path):
        log.warning("outer")
        with driver_log(tmp_path / "run"):
            log.warning("inner")
    assert "outer" not in (tmp_path / "run" / FILE).read_text()
    assert "inner" in (tmp_path / FILE).read_text()


def test_without_a_word_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), driver_log(tmp_path):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_says_nothing_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / FILE).symlink_to("/dev/full")
    with driver_log(tmp_path):
        logging.getLogger("some.library").warning("a line that no disk takes")
    assert capsys.readouterr() == ("", "")
