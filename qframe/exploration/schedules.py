"""Schedules of ε, or of a temperature, over the frames of a run."""

import math


class LinearSchedule:
    """From ``start`` to ``end`` in a straight line over ``frames`` frames, then ``end`` exactly.

    Args:
        start: value at frame 0.
        end: value from frame ``frames`` on.
        frames: length, in environment steps, ≥ 1.

    Raises:
        ValueError: a number that is not finite, or a length below 1.

    >>> schedule = LinearSchedule(1.0, 0.2, 100)
    >>> schedule(0), schedule(50), schedule(1000)
    (1.0, 0.6, 0.2)
    """

    def __init__(self, start: float, end: float, frames: int) -> None:
        _check(start, end, frames)
        self.start, self.end, self.frames = start, end, frames

    def __call__(self, frame: int) -> float:
        """The value after ``frame`` frames."""
        if frame >= self.frames:
            return self.end
        return self.start + (self.end - self.start) * (frame / self.frames)


class ExponentialSchedule:
    """From ``start`` to ``end`` by a constant factor per frame over ``frames`` frames, then ``end`` exactly.

    Args:
        start: value at frame 0, > 0.
        end: value from frame ``frames`` on, > 0.
        frames: length, in environment steps, ≥ 1.

    Raises:
        ValueError: a number that is not finite and positive, or a length below 1.

    >>> schedule = ExponentialSchedule(1.0, 0.01, 100)
    >>> schedule(0), round(schedule(50), 6), schedule(100)
    (1.0, 0.1, 0.01)
    """

    def __init__(self, start: float, end: float, frames: int) -> None:
        _check(start, end, frames)
        if start <= 0 or end <= 0:
            raise ValueError(f"expected an exponential schedule between positive values, got {start} to {end}")
        self.start, self.end, self.frames = start, end, frames

    def __call__(self, frame: int) -> float:
        """The value after ``frame`` frames."""
        if frame >= self.frames:
            return self.end
        return self.start * (self.end / self.start) ** (frame / self.frames)


def _check(start: float, end: float, frames: int) -> None:
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ValueError(f"expected a schedule between finite values, got {start} to {end}")
    if frames < 1:
        raise ValueError(f"expected a schedule of at least 1 frame, got {frames}")


def epsilon_schedule(name: str, start: float, end: float, frames: int) -> LinearSchedule | ExponentialSchedule:
    """The schedule of ε with this name.

    Raises:
        ValueError: ε outside [0, 1], or a schedule that is unknown or shorter than a frame.
    """
    for bound, value in (("eps_init", start), ("eps_end", end)):
        if not 0 <= value <= 1:
            raise ValueError(f"expected {bound} in [0, 1], got {value}")
    if name not in SCHEDULES:
        raise ValueError(f"expected schedule to be one of {', '.join(SCHEDULES)}, got {name!r}")
    return SCHEDULES[name](start, end, frames)


SCHEDULES = {"linear": LinearSchedule, "exponential": ExponentialSchedule}
