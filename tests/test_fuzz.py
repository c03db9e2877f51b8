"""A few of the cases of ``make fuzz``: whatever is read or typed, no traceback."""

import fuzz
import pytest


@pytest.mark.slow
def test_a_damaged_study_is_reported_or_refused_by_a_short_error() -> None:
    found = fuzz.mutated_studies(12, seed=20)
    assert found.faults == {}
    assert found["short errors"] > 3


@pytest.mark.slow
def test_a_damaged_command_line_is_composed_or_refused_by_a_short_error() -> None:
    found = fuzz.mutated_commands(40, seed=20)
    assert found.faults == {}
    assert found["short errors"] > 20


def test_a_traceback_and_an_error_that_is_not_short_are_found() -> None:
    found = fuzz.Outcome()

    def fails() -> int:
        raise KeyError("run")

    found.add("a case", fails, fuzz.io.StringIO())
    found.add("another", lambda: 1, fuzz.io.StringIO("distlab: error\n" * 99))
    found.add("a third", lambda: 0, fuzz.io.StringIO("a title \x1b[2J"))
    assert found["tracebacks"] == len(found.faults) == 3
