from pathlib import Path

from distlab.cluster.logs import MOST_BYTES, end_of


def test_a_log_comes_back_from_a_host_that_does_not_share_the_folder(tmp_path: Path) -> None:
    log, mark = tmp_path / "rank-1.log", tmp_path / "mark"
    log.write_bytes(b"x" * MOST_BYTES + b"the end")
    found = end_of(str(log), str(mark))
    assert found is not None and len(found) == MOST_BYTES and found.endswith(b"xthe end")
    assert end_of(str(tmp_path / "none"), str(mark)) is None
    mark.touch()
    assert end_of(str(log), str(mark)) is None
