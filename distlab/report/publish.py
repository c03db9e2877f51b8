"""Makes a study's report and puts it where the study is recorded: on its page in MLflow."""

from pathlib import Path
from typing import Any

from distlab.files import slug
from distlab.report.figures.cells import cells
from distlab.report.figures.groups import slug_of
from distlab.report.formats import files, markdown
from distlab.tracking import study_writer
from distlab.tracking.sending.outbox import Outbox
from distlab.tracking.study_writer import BOUNDS

# Plots that the note shows, by the beginning of their files' names.
SHOWN = ("throughput", "scaling")


def publish(study: dict[str, Any], folder: Path, out: Outbox) -> Path:
    """Write the report into ``folder`` and log it to the study's MLflow run.

    That run gets the report as artifacts, its verdict, tables and plots as a note, each cell's
    throughput, efficiency and communication share as metrics by number of workers, and saved views;
    each run of the study that is measured against another gets its speed-up.

    Parameters
    ----------
    study:
        The study as :func:`distlab.tracking.reader.load` gives it.
    folder:
        Where to write.
    out:
        Where calls for the study's run go.

    Returns
    -------
    Path
        The page, ``report.html``.
    """
    page = files.write(study, folder)
    study_writer.add_scaling(study["runs"], out)
    study_writer.log_report(study, folder, _note(study, folder), out, figures(study))
    return page


def figures(study: dict[str, Any]) -> list[tuple[str, float, int]]:
    """Each cell's throughput, efficiency and communication share: (metric, value, workers).

    The ends of its interval follow a figure as ``_low`` and ``_high`` (see :data:`BOUNDS`).
    """
    found: list[tuple[str, float, int]] = []
    for cell in cells(study):
        where = f"{slug_of(cell)}/{slug(cell.own.replace(' ', '-'))}"
        for name, estimate in (
            ("throughput", cell.throughput),
            ("scaling_efficiency", cell.efficiency),
            ("communication_share", cell.communication_share),
        ):
            if estimate is None:
                continue
            told = zip(("", *BOUNDS), (estimate.value, estimate.low, estimate.high), strict=True)
            found += [
                (f"{name}/{where}{end}", value, cell.world_size)
                for end, value in told
                if value is not None
            ]
    return found


def _note(study: dict[str, Any], folder: Path) -> str:
    """The study in Markdown for MLflow, which finds artifacts and pages by these addresses."""
    run = study["study"]
    viewer = f"#/experiments/{study['experiment_id']}/runs/{run}/artifacts/report/report.html"
    plots = [
        f"![{plot.stem}](get-artifact?path=report/plots/{plot.name}&run_uuid={run})"
        for kind in SHOWN
        for plot in sorted((folder / "plots").glob(f"{kind}*.png"))
    ]
    link = f"[The whole report]({viewer}?workflowType=machine_learning)"
    return "\n\n".join([markdown.summary(study, link), *plots])
