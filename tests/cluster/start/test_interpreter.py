import json
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from distlab import __version__
from distlab.cluster.start import interpreter
from distlab.errors import DistlabError
from distlab.experiment.options import ClusterOptions, FrameworkOptions, Options

PYTHON, RAY = platform.python_version(), version("ray")
OTHER = "3.6.1"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((PYTHON, RAY, __version__, True), None),
        ((OTHER, RAY, __version__, True), f"it is Python {OTHER}, and the driver's is {PYTHON}"),
        ((PYTHON, None, __version__, True), f"it has no Ray; the driver's is {RAY}"),
        ((PYTHON, "1.0", __version__, True), f"it has Ray 1.0; the driver's is {RAY}"),
        ((PYTHON, RAY, None, True), f"it has no distlab; the driver's is {__version__}"),
        ((PYTHON, RAY, "9.9", True), f"it has distlab 9.9; the driver's is {__version__}"),
        ((PYTHON, RAY, __version__, False), "it has not the framework's package"),
    ],
)
def test_an_interpreter_must_have_what_the_driver_has(answer: Any, why: str | None) -> None:
    assert interpreter.unfit((0, f"a banner\n{json.dumps(answer)}\n", "a warning")) == why


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((127, "", "bash: line 1: /no/python: No such file or directory\n"), "/no/python: No such"),
        ((3, "", "Traceback:\n  x\nSystemExit: 3\n\n"), "it ends with code 3 before.*SystemExit"),
        ((-11, "", ""), "it ends with code -11 before it runs anything$"),
        ((124, "", "no answer within 20 s"), "no answer within 20 s"),
    ],
)
def test_an_interpreter_that_does_not_answer_is_no_workers(answer: Any, why: str) -> None:
    found = interpreter.unfit(answer)
    assert found is not None
    assert re.search(why, found)


def test_this_interpreter_answers_for_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-c", interpreter._PROBE, "numpy"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert interpreter.unfit((done.returncode, done.stdout, done.stderr)) is None


def test_a_space_in_the_path_of_this_python_is_quoted_for_rays_shell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = Options(framework=FrameworkOptions(name="torch", package="torch", extra="torch"))
    assert interpreter.environment(options) is None
    monkeypatch.setattr(sys, "executable", "/my envs/bin/python")
    assert interpreter.environment(options) == {"py_executable": "'/my envs/bin/python'"}
    existing = Options(options.framework, cluster=ClusterOptions(mode="existing"))  # type: ignore[arg-type]
    assert interpreter.environment(existing) is None


def test_what_is_no_executable_has_another_fix_than_what_lacks_a_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = SimpleNamespace(get_node_id=lambda: "here")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: here)
    framework = FrameworkOptions(name="torch", package="no_such_package", extra="torch")
    framework.runtime_env = {"env_vars": {"THERE": "1"}}  # the driver's own packages are no matter
    with pytest.raises(DistlabError) as caught:
        interpreter.refuse_if_unfit(framework, "here", "worker 1 on host: ")
    assert caught.value.found == "worker 1 on host: it has not the framework's package"
    assert 'pip install "distlab[torch]"' in caught.value.fix
    framework.runtime_env = {"py_executable": "/bin/no-such-python -X dev"}
    with pytest.raises(DistlabError) as caught:
        interpreter.refuse_if_unfit(framework, "here", "")
    assert "py_executable: /bin/no-such-python -X dev" in caught.value.asked
    assert "/path/to/bin/python" in caught.value.fix and "pip" not in caught.value.fix
