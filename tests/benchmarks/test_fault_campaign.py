"""The table of the fault campaign: what it says of runs that went on, and of those that did not."""

from pathlib import Path

from campaign.rows import Row, add, read, table

ROWS = [
    Row("torch", "actors", "stop 0", 12, "went on", lost_epochs=1, seconds=14.6, equal=True),
    Row("tf", "actors", "stop 0", 3, "went on", lost_epochs=0, seconds=9.0, equal=False),
    Row("tf", "actors", "stop 0", 3, "went on", lost_epochs=0, seconds=11.2, equal=True),
    Row("tf", "train", "command", 3, "not resumed", -9, "RUNNING", left="2 processes (raylet)"),
]


def test_a_line_is_of_all_faults_of_a_sort(tmp_path: Path) -> None:
    head, line, *told = table(ROWS).splitlines()
    assert head.count("|") == line.count("|") == told[0].count("|")
    assert told == [
        "| actors | stop 0 | 3 | 3 | 0 | 2 | 0 to 1 | 10, 11 | 15, 15 | nothing |",
        "| train | command | 1 | 0 | 0 | 0 | 0 |  |  | 2 processes (raylet) |",
    ]
    for row in ROWS:
        add(tmp_path / "rows", row)
    assert read(tmp_path / "rows") == ROWS
