"""Console output of a run: a live progress bar on a terminal, plain lines in a pipe."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.text import Text

from qframe.formatting import format_score

HEARTBEAT, EVALUATION = 15.0, 5.0
"""Seconds without a line after which a run in a pipe shows that it is alive: in training, and in an evaluation."""
MIN_BAR = 6
"""Columns below which no bar is drawn."""


class Report:
    """Reports the progress of a run. This base class prints nothing, for use as a library."""

    def start(self, frames: int, total_frames: int, name: str = "") -> None:
        """Start at this frame."""

    def update(
        self, frames: int, *, frames_per_second: float, seconds_left: float | None, episode_return: float | None,
        actors: str = "",
    ) -> None:  # fmt: skip
        """Show the progress; called at every log. The seconds left are unknown (None) until learning starts.

        Args:
            frames: so far.
            frames_per_second: since the last log.
            seconds_left: until the end.
            episode_return: the mean of recent training episodes.
            actors: the state of the actors; empty if there are none.
        """

    def step(self, frames: int) -> None:
        """Show that the run is alive; called after every step of the environments."""

    def evaluating(self, done: int, episodes: int) -> None:
        """Show the progress of an evaluation; called at every step of it."""

    def evaluated(self, mean: float) -> None:
        """Show the mean return of an evaluation."""

    def say(self, text: str) -> None:
        """Print a line."""

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While active, other programs may print, as C libraries that draw pictures do."""
        yield

    def stop(self) -> None:
        """Remove the progress bar."""


class LineReport(Report):
    """Prints a line per log, for pipes and files, and a sign of life where logs are far apart in time.

    Without a start, as for ``qframe eval``, it shows evaluations alone.
    """

    def __init__(self) -> None:
        self._total = self._frames = 0
        self._said_at = time.monotonic()

    def start(self, frames: int, total_frames: int, name: str = "") -> None:
        self._total, self._frames = total_frames, frames

    def update(
        self, frames: int, *, frames_per_second: float, seconds_left: float | None, episode_return: float | None,
        actors: str = "",
    ) -> None:  # fmt: skip
        speed = f"{frames_per_second:8,.0f} frames/s  ETA {_clock(seconds_left)}"
        self._progress(frames, f"{speed}  return {format_score(episode_return)}{f'  {actors}' if actors else ''}")

    def step(self, frames: int) -> None:
        self._frames = frames
        if time.monotonic() - self._said_at > HEARTBEAT:
            self._progress(frames, "training")

    def evaluating(self, done: int, episodes: int) -> None:
        if time.monotonic() - self._said_at > EVALUATION:
            self._progress(self._frames, f"evaluating {done}/{episodes}")

    def say(self, text: str) -> None:
        self._said_at = time.monotonic()
        print(text, flush=True)

    def _progress(self, frames: int, text: str) -> None:
        share = f"{frames:>10,}/{self._total:,} frames  {_share(frames, self._total):4.0%}  "
        self.say(f"{share if self._total else ''}{text}")


class BarReport(Report):
    """Shows a live line with a progress bar, and prints lines above it.

    The line is never wider than the terminal: what does not fit is left out, the least important first.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._name, self._frames, self._total = "", 0, 1
        self._speed = self._return = self._evaluation = self._actors = ""
        self._remaining = _clock(None)
        self._live = Live(console=console, get_renderable=self._line, transient=True, refresh_per_second=4)

    def start(self, frames: int, total_frames: int, name: str = "") -> None:
        self._name, self._frames, self._total = name, frames, total_frames
        self._live.start()

    def update(
        self, frames: int, *, frames_per_second: float, seconds_left: float | None, episode_return: float | None,
        actors: str = "",
    ) -> None:  # fmt: skip
        self._frames, self._speed = frames, f"{frames_per_second:,.0f} frames/s"
        self._remaining, self._actors = _clock(seconds_left), actors
        self._return = f"return {format_score(episode_return)}"

    def step(self, frames: int) -> None:
        self._frames = frames

    def evaluating(self, done: int, episodes: int) -> None:
        self._evaluation = f"evaluating {done}/{episodes}"

    def evaluated(self, mean: float) -> None:
        self._evaluation = f"eval {format_score(mean)}"

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    def stop(self) -> None:
        self._live.stop()

    def _line(self) -> Text:
        share = _share(self._frames, self._total)
        fields = {  # in the order in which they are shown
            "name": self._name if cell_len(self._name) <= 16 else f"{self._name[:15]}…",
            "share": f"{share:.0%}",
            "frames": f"{self._frames:,}/{self._total:,}",
            "speed": self._speed,
            "remaining": f"ETA {self._remaining}",
            "return": self._return,
            "evaluation": self._evaluation,
            "actors": self._actors,
        }
        room, shown = self._console.width, set()
        for name in ("share", "evaluation", "name", "remaining", "return", "speed", "frames", "actors"):
            # columns for the bar, which comes before the last three
            kept = MIN_BAR + 1 if name in ("speed", "frames", "actors") else 0
            if fields[name] and cell_len(fields[name]) + 2 + kept <= room:
                shown.add(name)
                room -= cell_len(fields[name]) + 2
        columns = min(30, room - 1)
        done, left = "█░" if self._console.encoding.startswith("utf") else "#."
        filled = round(columns * share)
        bar = [done * filled + left * (columns - filled)] if columns >= MIN_BAR else []
        texts = [fields[name] for name in fields if name in shown]
        place = int("name" in shown)
        return Text("  ".join(texts[:place] + bar + texts[place:]), no_wrap=True, overflow="crop")


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


def _share(frames: int, total: int) -> float:
    return min(1.0, frames / max(1, total))


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "-:--:--"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
