from typing import Any

from distlab.report.figures.overheads.compiling import cached, cold


def run(seconds: float, **resources: Any) -> dict[str, Any]:
    return {"compile_s": seconds, "resources": resources}


def test_cold_and_cached_are_told_apart() -> None:
    anew = run(23.0, compiled_from_cache=False, cold_compile_s=22.0)
    found = run(0.01, compiled_from_cache=True, cold_compile_s=22.0)
    assert cached([anew]) is False and cold([anew]) == 23.0
    assert cached([found, found]) is True and cold([found, found]) == 22.0
    assert cached([anew, found, found]) is True and cold([anew, found, found]) == 23.0


def test_what_was_not_recorded_is_not_told() -> None:
    old = {"compile_s": 0.4}
    assert cached([old]) is None and cold([old]) is None
    assert cached([run(0.0, compiled_from_cache=None)]) is None
    assert cold([run(0.01, compiled_from_cache=True)]) is None
