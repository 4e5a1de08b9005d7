"""When updates, logs, evaluations and checkpoints are due, counted in frames."""

from collections.abc import Mapping
from typing import Any

TASKS = ("log", "evaluate", "save")
"""The periodic tasks besides updates, in the order in which they are done."""


class Schedule:
    """The frames of a run, and the work that is due at its current frame.

    Frames are environment steps, summed over environments. Environments step together, so frames advance by several at
    once; something is due whenever a multiple of its interval is reached or passed, never by ``frames % every == 0``.

    Args:
        learning_starts: frames before the first update.
        every: frames between rounds of updates.
        updates: updates in a round.
        intervals: frames between logs, evaluations and checkpoints, by ``log``, ``evaluate`` and ``save``.

    Raises:
        ValueError: a number out of range.

    >>> schedule = Schedule(learning_starts=8, every=4, updates=2, intervals={"log": 10, "evaluate": 50, "save": 20})
    >>> schedule.advance(20)
    >>> schedule.updates_owed, schedule.due
    (6, ['log', 'save'])
    """

    def __init__(self, *, learning_starts: int, every: int, updates: int, intervals: Mapping[str, int]) -> None:
        for name, number, least in (
            ("learning_starts", learning_starts, 0), ("every", every, 1), ("updates", updates, 1)
        ):  # fmt: skip
            if number < least:
                raise ValueError(f"expected {name} of at least {least}, got {number}")
        self._learning_starts, self._every, self._updates = learning_starts, every, updates
        self.intervals = dict(intervals)
        self.frames = 0
        self.updates_owed = 0
        """Updates that are due and not yet taken; the caller that takes them subtracts them."""
        self.due: list[str] = []
        """The tasks that are due and not yet done, in order."""
        self.refills_from = 0
        """The frame from which ``learning_starts`` counts: 0, or that at which the replay was last empty."""
        self.logged = 0
        """The frame of the last log."""

    def advance(self, frames: int) -> None:
        """Count the frames of one step, and note the work that falls due."""
        before, self.frames = self.frames, self.frames + frames
        starts = self.refills_from + self._learning_starts
        rounds_before, rounds = max(0, before - starts) // self._every, max(0, self.frames - starts) // self._every
        self.updates_owed += (rounds - rounds_before) * self._updates
        self.due = [task for task in TASKS if self.frames // self.intervals[task] > before // self.intervals[task]]

    @property
    def has_work(self) -> bool:
        """Whether updates or tasks are left to do at this frame."""
        return bool(self.updates_owed or self.due)

    def done(self, task: str) -> None:
        """Mark a task as done, due or not."""
        self.logged = self.frames if task == "log" else self.logged
        self.due = [other for other in self.due if other != task]

    def state_dict(self) -> dict[str, Any]:
        """The frames, and the work that is left at this frame."""
        counts = {"frames": self.frames, "logged": self.logged, "updates_owed": self.updates_owed}
        counts |= {"refills_from": self.refills_from} if self.refills_from else {}
        return counts | {"due": list(self.due)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self.frames, self.logged = state["frames"], state["logged"]
        self.updates_owed, self.due = state["updates_owed"], list(state["due"])
        self.refills_from = state.get("refills_from", 0)
