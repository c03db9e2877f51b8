import re
from io import StringIO
from typing import Any

from rich.console import Console
from summaries import summary

from distlab.runs.shown.side_by_side import results


def shown(*summaries: dict[str, Any], width: int = 100) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(results(list(summaries)))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if re.search(rf"[│|] *{re.escape(name)}", line))


def test_the_table_of_one_run_has_its_conditions_and_figures() -> None:
    text = shown(summary())
    assert "torch 2.13.0" in text
    for expected in (
        "mlp (89,610 parameters)",
        "mnist5k",
        "2 x cpu",
        "128 global (weak scaling)",
        "23,457 samples/s",
        "48.39 ms",  # 3 s for 62 steps
        "1.23, 2.35, 3.46 ms",
        "1.50 s",
        "91.25%",
        "not reached (97.0%)",
        "7.2 s",
        "12.5 s",
    ):
        assert expected in text, expected
    assert "yes" in row(text, "verified")


def test_percentiles_of_too_few_spans_are_not_shown() -> None:
    known = summary()["step_time_ms"]
    few = {**known, "p99": None, "spans": 20}
    assert "1.23, 2.35, - ms" in row(shown(summary(step_time_ms=few)), "p50, p95, p99")
    none = {**few, "p50": None, "p95": None, "spans": 2}
    # Earlier versions recorded percentiles of few spans, and not of how many.
    for one in (none, {"p50": 1.231, "p95": 2.349, "p99": 3.457}):
        shown_row = row(shown(summary(step_time_ms=one)), "p50, p95, p99")
        assert " - " in shown_row and "ms" not in shown_row


def test_a_run_that_is_not_ranked_has_no_speed_up() -> None:
    over = [{"code": "oversubscribed", "detail": "4 threads on 2 cores of here"}]
    one, two = scaled()[:2]
    four = summary(world_size=4, caveats=over)
    told = row(shown(one, two, four), "speed-up")
    assert "1.80 100%" in told and "not ranked" in told and "no baseline" not in told
    assert "oversubscribed" in row(shown(one, two, four), "verified")


def test_what_the_exchange_costs_is_shown_where_it_was_measured() -> None:
    assert "10.0% of a step (8.0% to 12.0%)" in row(shown(summary()), "exchange")
    assert "not told from 0" in row(shown(summary(communication_share_low=-0.02)), "exchange")
    alone = dict.fromkeys([f"communication_share{end}" for end in ("", "_low", "_high")])
    assert "exchange" not in shown(summary(**alone))
    assert re.search(r" - .*10\.0%", row(shown(summary(**alone), summary()), "exchange"))


def test_time_to_accuracy_is_shown_once_reached() -> None:
    assert "3.00 s (97.0%)" in shown(summary(time_to_accuracy_s=3.0))


def test_the_table_of_three_runs_has_a_column_for_each() -> None:
    text = shown(
        summary(throughput_samples_per_s=111.0),
        summary(framework="tf", framework_version="2.21.0", throughput_samples_per_s=222.0),
        summary(framework="paddle", framework_version="3.3.1", throughput_samples_per_s=333.0),
    )
    assert max(len(line) for line in text.splitlines()) <= 100
    throughput = row(text, "throughput")
    assert re.search(r"111 samples/s.*222 samples/s.*333 samples/s", throughput)
    header = next(line for line in text.splitlines() if "torch 2.13.0" in line)
    assert re.search(r"torch 2\.13\.0.*tf 2\.21\.0.*paddle 3\.3\.1", header)


def test_more_than_three_runs_have_a_row_each() -> None:
    text = shown(
        *(
            summary(
                world_size=n,
                throughput_samples_per_s=n * 900.0,
                speedup=0.9 * n,
                scaling_efficiency=0.9,
            )
            for n in (1, 2, 4, 8)
        ),
        width=100,
    )
    (line,) = (line for line in text.splitlines() if "8 cpu" in line)
    assert "7,200" in line
    assert "7.20 90%" in line


def scaled(**values: Any) -> list[dict[str, Any]]:
    """Two frameworks on one and two workers, with baselines."""
    return [
        summary(
            framework=framework,
            execution="eager",
            world_size=n,
            global_batch_size=64 * n,
            speedup=0.9 * n,
            scaling_efficiency=1.0,
            **values,
        )
        for framework in ("paddle", "torch")
        for n in (1, 2)
    ]


def test_80_columns_hold_all_figures_of_a_study_whatever_became_of_its_runs() -> None:
    wrong = {name: {"passed": False, "detail": "no"} for name in ("clock", "samples")}
    runs = [*scaled(), summary(), summary(verified=False, checks=wrong)]
    codes = ("noisy", "oversubscribed", "unlike_hosts")
    runs[0]["caveats"] = [{"code": code, "detail": "as it was"} for code in codes]
    text = shown(*runs, width=80)
    assert "no room for" not in text and "…" not in text
    for figure in ("samples/s", "step ms", "accuracy", "verified", "speed-up", "0.90 100%"):
        assert figure in text, figure
    for words in ("too noisy,", "oversubscribed,", "unlike hosts"):
        assert words in text, words
    lines = text.splitlines()
    (failed,) = (place for place, line in enumerate(lines) if "NO:" in line)
    assert "clock," in lines[failed + 1] and "samples" in lines[failed + 2]


def test_the_batch_of_more_than_three_runs_is_that_of_a_worker_or_of_all() -> None:
    assert "batch 64 a worker" in shown(*scaled())
    strong = scaled(scaling="strong")
    for run in strong:
        run["global_batch_size"] = 64
    assert "batch 64 in all" in shown(*strong)
    assert re.search("64 a worker.*\n.*64 in all", shown(*scaled(), *strong))


def test_a_narrower_terminal_leaves_figures_out_and_cuts_none() -> None:
    narrow, narrower = (shown(*scaled(), width=width) for width in (68, 60))
    assert "accuracy" in narrow and "no room for: step ms\n" in re.sub(r" +\n", "\n", narrow)
    assert "no room for: step ms, accuracy" in narrower
    for text in (narrow, narrower):
        assert "…" not in text
        assert "speed-up" in text and "verified" in text


def test_conditions_that_runs_do_not_share_are_shown_for_each() -> None:
    text = shown(summary(world_size=1), summary(world_size=4))
    assert re.search(r"1 x cpu.*4 x cpu", row(text, "workers"))


def test_shared_conditions_are_shown_once() -> None:
    assert shown(summary(), summary()).count("mnist5k") == 1


def test_an_unverified_run_is_shown_as_no_with_its_failed_checks() -> None:
    checks = {
        "weights": {"passed": True, "detail": "fine"},
        "clock": {"passed": False, "detail": "stood still"},
        "samples": {"passed": False, "detail": "shuffled"},
    }
    text = shown(summary(verified=False, checks=checks), summary())
    line = row(text, "verified")
    assert re.search(r"NO: clock, samples.*yes", line)


def test_a_precision_is_shown_where_one_is_not_fp32() -> None:
    assert "precision" not in shown(summary(), summary(framework="tf"))
    text = shown(summary(), summary(framework="tf", precision="bf16"))
    assert re.search(r"fp32.*bf16", row(text, "precision"))
    many = shown(*[summary(precision="bf16")] * 4)
    assert "precision bf16" in " ".join(many.split())


def test_a_run_recorded_without_a_precision_is_shown() -> None:
    old = {name: value for name, value in summary().items() if name != "precision"}
    assert "fp32" in row(shown(old, summary(precision="tf32")), "precision")


def test_of_noise_no_accuracy_is_shown() -> None:
    noise = summary(test_accuracy=[None, None], time_to_accuracy_s=None)
    assert "%" not in row(shown(noise), "test accuracy") + row(shown(noise), "time to accuracy")
    assert "%" in row(shown(noise, summary()), "test accuracy")
