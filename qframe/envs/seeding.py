"""Seeds: every episode of every environment has its own, derived from the seed of the run."""

import zlib

import numpy as np


def derive_seed(seed: int, *path: str | int) -> int:
    """The seed of one part of a run, such as ``derive_seed(1, "train", env_index, episode)``.

    Parts are derived independently: adding one changes no other part's stream. Names enter by a checksum, so that
    the result is the same on every machine and in every process.

    Args:
        seed: the run's seed, at least 0.
        path: names and numbers that lead to the part.

    Returns:
        A number in [0, 2³¹).

    >>> derive_seed(1, "network") == derive_seed(1, "network"), derive_seed(1, "a") == derive_seed(1, "b")
    (True, False)
    """
    key = tuple(zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path)
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0] >> 1)
