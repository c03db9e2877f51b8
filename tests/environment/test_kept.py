"""Which Python workers get: the driver's, one that distlab made, or a user's own."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from distlab.environment import kept
from distlab.environment.kept import Kept, keep
from distlab.errors import DistlabError

PYTHON, RAY = sys.version.split()[0], version("ray")
NUMPY = version("numpy")


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has the user's cache hold an environment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def added(name: str, found: str, python: str = PYTHON, ray: str = RAY) -> Kept:
        one = Kept(name, "torch", found, python, ray, "0.1.0", "")
        one.interpreter.parent.mkdir(parents=True)
        one.interpreter.symlink_to(sys.executable)
        keep(one)
        return one

    return added


def found(environment: str | None = "auto", wanted: str | None = None) -> Path | None:
    """What workers get where numpy is the framework's package, which is here."""
    return kept.interpreter("torch", "numpy", "torch", environment, wanted)


def refusal(*asked: str | None, package: str = "numpy") -> DistlabError:
    with pytest.raises(DistlabError) as caught:
        kept.interpreter("torch", package, "torch", *asked)
    return caught.value


def test_the_drivers_own_is_taken_where_it_has_what_is_asked_for(add: Any) -> None:
    add("other", "9.9")
    assert found() is None and found(None) is None
    assert found(wanted=NUMPY) is None


def test_a_version_that_is_not_here_is_found_in_the_newest_environment_that_has_it(
    add: Any,
) -> None:
    add("a", "2.12.1+cpu"), add("b", "2.12.0")
    newest = add("c", "2.12.1+cu130")
    assert found(wanted="2.12.1") == newest.interpreter
    assert found("a", "2.12.1") == found("a") == add("d", "3").path.parent / "a/bin/python"
    missing = kept.interpreter("torch", "no_such_package", "torch", "auto", None)
    assert missing is not None and missing.parents[1].name == "d"


def test_what_is_not_there_is_told_with_the_command_that_makes_it(add: Any) -> None:
    add("torch-2.12.1", "2.12.1")
    error = refusal("auto", "2.11.0")
    assert error.asked == "framework=torch framework.version=2.11.0"
    assert error.found.startswith(f"this Python has numpy {NUMPY}; ")
    assert "torch-2.12.1 (torch 2.12.1)" in error.found
    assert error.fix == "python -m distlab.environment create torch==2.11.0"
    error = refusal("mine", None)
    assert error.fix == "python -m distlab.environment create torch name=mine"
    error = refusal("torch-2.12.1", "2.11.0")
    assert error.fix == "python -m distlab.environment create torch==2.11.0 name=torch-2.12.1"
    error = refusal(None, "2.12.1")
    assert "framework.environment=auto" in error.fix
    kept.remove("torch-2.12.1")
    error = refusal("auto", None, package="no_such_package")
    assert error.found.startswith("no_such_package is not installed; ")
    create = "python -m distlab.environment create torch"
    assert error.fix == f'pip install "distlab[torch]"\nor: {create}'


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"python": "3.6.1"}, f"it is Python 3.6.1, and the driver's is {PYTHON}"),
        ({"ray": "1.0"}, f"it has Ray 1.0; the driver's is {RAY}"),
    ],
)
def test_an_environment_of_another_python_or_ray_is_refused(
    add: Any, facts: dict[str, str], why: str
) -> None:
    one = add("old", "2.12.1", **facts)
    error = refusal("auto", "2.12.1")
    assert why in error.found
    again = "python -m distlab.environment create torch==2.12.1 name=old"
    assert error.fix == f"python -m distlab.environment remove old && {again}"
    # One that fits is taken before it.
    right = add("new", "2.12.1")
    assert found(wanted="2.12.1") == right.interpreter != one.interpreter


def test_one_whose_python_is_gone_is_of_no_use(add: Any) -> None:
    one = add("a", "2.12.1")
    one.interpreter.unlink()
    one.interpreter.symlink_to("/no/such/python")
    assert one.unfit == f"{one.interpreter} runs no more"


def test_one_that_was_not_made_to_its_end_is_none(add: Any) -> None:
    one = add("half", "2.12.1")
    (one.path / kept.FACTS).write_text('{"framework": "torch"')
    assert kept.kept() == []
    kept.remove("half")
    assert not one.path.exists()


@pytest.mark.parametrize("name", ["..", "../environments", "none", "/etc", ""])
def test_nothing_but_an_environment_is_removed(add: Any, name: str) -> None:
    one = add("a", "1")
    with pytest.raises(DistlabError, match="distlab made"):
        kept.remove(name)
    assert one.path.is_dir() and one.path.parent.is_dir()


def test_a_path_is_a_users_own(tmp_path: Path) -> None:
    assert found(str(tmp_path)) == tmp_path / "bin" / "python"
    assert found(sys.executable) == Path(sys.executable)


@pytest.mark.parametrize(
    ("wanted", "there", "same"),
    [
        ("2.13.0", "2.13.0+cpu", True),
        ("2.13", "2.13.0", True),
        ("2.13.0+cpu", "2.13.0+cpu", True),
        ("2.13.0+cpu", "2.13.0", False),
        ("2.13.0", "2.13.1", False),
    ],
)
def test_a_version_is_that_of_any_build_unless_the_build_is_named(
    wanted: str, there: str, same: bool
) -> None:
    assert kept.same(wanted, there) is same
    if same:
        kept.refuse_other("torch", wanted, there)
    else:
        with pytest.raises(DistlabError, match="imported is torch"):
            kept.refuse_other("torch", wanted, there)
