"""Studies and command lines that somebody damaged, by accident or on purpose, for hypothesis."""

import copy
import json
from typing import Any

from hypothesis import strategies as st

from distlab.experiment.config_tree import names
from distlab.experiment.options import Options, flat

SCRIPT = "<script>alert(1)</script>"
ESCAPE = "\x1b]0;owned\x07\x1b[2J"
DEEP: Any = 1
for _ in range(200):
    DEEP = [DEEP]

# fmt: off
TEXTS = (
    "", "NaN", "mlp", "weak", "gpu", "null", "../../../x", "/etc/passwd", "x" * 3000, "\ud800",
    SCRIPT, f'"{SCRIPT}', "' onload='x", ESCAPE, "[bold]x[/bold]", "[/]", "=1+1", "| a | b",
    "{{ 7 * 7 }}", "$\\frac{1}{2}$", "_{", "\n\n# h", "a\tb", "'", '"', "\u202etxt", "%s %d {}",
    "2026-01-01", "python -m distlab.launch 'x", "\\", "`x`", ":bug:", "a=b", "0x10", "1e999",
)
# fmt: on
# fmt: off
NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 64, 2**31, 2**53, 2**63, 10**30, -(2**63), True, False,
    0.0, -0.0, 1.0, -1.5, 1e-300, 1e-12, 5e-324, 1e18, 1e300, 1e308, -1e308, 0.999999999999,
    float("nan"), float("inf"), float("-inf"),
)
# fmt: on
texts = st.sampled_from(TEXTS) | st.text(max_size=20)
numbers = st.sampled_from(NUMBERS) | st.integers() | st.floats()
values = st.recursive(
    st.none() | texts | numbers,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
) | st.sampled_from([[], {}, DEEP, [0] * 30_000, "y" * 200_000])


@st.composite
def studies(draw: st.DrawFn, sound: dict[str, Any]) -> bytes:
    """The text of a study in which one to three things are wrong."""
    study = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        _spoil(draw, study)
    text = json.dumps(study).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.binary(max_size=8)) + text[place + draw(st.integers(0, 9)) :]
    return text


def _spoil(draw: st.DrawFn, study: dict[str, Any]) -> None:
    """Change one thing somewhere, the sooner the nearer to the top."""
    inner: Any = study
    while True:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        deeper = isinstance(inner[key], dict | list) and bool(inner[key])
        if deeper and draw(st.integers(0, 5)):
            inner = inner[key]
            continue
        break
    match draw(st.sampled_from(["replace"] * 5 + ["remove", "twice", "add", "nearly"])):
        case "replace":
            inner[key] = copy.deepcopy(draw(values))
        case "remove":
            del inner[key]
        case "twice" if isinstance(inner, list):
            inner.append(copy.deepcopy(inner[key]))
        case "add" if isinstance(inner, dict):
            inner[draw(texts)] = copy.deepcopy(draw(values))
        case _ if isinstance(inner[key], int | float) and not isinstance(inner[key], bool):
            # What a type does not tell: another number.
            inner[key] = type(inner[key])(draw(st.sampled_from([-1, 0, 1, 7, 1e9])))
        case _ if isinstance(inner[key], str):
            inner[key] = draw(texts)


# fmt: off
WORDS = (
    "-m", "--multirun", "--help", "--version", "--cfg", "job", "--resolve", "-x", "--gpus", "2",
    "torch", "=", "gpus", "==", "~data", "+a.b=1", "~framework.env", "experiment=quickstart",
    "repeats=3", "study=0123abcd", "framework=torch,tf", "model=nan", "framework=inf",
)
# fmt: on
PLACES = ("hydra.", "tracking.uri", "data.dir", "checkpoint.dir")
"""Options that name a place to write to; a mutated one might be any."""

# fmt: off
SOUND = (
    "gpus=2", "device=cpu", "epochs=3", "model=mlp", "data=mnist5k", "framework=torch", "seed=7",
    "execution=eager", "learning_rate=1e-2", "repeats=2", "scaling=strong", "batch_size=32",
    "framework.env.A=b", "experiment=quickstart", "data=mnist", "precision=bf16", "-m",
)
# fmt: on

options = st.sampled_from(
    [name.replace("/", "=") for name in names() if not name.startswith(PLACES)]
    + [name for name in flat(Options()) if not name.startswith(PLACES)] * 3
    + ["framework.env.A", "framework.runtime_env", "framework.execution_by_model.mlp", "data.dri"]
)
meant = st.sampled_from(["1", "2", "cpu", "mlp", "lenet5", "torch", "graph", "strong", "0.1", "3"])
spelt = (
    meant
    | st.sampled_from(["nan", "inf", "-inf", "NaN", "1e999", "null", "-1", "0", "1_000", "0.0"])
    | st.sampled_from(
        ["{a:1}", "{a: [}", "[1,2", "${", "${x}", "${oc.env:HOME}", "${now:%Y}", "a,b"]
    )
    | st.sampled_from(["choice(1,2)", "range(0,10)", "glob(*)", "sort(3,1)", "1,", ",", "\\", "é"])
    | st.sampled_from(
        ["9" * 400, "x" * 3000, "[" * 300, "{" * 300, "(" * 300, "\udcff", "'", "???"]
    )
    | texts
).filter(lambda text: "\0" not in text)


@st.composite
def commands(draw: st.DrawFn) -> list[str]:
    """The words of a command, of which some are meant and some are not."""
    word = st.one_of(
        st.sampled_from(SOUND),
        st.sampled_from(SOUND),
        st.builds("{}={}".format, options, spelt),
        st.builds("{}={}".format, options, spelt),
        st.builds("{}{}={}".format, st.sampled_from(["+", "++", "~", " ", "--"]), options, spelt),
        st.sampled_from(WORDS),
        spelt,
    )
    return draw(st.lists(word, min_size=1, max_size=4))
