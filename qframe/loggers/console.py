"""Console output of a run: a live progress bar on a terminal, plain lines in a pipe."""

import sys

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qframe.formatting import format_score


class Report:
    """Reports the progress of a run. This base class prints nothing, for use as a library."""

    def start(self, frames: int, total_frames: int) -> None:
        """Start at this frame."""

    def update(self, frames: int, *, frames_per_second: float, episode_return: float | None) -> None:
        """Show the progress; called at every log."""

    def evaluating(self, done: int, episodes: int) -> None:
        """Show the progress of an evaluation; called at every step of it."""

    def say(self, text: str) -> None:
        """Print a line."""

    def stop(self) -> None:
        """Remove the progress bar."""


class LineReport(Report):
    """Prints a line per log, for pipes and files."""

    def start(self, frames: int, total_frames: int) -> None:
        self._total = total_frames

    def update(self, frames: int, *, frames_per_second: float, episode_return: float | None) -> None:
        remaining = max(0, self._total - frames) / max(frames_per_second, 1e-9)
        self.say(
            f"{frames:>10,}/{self._total:,} frames  {min(1.0, frames / self._total):4.0%}  "
            f"{frames_per_second:8,.0f} frames/s  ETA {_clock(remaining)}  return {format_score(episode_return)}"
        )

    def say(self, text: str) -> None:
        print(text, flush=True)


class BarReport(Report):
    """Shows a live progress bar, with printed lines above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("frames  {task.fields[rate]} frames/s  ETA"),
            TimeRemainingColumn(),
            TextColumn("return {task.fields[episode_return]}"),
            console=console,
            transient=True,
        )

    def start(self, frames: int, total_frames: int) -> None:
        self._task = self._progress.add_task(
            "", total=total_frames, completed=frames, rate="-", episode_return="-"
        )
        self._progress.start()

    def update(self, frames: int, *, frames_per_second: float, episode_return: float | None) -> None:
        self._progress.update(
            self._task,
            completed=frames,
            rate=f"{frames_per_second:,.0f}",
            episode_return=format_score(episode_return),
        )

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def stop(self) -> None:
        self._progress.stop()


def console_report() -> Report:
    """The report for standard output: a bar on a terminal, else lines."""
    return BarReport(Console()) if sys.stdout.isatty() else LineReport()


def seed_notes(*, has_episode_seeds: bool, can_resume: bool) -> list[str]:
    """Notes on the limits of a run's environments, printed when it starts."""
    notes = []
    if not has_episode_seeds:
        notes.append("note: these environments reset themselves, so one seed serves all episodes")
    if not can_resume:
        notes.append("note: these environments cannot resume episodes, so every checkpoint truncates the running ones")
    return notes


def format_shape(shape: torch.Size) -> str:
    """The shape of a batch, with its dimensions' names.

    >>> format_shape(torch.Size([32, 8]))
    '[B, T] = [32, 8]'
    """
    return f"{'[B, T]' if len(shape) == 2 else '[B]'} = {list(shape)}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
