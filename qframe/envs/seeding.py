"""Seeds: every episode of every environment has its own, derived from the seed of the run."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from qframe.machine.generators import GlobalGenerators, seed_globally

_MIX = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""An odd number of 128 bits."""


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


class SeededSpaces:
    """The generators of the spaces of an environment and its wrappers, which only ``sample`` draws from.

    Gymnasium's ``reset`` seeds none of them. Seeding one as Gymnasium does takes longer than many a reset; setting its
    state does not.

    Args:
        env: with all its wrappers.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        found: dict[int, np.random.Generator] = {}
        layer: Any = env
        while layer is not None:
            for space in (layer.observation_space, layer.action_space):
                found |= {id(generator): generator for generator in _generators(space)}
            layer = layer.env if isinstance(layer, gym.Wrapper) else None
        self._generators = list(found.values())
        self._state: Any = np.random.PCG64(0).state

    def seed(self, seed: int) -> None:
        """Determine their next draws by the seed of an episode."""
        for number, generator in enumerate(self._generators, 1):
            self._state["state"]["state"] = (number * _MIX + (seed + 1) * _MIX * _MIX) % 2**128
            generator.bit_generator.state = self._state


def _generators(space: Any) -> Iterator[np.random.Generator]:
    """The generators of a space and of those inside it."""
    if isinstance(space, spaces.Space):
        yield space.np_random
        inner = getattr(space, "spaces", ())
        for entry in inner.values() if isinstance(inner, dict) else inner:
            yield from _generators(entry)


class OwnGlobals(gym.Wrapper[Any, Any, Any, Any]):
    """Gives an environment that draws from global generators a state of them for itself, seeded with every episode.

    Args:
        env: draws from the global generators of NumPy, Python or torch.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._state = GlobalGenerators.capture(with_gpus=False)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset; a seed determines all draws of the episode."""
        with self._own_state():
            if seed is not None:
                seed_globally(seed)
            return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step."""
        with self._own_state():
            return self.env.step(action)

    @contextmanager
    def _own_state(self) -> Iterator[None]:
        outside = GlobalGenerators.capture(with_gpus=False)
        self._state.restore()
        try:
            yield
        finally:
            self._state = GlobalGenerators.capture(with_gpus=False)
            outside.restore()
