"""Atari games by EnvPool: the fastest back end on many cores, with one seed for all episodes."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from qframe.envs.episodes import SelfResettingEpisodes
from qframe.envs.protocol import Start, Step
from qframe.envs.registry import missing
from qframe.errors import hint

MakePool = Callable[[int, int], VectorEnv[Any, Any, Any]]
"""(number of environments, seed) → environments."""


def envpool_atari(game: str, **options: Any) -> MakePool:
    """A function that makes EnvPool's games with the options of ``AtariEnvs``.

    See "EnvPool: A Highly Parallel Reinforcement Learning Environment Execution Engine", Weng et al., 2022.

    Raises:
        ValueError: the package is missing, or it does not have the game.
    """
    try:
        import envpool
    except ImportError as absent:
        raise ValueError(missing("envpool", "backend=envpool", "envpool")) from absent
    tasks = {task.removesuffix("-v5").lower(): task for task in envpool.list_all_envs() if task.endswith("-v5")}
    name = game.replace("_", "")
    if name not in tasks:
        raise ValueError(f"envpool has no game {game!r}; {hint(name, tasks)}; use backend=ale_vector")
    make: Any = partial(
        envpool.make_gymnasium,
        tasks[name],
        **shared_settings(options),
        max_episode_steps=-(-options["max_episode_frames"] // options["frame_skip"]),
        frame_skip=options["frame_skip"],
        reward_clip=False,
        episodic_life=False,
    )
    return lambda num_envs, seed: make(num_envs=num_envs, seed=seed)


def shared_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that have the same names in the vector environments of the emulator and of EnvPool."""
    return {
        "num_threads": options["num_threads"],
        "repeat_action_probability": options["sticky"],
        "full_action_space": options["full_action_space"],
        "img_height": options["size"],
        "img_width": options["size"],
        "stack_num": options["stack"],
        "noop_max": options["no_ops"],
        "use_fire_reset": False,
    }


class EnvPoolEpisodes(SelfResettingEpisodes):
    """EnvPool's Atari games as streams of transitions; steps can report lost lives.

    For the same actions they give the frames of the other back ends, with four exceptions. The first stack of an
    episode repeats its first frame, where the others pad with zeros. An episode starts with at least one step without
    action. The last frame of a game may be another one of the four that its last step emulates. Sticky actions come
    from another generator.

    Args:
        make: makes the environments with a seed.
        num_envs: number of environments.
        seed_of: number of episodes so far → seed of the reset that starts all environments.
        reports_lives: whether steps report where a life was lost.
        log_info: the keys of the numbers that steps report from the infos.
    """

    stays_in_process = True
    """The pool has threads, which a forked process would lack."""

    def __init__(
        self,
        make: MakePool,
        num_envs: int,
        seed_of: Callable[[int], int],
        *,
        reports_lives: bool,
        log_info: tuple[str, ...] = (),
    ) -> None:
        super().__init__(_SeededAtReset(make, num_envs), seed_of, log_info=log_info)
        self._reports_lives = reports_lives
        self._lives = np.zeros(num_envs, dtype=np.int64)

    def reset(self) -> Start:
        self._lives[:] = 0
        return super().reset()

    def step(self, action: NDArray[Any]) -> Step:
        step = super().step(action)
        lives = self.step_info["lives"].astype(np.int64)
        is_lost = (lives < self._lives) & ~(step.terminated | step.truncated)
        self._lives = lives
        return step._replace(life_lost=is_lost) if self._reports_lives else step


class _SeededAtReset(VectorEnv[Any, Any, Any]):
    """Makes the pool again at every reset, as its seed is fixed when it is made."""

    def __init__(self, make: MakePool, num_envs: int) -> None:
        self._make, self.num_envs = make, num_envs
        self._envs = make(num_envs, 0)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = self._envs.single_observation_space
        self.single_action_space = self._envs.single_action_space

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._envs.close()
        self._envs = self._make(self.num_envs, seed)
        return self._envs.reset()

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        return self._envs.step(np.asarray(actions, dtype=np.int32))

    def close(self, **options: Any) -> None:
        self._envs.close()
