import math

from measuring import Cell, Timing
from quickstart_style import break_even, pays_after
from rich.console import Console


def test_compilation_pays_when_the_epochs_have_saved_it() -> None:
    assert pays_after(10.0, 0.5) == 20
    assert pays_after(10.1, 0.5) == 21
    assert pays_after(-1.0, 0.5) == 0
    assert math.isinf(pays_after(10.0, 0.0))
    assert math.isinf(pays_after(10.0, -0.1))


def run(compile_s: float, epoch_s: float) -> Timing:
    return Timing(100, [epoch_s, epoch_s, 5.0], {"compile_s": compile_s})


def test_both_executions_of_a_cell_make_a_row() -> None:
    both = Cell({"framework": "torch", "model": "mlp"}, {})
    both.runs = {
        "quickstart": [run(0.0, 9.0), run(0.0, 9.0)],
        "distlab eager": [run(1.0, 2.0), None],
        "distlab graph": [run(11.0, 1.5), run(3.0, 1.5)],
    }
    alone = Cell({"framework": "tf", "model": "mlp"}, {})
    alone.runs = {"quickstart": [run(0.0, 9.0)], "distlab graph": [run(3.0, 1.5)]}
    console = Console(record=True, width=120)
    console.print(break_even([both, alone]))
    row = next(line for line in console.export_text().splitlines() if "mlp" in line)
    cells = [cell.strip() for cell in row.strip("│ ").split("│")]
    assert cells == ["torch", "mlp", "11.0", "3.0", "1.500", "2.000", "20 epochs (4)"]
    assert break_even([both, alone]).row_count == 1
