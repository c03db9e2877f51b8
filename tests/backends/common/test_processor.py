import pytest

from distlab.backends.common.processor import amd_vector_bits

AVX2 = "flags : fma avx2"
AVX512 = AVX2 + " avx512f avx512cd avx512dq avx512bw avx512vl"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (f"vendor_id : AuthenticAMD\n{AVX512}\n", 512),
        (f"vendor_id : AuthenticAMD\n{AVX2} avx512f\n", 256),
        ("vendor_id : AuthenticAMD\nflags : sse2\n", None),
        (f"vendor_id : GenuineIntel\n{AVX512}\n", None),
        ("", None),
    ],
)
def test_vectors_are_told_of_amd_processors_alone(cpuinfo: str, expected: int | None) -> None:
    assert amd_vector_bits(cpuinfo) == expected
