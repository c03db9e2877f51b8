from studies import study, together

from distlab.report.figures.cells import cells
from distlab.report.figures.groups import groups


def test_a_group_holds_what_differs_in_framework_and_workers_only() -> None:
    found = groups(cells(study()))
    assert [group.title for group in found] == [
        "mlp, weak scaling, batch 64 a worker",
        "mlp, strong scaling, batch 64 over all workers",
        "lenet5, weak scaling, batch 64 a worker",
        "lenet5, strong scaling, batch 64 over all workers",
    ]
    assert [len(group.cells) for group in found] == [6, 6, 6, 6]
    assert found[0].world_sizes == [1, 2]


def test_groups_that_look_alike_are_told_apart_by_what_differs() -> None:
    short = study(models=["mlp"], scalings=["weak"], epochs=2)
    long = study(models=["mlp"], scalings=["weak"], epochs=4)
    found = groups(cells({**short, "runs": short["runs"] + long["runs"]}))
    assert [group.title.rsplit(", ", 1)[1] for group in found] == ["epochs=2", "epochs=4"]
    assert [group.slug for group in found] == ["mlp-weak-64-epochs_2", "mlp-weak-64-epochs_4"]


def test_a_cell_that_only_failed_stands_with_its_like() -> None:
    def failed(run: dict) -> bool:
        return run["framework"] == "torch" and run["model"] == "mlp"

    found = groups(cells(study(scalings=["weak"], failed=failed)))
    assert [len(group.cells) for group in found] == [6, 6]
    assert [len(group.ranked) for group in found] == [4, 6]


def test_precisions_are_groups_of_their_own_and_other_ones_than_fp32_are_named() -> None:
    own = {"models": ["mlp"], "scalings": ["weak"]}
    rounded = study(precision="bf16", **own)
    found = groups(cells(together(study(**own), rounded)))
    assert [group.title for group in found] == [
        "mlp, weak scaling, batch 64 a worker",
        "mlp, weak scaling, batch 64 a worker, bf16",
    ]
    assert [group.slug for group in found] == ["mlp-weak-64", "mlp-weak-64-bf16"]
    assert [{cell.precision for cell in group.cells} for group in found] == [{"fp32"}, {"bf16"}]


def test_a_cell_of_another_precision_that_only_failed_stands_apart() -> None:
    own = {"models": ["mlp"], "scalings": ["weak"], "frameworks": ["torch"]}
    lost = study(precision="bf16", failed=lambda run: True, **own)
    found = groups(cells(together(study(**own), lost)))
    assert [(group.slug, len(group.ranked)) for group in found] == [
        ("mlp-weak-64", 2),
        ("mlp-weak-64-bf16", 0),
    ]


def test_a_name_from_a_file_is_no_path_and_no_markup_in_a_slug() -> None:
    told = study(models=["mlp"], scalings=["weak"], world_sizes=(1,), repeats=1)
    for run in told["runs"]:
        run["model"] = '../../x" onload="y'
    (group,) = groups(cells(told))
    assert group.slug == "_._.._x__onload__y-weak-64"
