"""One of the faults of ``break_backends.py``, end to end, so that its machinery works."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from break_backends import name, run_failures
from faults import CAUGHT_BY


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("torch") is None,
    reason="A RUN IS NOT CHECKED AGAINST BROKEN BACKENDS, because torch is not installed: "
    'pip install "distlab[torch]"',
)
def test_a_run_of_a_broken_backend_is_not_verified(tmp_path: Path) -> None:
    fault = "EpsilonHat"
    failures = run_failures("torch", fault, tmp_path)
    _, expected = CAUGHT_BY[fault]
    assert expected in failures, f"{name('torch', fault)}: {failures}"
    for untouched in ("weights", "samples", "replicas", "evaluation", "resources", "clock"):
        assert untouched not in failures, failures
