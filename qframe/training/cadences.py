"""The numbers that a runner goes by: how long, how often, how many."""

import os


def check_numbers(
    total_frames: int, *, learning_starts: int = 0, every: int = 1, updates: int = 1, threads: int = 1
) -> None:
    """What a runner is told is in range.

    Raises:
        ValueError: a number out of range.
    """
    given = {"total_frames": total_frames, "every": every, "updates": updates, "threads": threads}
    for name, number, least in (*((n, v, 1) for n, v in given.items()), ("learning_starts", learning_starts, 0)):
        if number < least:
            raise ValueError(f"expected {name} of at least {least}, got {number}")
    if threads > (most := max(64, os.cpu_count() or 1)):  # thousands crash the process
        raise ValueError(f"expected threads of at most {most}, got {threads}")
