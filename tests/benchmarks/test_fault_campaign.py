"""The table of the fault campaign: what it says of a run that went on, and of one that did not."""

from fault_campaign import Row, markdown


def test_a_row_says_what_was_lost_and_what_was_left() -> None:
    rows = [
        Row("torch", "actors", "stop 0", 12, "went on", 1, 14.6, "nothing", equal=True),
        Row("tf", "train", "command", 3, "exit -9, not resumed", left="2 processes (raylet)"),
        Row("tf", "train", "rank 1", 3, "went on", 0, 9.0, equal=False),
    ]
    head, line, *told = markdown(rows).splitlines()
    assert head.count("|") == line.count("|") == 10
    assert told == [
        "| torch | actors | stop 0 | 12 | went on | 1 | 15 | yes | nothing |",
        "| tf | train | command | 3 | exit -9, not resumed |  |  | - | 2 processes (raylet) |",
        "| tf | train | rank 1 | 3 | went on | 0 | 9 | NO | nothing |",
    ]
