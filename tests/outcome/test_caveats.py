from typing import Any

import pytest
from summaries import summary

from distlab.outcome import caveats
from distlab.outcome.caveats import Caveat, Code

NOISY = Caveat(Code.noisy, "others computed")
UNLIKE = Caveat(Code.unlike_hosts, "2 cores on here, 4 cores on there")
OVER = Caveat(Code.oversubscribed, "4 threads on 2 cores of here")


def test_every_code_has_its_meaning() -> None:
    assert {*caveats.MEANINGS} == {*Code}
    assert all(code.words and code.sentence.endswith(".") for code in Code)


def test_a_caveat_keeps_a_run_out_of_rankings_unless_the_figure_is_true_of_what_it_ran_on() -> None:
    ranked = {Code.unlike_hosts, Code.shared_cores, Code.restarted, Code.power_capped, Code.short}
    assert {code for code in Code if code.ranked} == ranked


@pytest.mark.parametrize(
    ("threads", "cores", "detail"),
    [
        (2, 2, None),
        (1, 2, None),
        (3, 2, "3 threads on 2 cores of here"),
        (2, 1, "2 threads on 1 core of here"),
    ],
)
def test_more_threads_than_cores_are_too_many(threads: int, cores: int, detail: str | None) -> None:
    found = caveats.oversubscribed(threads, cores, "here")
    assert (found and found.detail) == detail
    assert found is None or found.code is Code.oversubscribed


def test_a_summary_gives_back_what_it_was_given() -> None:
    run = summary(caveats=caveats.plain([OVER, UNLIKE, NOISY]))
    assert run["caveats"][0] == {"code": "oversubscribed", "detail": "4 threads on 2 cores of here"}
    assert caveats.of(run) == [OVER, UNLIKE, NOISY]
    assert caveats.doubts(run) == [OVER, NOISY]
    assert not caveats.counts(run)


def test_a_run_counts_if_it_is_verified_and_nothing_speaks_against_it() -> None:
    assert caveats.counts(summary(caveats=[]))
    assert caveats.counts(summary(caveats=caveats.plain([UNLIKE])))
    assert not caveats.counts(summary(caveats=[], verified=False))


def recorded(**values: Any) -> dict[str, Any]:
    """A summary of the time before there were caveats."""
    return {k: value for k, value in summary(**values).items() if k != "caveats"}


def test_of_a_run_before_there_were_caveats_the_noise_is_known() -> None:
    assert caveats.of(recorded(load=None)) == []
    assert caveats.of(recorded(load={"too_noisy": None})) == []
    old = recorded(load={"too_noisy": "others computed"})
    assert caveats.of(old) == [NOISY] and not caveats.counts(old)
    assert caveats.of({**old, "caveats": []}) == []


@pytest.mark.parametrize("loss", [None, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["train_loss", "test_loss"])
def test_a_loss_that_is_none_in_an_old_record_keeps_the_run_out(name: str, loss: Any) -> None:
    old = recorded(**{name: [2.3, loss]})
    assert caveats.codes(caveats.of(old)) == [Code.diverged]
    assert not caveats.counts(old)
    assert caveats.counts(recorded(**{name: [2.3, 0.1]}))


def test_a_code_of_a_later_version_is_believed_in_nothing() -> None:
    (found,) = caveats.of(summary(caveats=[{"code": "haunted", "detail": "by a ghost"}]))
    assert (found.code, found.detail) == (Code.unknown, "by a ghost")
    assert not found.code.ranked


def test_in_words_a_code_stands_once_and_in_a_line_with_what_was_found() -> None:
    twice = [OVER, Caveat(Code.oversubscribed, "4 threads on 1 core of there"), NOISY]
    assert caveats.codes(twice) == [Code.oversubscribed, Code.noisy]
    assert caveats.words(twice) == "oversubscribed, too noisy"
    assert caveats.told([OVER, NOISY]) == (
        "oversubscribed (4 threads on 2 cores of here), too noisy (others computed)"
    )
