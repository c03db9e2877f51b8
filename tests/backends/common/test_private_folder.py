import os
from pathlib import Path

import pytest

from distlab.backends.common.private_folder import make, stranger

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
STRANGER = 65534


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    make(tmp_path / "cache" / "own")
    library = tmp_path / "cache" / "own" / "1a2b"
    library.mkdir()
    (library / "steps.so").write_bytes(b"code")
    for one in (library, library / "steps.so"):
        one.chmod(0o755)
    return tmp_path / "cache" / "own"


def test_a_folder_is_made_for_its_user_alone(cache: Path) -> None:
    assert cache.stat().st_mode & 0o777 == 0o700
    assert cache.parent.stat().st_mode & 0o777 == 0o700
    assert stranger(cache / "1a2b", cache) is None


def test_a_folder_that_others_may_write_is_shut_when_it_is_used_again(cache: Path) -> None:
    cache.chmod(0o777)
    make(cache)
    assert cache.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("mode", [0o775, 0o757])
@pytest.mark.parametrize("part", ["", "1a2b", "1a2b/steps.so"])
def test_what_others_may_write_is_not_to_be_loaded(cache: Path, part: str, mode: int) -> None:
    (cache / part).chmod(mode)
    assert stranger(cache / "1a2b", cache) == (
        f"others may write to {(cache / part).resolve()} (mode 0{mode:o})"
    )


@as_root
@pytest.mark.parametrize("part", ["", "1a2b", "1a2b/steps.so", ".."])
def test_what_another_user_owns_is_not_to_be_loaded(cache: Path, part: str) -> None:
    os.chown(cache / part, STRANGER, -1)
    assert stranger(cache / "1a2b", cache) == (
        f"{(cache / part).resolve()} belongs to another user (uid {STRANGER})"
    )


def test_a_folder_above_may_be_written_by_all_where_nobody_can_replace_what_is_in_it(
    cache: Path,
) -> None:
    cache.parent.chmod(0o777)
    assert "others may write" in str(stranger(cache / "1a2b", cache))
    cache.parent.chmod(0o1777)
    assert stranger(cache / "1a2b", cache) is None


def test_a_link_is_followed_to_what_is_really_loaded(cache: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "steps.so").write_bytes(b"code")
    elsewhere.chmod(0o777)
    (cache / "linked").symlink_to(elsewhere)
    assert "others may write" in str(stranger(cache / "linked", cache))
