import io

import plain_loop
from rich.console import Console


def test_a_ratio_is_of_the_turns_of_one_round_and_a_short_one_is_marked() -> None:
    what = {"framework": "torch", "execution": "eager"}
    results = [
        {**what, "model": "vit", "step_s": {"distlab": [0.1, 0.1, 0.2], "plain": [0.2, 0.3, 0.2]}},
        {**what, "model": "resnet20", "step_s": {"distlab": [0.1], "plain": [0.09]}},
    ]
    table = plain_loop.table_of(results, 32)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table)
    told = console.export_text()
    assert "2.00 (1.00-3.00)" in told and "100.0" in told and "200.0" in told
    assert [row.style for row in table.rows] == [None, "yellow"]
