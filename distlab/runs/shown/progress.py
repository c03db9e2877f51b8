"""The terminal: what will run, how far it is, and the final table. Nothing else is printed."""

from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from distlab.console import Terminal, ui_command
from distlab.masking import mask
from distlab.outcome import caveats
from distlab.outcome.evaluations.epoch import Epoch
from distlab.outcome.events import Progress as Position
from distlab.runs.shown.side_by_side import results


class Display:
    """Shows one run: a progress bar on a terminal, one plain line per epoch elsewhere.

    ``brief``, for one of many runs, leaves out the lines on single epochs and on details, and
    takes the bar away when the run is done.
    """

    def __init__(self, console: Console | None = None, brief: bool = False) -> None:
        self.console = console or Terminal()
        self._brief = brief
        self.live = self.console.is_terminal
        self._bar: Progress | None = None
        self._accuracy = ""
        self._status: Any = None
        self._said: set[str] = set()

    def say(self, line: str) -> None:
        """Print one line, above the progress bar if there is one."""
        self.console.print(mask(line), soft_wrap=True, markup=False)

    def once(self, line: str) -> None:
        """Print a line, unless it was printed before."""
        if line not in self._said:
            self._said.add(line)
            self.say(line)

    def detail(self, line: str) -> None:
        """Print a line, unless brief."""
        if not self._brief:
            self.say(line)

    def waiting(self, text: str) -> None:
        """Show what is being waited for, on a terminal only; the next call replaces it."""
        if self.live and self._bar is None:
            if self._status is None:
                self._status = self.console.status(Text(text))
                self._status.start()
            self._status.update(Text(text))

    def begin(
        self, epochs: int, steps_per_epoch: int, samples_per_step: int, most: int | None = None
    ) -> None:
        """The first step is about to be taken, by the first workers or, after a failure, others.

        ``most`` is how many steps are taken at most, if not those of all epochs.
        """
        self._stop_waiting()
        self._epochs, self._steps = epochs, steps_per_epoch
        self._samples_per_step = samples_per_step
        if self.live and self._bar is None:
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                TimeRemainingColumn(),
                console=self.console,
                transient=self._brief,
            )
            self._task = self._bar.add_task(
                "", total=most or epochs * steps_per_epoch, epoch=1, epochs=epochs, figures=""
            )
            self._bar.start()

    def position(self, position: Position) -> None:
        """Move the bar inside an epoch, which rank 0 does for all."""
        if self._bar is not None and position.rank == 0:
            rate = position.step * self._samples_per_step / position.seconds
            self._bar.update(
                self._task,
                completed=position.epoch * self._steps + position.step,
                epoch=position.epoch + 1,
                figures=f"{rate:,.0f} samples/s  loss {position.loss:.4f}{self._accuracy}",
            )

    def epoch(self, epoch: Epoch) -> None:
        """Show a completed epoch."""
        accuracy = epoch.told_accuracy
        self._accuracy = "" if accuracy is None else f"  accuracy {accuracy:.2%}"
        figures = f"{epoch.throughput:,.0f} samples/s  loss {epoch.train_loss:.4f}{self._accuracy}"
        if self._bar is None:
            number = f"{epoch.index + 1:{len(str(self._epochs))}}/{self._epochs}"
            self.detail(f"epoch {number}  {epoch.seconds:6.2f} s  {figures}")
        else:
            self._bar.update(
                self._task,
                completed=(epoch.index + 1) * self._steps,
                epoch=min(epoch.index + 2, self._epochs),
                figures=figures,
            )

    def report(self, summaries: list[dict[str, Any]], run_dir: Path) -> None:
        """Show the final table, caveats, where everything is, and how to open the MLflow UI."""
        self.table(summaries)
        for caveat in (caveat for summary in summaries for caveat in caveats.of(summary)):
            self.say(f"caveat:  {caveat}{'' if caveat.code.ranked else ': not ranked'}")
        self.where(run_dir, summaries[-1]["mlflow"]["tracking_uri"])

    def table(self, summaries: list[dict[str, Any]]) -> None:
        """Show runs side by side."""
        self.close()
        self.console.print(results(summaries))

    def where(self, folder: Path, tracking_uri: str) -> None:
        """Say where the records are, and how to open the MLflow UI."""
        self.say(f"record:  {folder}")
        self.say(f"MLflow:  {ui_command(tracking_uri)}")

    def close(self) -> None:
        """Remove what moves; what was printed stays."""
        self._stop_waiting()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __enter__(self) -> "Display":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _stop_waiting(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
