import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from distlab.errors import DistlabError
from distlab.experiment.command_line import words
from distlab.experiment.options import Options
from distlab.experiment.validate import validate

Composed = Callable[..., DictConfig]
# What people name folders, addresses and experiments.
TEXTS = [
    "~/m",
    "/tmp/données",
    "/tmp/数据",
    "/tmp/a=b",
    "/tmp/a,b",
    "/tmp/m (copy)",
    "with  two spaces",
    " at both ends ",
    "it's",
    'say "x"',
    "'a' and 'b'",
    "a$b",
    "100%",
    "#1@home!",
    "[x]",
    "{x}",
    "(x",
    "back\\",
    "two\\\\",
    "\\'",
    "a${b",
    "a\tb",
    "postgresql://h/db?sslmode=require&a=b",
    "http://bob:p%40ss@[::1]:5000",
    "2024_06_01",
    "1e3",
    "1.10",
    "007",
    "0x10",
    "inf",
    "true",
    "No",
    "12e45678",
    "-1",
]


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Type a command line."""
    yield lambda *typed: monkeypatch.setattr(sys, "argv", ["distlab", *typed])
    words._typed.clear()


def read(compose: Composed, *typed: str) -> Options:
    """What a command means, through Hydra."""
    return validate(compose(*words.understood(typed)))


@pytest.mark.parametrize("text", TEXTS)
def test_free_text_stays_text(compose: Composed, text: str) -> None:
    options = read(
        compose,
        f"data.dir={text}",
        f"tracking.uri={text}",
        f"tracking.experiment={text}",
        "cluster=existing",
        f"cluster.address={text}",
        f"study={text}",
        f"framework.env.NAME={text}",
    )
    tracking = options.tracking
    assert [options.data.dir, options.cluster.address, options.study] == [text] * 3
    assert [tracking.experiment, options.framework.env["NAME"]] == [text] * 2
    assert tracking.uri == words.at_home(text)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_text_is_what_hydra_reads(text: str) -> None:
    if text.lower() == "null" or "${" in text or words._QUOTED.fullmatch(text):
        return
    if words._ESCAPED.search(text):
        return
    (word,) = words.understood([f"data.dir={text}"])
    assert OverridesParser.create().parse_override(word).value() == text


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("data.dir=null", None),
        ("data.dir=", None),
        ("data.dir='/tmp/a,b'", "/tmp/a,b"),
        ('data.dir="/tmp/a=b"', "/tmp/a=b"),
        ("data.dir=/tmp/a\\,b", "/tmp/a,b"),
        ("data.dir=/tmp/a\\=b", "/tmp/a=b"),
        ("data.dir=/tmp/${model.name}", "/tmp/lenet5"),
        (" data.dir =/x", "/x"),
    ],
)
def test_null_quotes_escapes_and_interpolations_are_hydras(
    compose: Composed, typed: str, meant: str | None
) -> None:
    assert read(compose, typed).data.dir == meant


def test_what_hydra_reads_is_left_as_it_is() -> None:
    typed = ["framework=torch", "gpus=2", "data.dir=/tmp/m", "tracking.experiment=a-b", "seed=1"]
    assert words.understood(typed) == typed


@pytest.mark.parametrize(
    ("typed", "env"),
    [
        ('framework.env={A: "1"}', {"A": "1"}),
        ("framework.env={A:1}", {"A": "1"}),
        ("framework.env={A: true, B: /é=1, C: 1_0}", {"A": "true", "B": "/é=1", "C": "1_0"}),
        ("framework.env.A=1", {"A": "1"}),
        ("+framework.env.A=true", {"A": "true"}),
        ("++framework.env.A=1e3", {"A": "1e3"}),
        ("framework.env.A=", {"A": ""}),
        ("framework.env.A='b c'", {"A": "b c"}),
        ("framework.env={}", {}),
    ],
)
def test_variables_of_workers_are_text(compose: Composed, typed: str, env: dict[str, str]) -> None:
    assert read(compose, typed).framework.env == env


def test_variables_are_added_to_those_of_the_framework(compose: Composed) -> None:
    env = read(
        compose, "framework=paddle", "framework.env={A: 1}", "framework.env.B=2"
    ).framework.env
    assert env == {**read(compose, "framework=paddle").framework.env, "A": "1", "B": "2"}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("{py_executable: /opt/x/bin/python}", {"py_executable": "/opt/x/bin/python"}),
        ("{pip: [torch==2.13.0, 'a>=1']}", {"pip": ["torch==2.13.0", "a>=1"]}),
        ("{py_executable: /opt/é/bin/python}", {"py_executable": "/opt/é/bin/python"}),
        ("{config: {setup_timeout_seconds: 600}}", {"config": {"setup_timeout_seconds": 600}}),
        ("null", None),
    ],
)
def test_runtime_environments_are_read_as_people_write_them(
    compose: Composed, typed: str, meant: object
) -> None:
    assert read(compose, f"framework.runtime_env={typed}").framework.runtime_env == meant


def test_a_part_of_a_mapping_may_be_named(compose: Composed) -> None:
    framework = read(
        compose,
        "framework=torch",
        "framework.runtime_env.py_executable=/opt/a=b/bin/python",
        "framework.execution_by_model.mlp=eager",
    ).framework
    assert framework.runtime_env == {"py_executable": "/opt/a=b/bin/python"}
    assert framework.execution_by_model["mlp"] == "eager"


def test_only_in_a_multirun_a_comma_separates_values() -> None:
    def sweeps(*typed: str) -> list[list[str]]:
        given = [one for one in words.understood(typed) if "=" in one]
        parsed = OverridesParser.create().parse_overrides(given)
        return [list(one.sweep_string_iterator()) for one in parsed if one.is_sweep_override()]

    assert sweeps("data.dir=/a,/b") == []
    assert sweeps("-m", "data.dir=/a b,'/c,d',/é,/e\\,f") == [
        ["/a\\ b", "'/c,d'", "'/é'", "/e\\,f"]
    ]
    assert sweeps("-m", "framework.env.A=1,2,") == [["'1'", "'2'", "''"]]
    assert sweeps("-m", "framework.env={A: 1},{A: x y}") == [["{A:'1'}", "{A:'x y'}"]]
    assert sweeps("tracking.experiment=1e3,2e3", "hydra.mode=MULTIRUN") == [["'1e3'", "'2e3'"]]
    assert sweeps("-m", "tracking.experiment=choice(a,b)") == [["a", "b"]]


def test_a_tilde_is_the_users_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    typed = ["hydra.run.dir=~/my runs", "hydra.sweep.dir=~/a=b", "tracking.uri=sqlite:///~/m.db"]
    assert words.understood(typed) == [
        "hydra.run.dir=/home/me/my runs",
        "hydra.sweep.dir='/home/me/a=b'",
        "tracking.uri=sqlite:////home/me/m.db",
    ]


def test_flags_of_hydra_go_on_working() -> None:
    assert words.understood(["framework=torch", "-m", "gpus=1,2"]) == [
        "-m",
        "framework=torch",
        "gpus=1,2",
    ]
    for typed in (["--help"], ["--cfg", "job"], ["-sc", "query=bash"], ["--info", "all"]):
        assert words.understood(typed) == typed
    both = ["--config-dir", "/a b", "experiment=mine", "~tracking.uri"]
    assert words.understood(both) == both


@pytest.mark.parametrize(
    ("typed", "fix"),
    [
        ("--gpus 2", "gpus=2"),
        ("--gpus=2 -m --batch-size 3", "gpus=2 -m batch_size=3"),
        ("gpus 2 epochs=3", "gpus=2 epochs=3"),
        ("gpus = 2", "gpus=2"),
        ("gpus= 2", "gpus=2"),
        ("gpus =2", "gpus=2"),
        ("torch mlp", "framework=torch model=mlp"),
        ("quickstart", "experiment=quickstart"),
        ("data.dir 'a b'", "'data.dir=a b'"),
        (
            "--framework pytorch --framework.execution=eager mlp gpus = 1 data.dri=/x",
            "framework=pytorch framework.execution=eager model=mlp gpus=1 data.dri=/x",
        ),
    ],
)
def test_a_word_that_is_no_option_is_answered_with_the_command_that_was_meant(
    typed: str, fix: str
) -> None:
    with pytest.raises(DistlabError) as raised:
        words.understood(shlex.split(typed))
    first = raised.value.fix.splitlines()[0]
    assert first == f"python -m distlab.launch {fix}"
    words.understood(shlex.split(first)[3:])


@pytest.mark.parametrize(
    "typed", ["nonsense", "--frob 3", "=3", "a\\ b=3", "--cfg nothing", "data.dir"]
)
def test_what_is_nothing_is_answered_with_the_help(typed: str) -> None:
    with pytest.raises(DistlabError) as raised:
        words.understood(shlex.split(typed))
    assert raised.value.fix == "python -m distlab.launch --help"


@pytest.mark.parametrize("text", TEXTS)
def test_the_recorded_command_is_what_was_typed_and_may_be_pasted(
    line: Callable[..., None], text: str
) -> None:
    typed = [f"data.dir={text}", f"framework.env={{A: '{text[:0]}1'}}", "gpus=2"]
    line(*typed)
    words.take()
    pasted = words.command().replace("python -m distlab.launch", "printf '%s\\0'", 1)
    shown = subprocess.run(["sh", "-c", pasted], capture_output=True, check=True).stdout.decode()
    assert shown.split("\0")[:-1] == typed
    assert sys.argv[1:] == words.understood(typed)


def test_options_of_a_job_are_words_whatever_they_refer_to() -> None:
    job = OmegaConf.create({"overrides": {"task": ["gpus=2", "data.dir=${nothing.such}"]}})
    assert words.overrides(job) == ["gpus=2", "data.dir=${nothing.such}"]


NET = "name: small\ntarget_accuracy: 0.9\nlayers:\n- flatten\n- dense: classes\n"


@pytest.mark.parametrize("folder", ["plain", "a folder, (données)"])
def test_a_model_is_a_file_anywhere(
    compose: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "net.yaml").write_text(NET)
    monkeypatch.chdir(tmp_path)
    for typed in (f"./{folder}/net.yaml", str(tmp_path / folder / "net.yaml")):
        (word,) = words.understood([f"model={typed}"])
        options = validate(compose(word))
        assert (options.model.name, options.target_accuracy) == ("small", 0.9)
        assert options.model.layers == ["flatten", {"dense": "classes"}]
        job = OmegaConf.create({"overrides": {"task": [word, "epochs=1"]}})
        assert words.overrides(job) == [f"model={typed}", "epochs=1"]


def test_models_of_a_study_are_files_and_names(
    compose: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.yaml").write_text(NET)
    monkeypatch.chdir(tmp_path)
    _, word = words.understood(["-m", "model=net.yaml,mlp"])
    own, known = word.removeprefix("model=").split(",")
    assert validate(compose(f"model={own}")).model.name == "small"
    assert known == "mlp"


def test_a_model_that_is_not_there_is_told_as_it_was_typed() -> None:
    with pytest.raises(DistlabError) as error:
        words.understood(["model=./nowhere/net.yaml"])
    assert error.value.asked == "model=./nowhere/net.yaml"
    assert "No such file" in error.value.found
