"""Mutated studies and command lines: each is taken, or refused by a short error. ``make fuzz``.

``python tests/support/fuzz/fuzz.py [CASES] [SEED]`` prints what became of them, and each traceback
with its case once; it exits with 1 if there is any.
"""

import contextlib
import io
import json
import os
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis
import mutations
import studies
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, Phase, given, settings

from distlab import console, launch, masking
from distlab.errors import DistlabError
from distlab.experiment.command_line import words
from distlab.report import __main__ as report
from distlab.tracking import __main__ as sync

LINES = 25
"""A short error has no more, and no line of a traceback."""
SOUND = studies.study(
    models=["mlp"],
    scalings=["weak"],
    frameworks=["torch", "tf"],
    repeats=2,
    epochs=2,
    baselines="store",
    failed=studies.where(repeat=1, framework="tf", world_size=2),
)


class Outcome(Counter[str]):
    """How many cases ended how; ``faults`` holds what must not be, each kind once."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: dict[str, str] = {}

    def add(self, case: Any, run: Callable[[], int], shown: io.StringIO) -> None:
        """Run a case and count it."""
        try:
            code = run()
        except Exception as error:
            told = traceback.format_exc()
            where = traceback.extract_tb(error.__traceback__)[-1]
            self["tracebacks"] += 1
            kind = f"{type(error).__name__} in {where.filename}:{where.lineno}"
            self.faults.setdefault(kind, f"{told}\n{str(case)[-3000:]}")
            return
        text = shown.getvalue()
        self["accepted" if code == 0 else "short errors"] += 1
        wrong = ""
        if "Traceback (most recent" in text or (code and len(text.splitlines()) > LINES):
            wrong = "the error is not short"
        elif code and "distlab: error" not in text:
            wrong = "the error is not distlab's"
        elif any(sign in text for sign in mutations.ESCAPE if sign < " "):
            wrong = "the terminal is commanded"
        if wrong:
            self["tracebacks"] += 1
            self.faults.setdefault(wrong, f"{text[-2000:]}\n{str(case)[-3000:]}")


def mutated_studies(cases: int, seed: int) -> Outcome:
    """Report damaged studies, as ``python -m distlab.report file=FILE`` does."""
    outcome = Outcome()

    @_many(cases, seed)
    @given(mutations.studies(SOUND))
    def reported(text: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder, _captured() as shown:
            file, out = Path(folder, "study.json"), Path(folder, "report")
            file.write_bytes(text)

            def run() -> int:
                code = report.main([f"file={file}", f"output={out}"])
                if code == 0:
                    page = (out / "report.html").read_text()
                    assert mutations.SCRIPT not in page, "a script is in the page"
                    json.loads((out / "report.json").read_text(), parse_constant=_refused)
                    assert {one.name for one in Path(folder).iterdir()} == {"study.json", "report"}
                return code

            outcome.add(text, run, shown)

    reported()
    return outcome


def mutated_commands(cases: int, seed: int) -> Outcome:
    """Compose damaged command lines as the command does, up to where a run would begin."""
    outcome = Outcome()
    chosen = random.Random(seed)

    @_many(cases, seed)
    @given(mutations.commands())
    def composed(typed: list[str]) -> None:
        kind = chosen.choice(["launch"] * 8 + ["report", "sync"])
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.chdir(folder),
            _captured() as shown,
        ):
            outcome.add((kind, typed), lambda: COMMANDS[kind](typed), shown)

    composed()
    return outcome


def _launch(typed: list[str]) -> int:
    GlobalHydra.instance().clear()
    # What a process remembers of its command is this case's alone.
    remembered = ((words, "_typed", []), (launch, "_composed", []), (masking, "_known", set()))
    with contextlib.ExitStack() as patched:
        for module, name, empty in remembered:
            patched.enter_context(mock.patch.object(module, name, empty))
        patched.enter_context(mock.patch.object(sys, "argv", ["distlab", *typed]))
        patched.enter_context(mock.patch.multiple(launch, _run=_nothing))
        patched.enter_context(mock.patch.object(launch.study, "conduct", _nothing))
        try:
            launch.main()
        except SystemExit as ended:
            return int(ended.code or 0) if not isinstance(ended.code, str) else 1
    return 0


def _parsed(parse: Callable[[list[str]], Any]) -> Callable[[list[str]], int]:
    def run(typed: list[str]) -> int:
        try:
            parse(typed)
        except DistlabError as error:
            console.complain(error)
            return 1
        return 0

    return run


COMMANDS = {"launch": _launch, "report": _parsed(report.parse), "sync": _parsed(sync.parse)}


def _nothing(*_: Any, **__: Any) -> None:
    """What a run or a study does here."""


def _refused(constant: str) -> None:
    raise AssertionError(f"{constant} is in report.json")


def _many(cases: int, seed: int) -> Callable[[Any], Any]:
    """Cases of this seed, as many as asked for, none of them made smaller."""

    def decorated(test: Any) -> Any:
        health = list(HealthCheck)
        how = settings(
            max_examples=cases,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=health,
        )
        return hypothesis.seed(seed)(how(test))

    return decorated


@contextlib.contextmanager
def _captured() -> Any:
    """What a command says, on stdout and stderr together."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        yield shown


def main() -> int:
    """Run both, and say what became of them."""
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32)
    os.environ["COLUMNS"] = "100"
    faults: dict[str, str] = {}
    for name, fuzz in (("studies", mutated_studies), ("command lines", mutated_commands)):
        found = fuzz(cases, seed)
        kinds = ("accepted", "short errors", "tracebacks")
        counts = ", ".join(f"{found[kind]} {kind}" for kind in kinds)
        print(f"{sum(found[kind] for kind in kinds)} mutated {name} (seed {seed}): {counts}")  # noqa: T201
        faults |= found.faults
    for kind, case in faults.items():
        print(f"\n== {kind}\n{case}")  # noqa: T201
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
