"""What a run shows while it trains: a live bar on a terminal, plain lines in a pipe."""

import sys
from typing import Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Report(Protocol):
    """Where a run tells how it goes."""

    def start(self, frames: int, total_frames: int) -> None: ...

    def update(self, frames: int, *, frames_per_second: float, episode_return: float | None) -> None: ...

    def say(self, text: str) -> None: ...

    def stop(self) -> None: ...


class SilentReport:
    """Says nothing: for use as a library."""

    def start(self, frames: int, total_frames: int) -> None:
        pass

    def update(self, frames: int, *, frames_per_second: float, episode_return: float | None) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def stop(self) -> None:
        pass


class LineReport:
    """A line per log, for pipes and files."""

    def start(self, frames: int, total_frames: int) -> None:
        self._total = total_frames

    def update(self, frames: int, *, frames_per_second: float, episode_return: float | None) -> None:
        remaining = max(0, self._total - frames) / max(frames_per_second, 1e-9)
        self.say(
            f"{frames:>10,}/{self._total:,} frames  {min(1.0, frames / self._total):4.0%}  "
            f"{frames_per_second:8,.0f} frames/s  ETA {_clock(remaining)}  return {_number(episode_return)}"
        )

    def say(self, text: str) -> None:
        print(text, flush=True)

    def stop(self) -> None:
        pass


class BarReport:
    """A live bar; what is said stays above it."""

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
            episode_return=_number(episode_return),
        )

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def stop(self) -> None:
        self._progress.stop()


def console_report() -> Report:
    """The report that fits standard output."""
    return BarReport(Console()) if sys.stdout.isatty() else LineReport()


def notes_on_seeds(*, has_episode_seeds: bool, can_resume: bool) -> list[str]:
    """What these environments cannot do, for a run that starts."""
    notes = []
    if not has_episode_seeds:
        notes.append("these environments reset themselves: one seed for all, none for an episode of its own")
    if not can_resume:
        notes.append("these environments cannot resume an episode: every checkpoint cuts the running ones off")
    return notes


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def layout(shape: torch.Size) -> str:
    """The shape of a batch with its dimensions' names."""
    return f"{'[B, T]' if len(shape) == 2 else '[B]'} = {list(shape)}"
