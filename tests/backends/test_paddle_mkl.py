import pytest

from distlab.backends.paddle_mkl import mkl_cpu_type

AVX2 = "flags : fma avx2"
AVX512 = AVX2 + " avx512f avx512cd avx512dq avx512bw avx512vl"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (f"vendor_id : AuthenticAMD\n{AVX512}\n", "7"),
        (f"vendor_id : AuthenticAMD\n{AVX2} avx512f\n", "5"),
        ("vendor_id : AuthenticAMD\nflags : sse2\n", None),
        (f"vendor_id : GenuineIntel\n{AVX512}\n", None),
        ("", None),
    ],
)
def test_only_an_amd_processor_is_named_to_mkl_and_only_what_it_can_do(
    cpuinfo: str, expected: str | None
) -> None:
    assert mkl_cpu_type(cpuinfo) == expected
