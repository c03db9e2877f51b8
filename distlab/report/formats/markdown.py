"""The report as Markdown: a whole document, and a short note for the study's MLflow run."""

from collections.abc import Iterable
from typing import Any

from distlab.report.contents import Contents, contents
from distlab.report.figures.cells import cells
from distlab.report.sections.tables import Table

NOTE_COLUMNS = (
    "framework",
    "workers",
    "samples/s",
    "speed-up",
    "test accuracy",
    "verified",
)
MOST_TABLES, MOST_SENTENCES = 3, 8
"""Of the note, which MLflow keeps 8,000 characters of; of more the report has all."""


def document(report: Contents) -> str:
    """The whole report; plots are the PNG files beside it."""
    parts = [f"# {escaped(report.title)}", escaped(report.subtitle), *_verdict(report)]
    parts += ["## Figures", escaped(report.legend)]
    parts += _tables(report.main)
    parts += ["### In words", _items(f"{name}: {text}" for name, text in report.words)]
    if report.apart:
        parts += ["### Set apart, and not ranked", "No figure above is from these runs."]
        parts += _tables(report.apart, "####")
    parts += _plots(report)
    if report.ratios:
        parts += ["## Framework against framework", escaped(report.ratios_legend)]
        parts += _tables(report.ratios)
    for heading, section in (
        ("When compilation pays", report.compilation),
        ("What a job takes", report.job_times),
        ("Predicted and measured", report.predicted),
        ("The classroom study, then and now", report.classroom),
        ("Scorecard", report.scorecard),
    ):
        if section is not None:
            parts += [f"## {heading}", *map(escaped, section.sentences)]
            parts += _tables(section.tables)
    for file, source in report.scripts.items():
        parts += [f"### {escaped(file)}", f"```python\n{source}```"]
    parts += ["## Conditions"]
    for title, facts in report.conditions.items():
        parts += [f"### {escaped(title)}", _items(f"{n}: {value}" for n, value in facts)]
    if report.tuned is not None:
        parts += ["### Tuned, not as installed", *map(escaped, report.tuned.sentences)]
        parts += [table(shown) for shown in report.tuned.tables]
    if report.loads is not None:
        parts += _tables([report.loads])
    parts += ["## How the figures were made"]
    parts += [_items(f"{name}: {text}" for name, text in report.method)]
    parts += [f"In full: {', '.join(report.documents)} in distlab's repository."]
    parts += ["## Citation", f"```bibtex\n{report.citation}\n```"]
    return "\n\n".join(parts) + "\n"


def summary(study: dict[str, Any], link: str = "") -> str:
    """The verdict, the main tables and the sentences, for the note of the study's MLflow run.

    ``link`` is what leads to the whole report, as Markdown; it stands before what a long study's
    note might be cut in.
    """
    report = contents(study, cells(study), [])
    parts = _verdict(report, brief=True)
    parts[1:1] = [link] * bool(link)
    for shown in report.main[:MOST_TABLES]:
        # Beside them the time to the target accuracy, whose column is named by the target.
        columns = [
            name for name in shown.columns if name in NOTE_COLUMNS or name.startswith("s to")
        ]
        parts += [f"**{escaped(shown.title)}**", table(shown, columns)]
    if len(report.main) > MOST_TABLES:
        parts += [f"The report has {len(report.main) - MOST_TABLES} more tables."]
    if report.apart:
        parts += ["Some runs are set apart and not ranked; the report says which and why."]
    told = report.sentences if report.note and len(report.sentences) <= MOST_SENTENCES else []
    told = [*told, *(report.compilation.sentences[:-1] if report.compilation else [])]
    if told:
        parts += [_items(told)]
    return "\n\n".join(parts) + "\n"


def table(shown: Table, columns: Iterable[str] | None = None) -> str:
    """A table of GitHub-flavoured Markdown; rows that are told to be the fastest are bold."""
    kept = [n for n, name in enumerate(shown.columns) if columns is None or name in columns]
    names = [escaped(shown.columns[n]) for n in kept]
    rules = ["---" if shown.columns[n] in shown.wordy else "---:" for n in kept]
    lines = [names, rules]
    for place, row in enumerate(shown.rows):
        fields = []
        for n in kept:
            text, detail = escaped(row[n].text), escaped(row[n].qualified)
            strong = f"**{text}**" if place in shown.best else text
            links = " ".join(f"<{link}>" for link in row[n].links)
            fields.append(" ".join(filter(None, (strong, detail and f"({detail})", links))))
        lines.append(fields)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """Text on one line, without characters that would be markup."""
    plain = " ".join(text.split())
    for character in "\\`*_[]|<>#":
        plain = plain.replace(character, f"\\{character}")
    return plain


def _verdict(report: Contents, brief: bool = False) -> list[str]:
    """The first screen; ``brief``ly with the first words in bold and no more than a note holds."""
    headline = escaped(report.headline)
    parts = [f"**{headline}**" if brief else headline]
    parts += [escaped(report.scope)] if report.scope else []
    if report.next_step is not None:
        parts.append(f"**Next.** {escaped(report.next_step.words)}")
        if report.next_step.command is not None:
            parts.append(f"```bash\n{report.next_step.command}\n```")
    most = MOST_SENTENCES if brief else None
    if report.verdict:
        said = report.verdict[
            : MOST_TABLES if brief and len(report.verdict) > MOST_SENTENCES else None
        ]
        parts.append("\n".join(f"- **{escaped(n)}.** {escaped(t)}" for n, t in said))
    if report.untold:
        parts += ["What could not be told:", _items(report.untold[:most])]
    return parts


def _tables(shown: Iterable[Table], heading: str = "###") -> list[str]:
    return [text for one in shown for text in (f"{heading} {escaped(one.title)}", table(one))]


def _plots(report: Contents) -> list[str]:
    parts = ["## Plots"] if report.plots else []
    for kind in report.plots:
        parts += [f"### {escaped(kind.title)}", escaped(kind.description)]
        parts += [f"![{escaped(plot.description)}](plots/{plot.name}.png)" for plot in kind.plots]
    return parts


def _items(texts: Iterable[str]) -> str:
    return "\n".join(f"- {escaped(text)}" for text in texts)
