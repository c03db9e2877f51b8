from studies import study, with_variants

from distlab.report import contents as whole
from distlab.report.figures.cells import cells


def test_of_many_pairs_the_table_has_those_with_the_highest_mean() -> None:
    told = with_variants(study(models=["mlp"], scalings=["weak"], world_sizes=[1], repeats=3), 4)
    found = cells(told)
    assert len(found) == 12
    report = whole.contents(told, found, [])
    (table,) = report.ratios
    assert len(report.sentences) == 66 > whole.MOST_RATIOS
    assert "of 66 pairs those with a highest mean" in table.title
    assert [row[0].text for row in table.rows] == ["tf graph framework.tuning=3"] * 11
    few = study(models=["mlp"], scalings=["weak"], world_sizes=[1], repeats=3)
    (table,) = whole.contents(few, cells(few), []).ratios
    assert len(table.rows) == 3 and "pairs" not in table.title
