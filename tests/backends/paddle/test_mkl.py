import pytest

from distlab.backends.paddle import mkl
from distlab.backends.paddle.mkl import resolve_mkl_cpu_type


@pytest.mark.parametrize(("bits", "expected"), [(512, "7"), (256, "5"), (None, None)])
def test_auto_stands_for_what_the_processor_can_do(
    bits: int | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mkl, "amd_vector_bits", lambda: bits)
    monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", "auto")
    resolve_mkl_cpu_type()
    assert mkl.os.environ.get("MKL_DEBUG_CPU_TYPE") == expected


@pytest.mark.parametrize("value", ["5", ""])
def test_what_the_user_has_set_stays(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mkl, "amd_vector_bits", lambda: 512)
    monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", value)
    resolve_mkl_cpu_type()
    assert mkl.os.environ["MKL_DEBUG_CPU_TYPE"] == value
