"""MinAtar: five Atari games on a grid of 10 × 10 cells, as boolean channels."""

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray

from qframe.envs.episodes import SeededEpisodes
from qframe.envs.protocol import Envs, SeedOf
from qframe.envs.registry import missing, snake_case
from qframe.envs.seeding import derive_seed
from qframe.envs.side_by_side import SideBySide
from qframe.envs.wrappers import Resting
from qframe.errors import hint

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
_PALETTE = [
    (0, 0, 0), (230, 230, 230), (86, 180, 233), (0, 114, 178), (230, 159, 0), (213, 94, 0), (0, 158, 115),
    (204, 121, 167), (240, 228, 66), (150, 90, 40), (130, 130, 130),
]  # fmt: skip
_PIXELS = 16  # per side of a cell in a picture


class MinAtarEnvs(Envs):
    """A MinAtar game. Games run side by side in one process, as a step costs less than a message to another process.

    See "MinAtar: An Atari-Inspired Testbed for Thorough and Reproducible Reinforcement Learning Experiments", Young
    and Tian, 2019. An episode depends on its seed and actions alone: sticky actions do not carry over to the next one.

    Args:
        game: ``asterix``, ``breakout``, ``freeway``, ``seaquest`` or ``space_invaders``.
        num_envs: number of games side by side in training.
        sticky: probability that the last action is repeated.
        full_action_space: whether all six actions are available (``MinAtar/<Game>-v0``), or only those that have an
            effect in the game (``-v1``).
        ramping: whether Asterix, Seaquest and Space Invaders become harder with time.
        max_episode_steps: steps after which episodes are truncated; None: only the game ends them.

    Raises:
        ValueError: an unknown game, a missing extra, or a number out of range.
    """

    has_masks, pictures_per_second = False, 15.0
    vectorization = "sync"

    def __init__(
        self,
        game: str,
        *,
        num_envs: int,
        sticky: float = 0.1,
        full_action_space: bool = True,
        ramping: bool = True,
        max_episode_steps: int | None = None,
    ) -> None:
        if num_envs < 1 or (max_episode_steps is not None and max_episode_steps < 1):
            numbers = f"{num_envs} and {max_episode_steps}"
            raise ValueError(f"expected num_envs and max_episode_steps of at least 1, got {numbers}")
        if not 0 <= sticky <= 1:
            raise ValueError(f"expected sticky in [0, 1], got {sticky}")
        name = snake_case(str(game))
        if name not in GAMES:
            raise ValueError(f"there is no MinAtar game {game!r}; {hint(name, GAMES)}")
        self.id, self.num_envs, self._limit = name, num_envs, max_episode_steps
        self._make = partial(
            MinAtarGame, name, sticky=sticky, full_action_space=full_action_space, ramping=ramping
        )
        one = self._make()
        self.observation_space, self.action_space = one.observation_space, one.action_space
        actions = "all 6 actions" if full_action_space else "the game's own actions"
        self.protocol = {"env": f"MinAtar {name}", "sticky": sticky, "actions": actions, "ramping": ramping}
        self.protocol["max_episode_steps"] = max_episode_steps
        self.action_names = [_ACTIONS[action] for action in one.actions]

    def make(self, seed: int) -> SeededEpisodes:
        return self.make_seeded(self.num_envs, partial(derive_seed, seed), max_episode_steps=self._limit)

    def make_seeded(
        self, num_envs: int, seed_of: SeedOf, *, max_episode_steps: int | None = None, renders: bool = False
    ) -> SeededEpisodes:
        limit = self._limit or max_episode_steps
        make = partial(_limited, partial(self._make, render_mode="rgb_array" if renders else None), limit)
        makers = [lambda: Resting(make())] * num_envs
        return SeededEpisodes(SideBySide(makers), seed_of)


_ACTIONS = ("none", "left", "up", "right", "down", "fire")


class MinAtarGame(gym.Env[Any, Any]):
    """One game, with boolean observations ``[C, 10, 10]``: a channel per kind of object.

    Args:
        game: name of the game.
        sticky: probability that the last action is repeated; an episode begins with action 0 as the last.
        full_action_space: whether all six actions are available, or only those that have an effect in the game.
        ramping: whether the game becomes harder with time.
        render_mode: ``rgb_array`` or None.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012

    def __init__(
        self, game: str, *, sticky: float, full_action_space: bool, ramping: bool, render_mode: str | None = None
    ) -> None:
        try:
            module = import_module(f"minatar.environments.{game}")
        except ImportError as absent:
            raise ValueError(missing("minatar", "MinAtar games", "minatar")) from absent
        self._game, self._sticky, self.render_mode = module.Env(ramping=ramping), sticky, render_mode
        self.actions: Sequence[int] = range(6) if full_action_space else self._game.minimal_action_set()
        self._random, self._last_action = self._game.random, 0
        height, width, channels = self._game.state_shape()
        self.observation_space = spaces.Box(0, 1, (channels, height, width), np.bool_)  # pyright: ignore[reportArgumentType, reportCallIssue]
        self.action_space = spaces.Discrete(len(self.actions))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.bool_], dict[str, Any]]:
        """Start an episode, which is determined by its seed."""
        if seed is not None:
            self._game.random = self._random = np.random.RandomState(seed)  # the games draw from it
        self._last_action = 0
        self._game.reset()
        return self._observation(), {}

    def step(self, action: int) -> tuple[NDArray[np.bool_], float, bool, bool, dict[str, Any]]:
        """Play one step; the reward is the game's own."""
        if self._random.rand() >= self._sticky:
            self._last_action = self.actions[action]
        reward, is_over = self._game.act(self._last_action)
        return self._observation(), float(reward), bool(is_over), False, {}

    def render(self) -> NDArray[np.uint8]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A picture: every cell has the colour of its highest channel."""
        state = self._game.state()  # [H, W, C]
        highest = (state * np.arange(1, state.shape[-1] + 1)).max(-1)
        return np.array(_PALETTE, np.uint8)[highest].repeat(_PIXELS, 0).repeat(_PIXELS, 1)

    def _observation(self) -> NDArray[np.bool_]:
        return self._game.state().transpose(2, 0, 1)


def _limited(make: Any, max_episode_steps: int | None) -> gym.Env[Any, Any]:
    return make() if max_episode_steps is None else TimeLimit(make(), max_episode_steps)
