"""The back ends of Atari games: vector environments of one preprocessing, reset where they are told."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

from qframe.envs.names import missing, nearest, snake_case

FOR_TWO = ("combat", "joust", "maze_craze", "warlords")
"""Games whose ROMs the emulator ends the process over, unless they are played by two."""


class _SeedsWhereReset(gym.vector.VectorWrapper):
    """The emulator's vector environment with a list of seeds, None where there is no reset."""

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        given = [number for number in seed if number is not None]
        return self.env.reset(seed=np.array(given), options=options)  # pyright: ignore[reportArgumentType]

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        return self.env.step(np.asarray(actions, dtype=np.int64))


def ale_vector(game: str, num_envs: int, **options: Any) -> VectorEnv[Any, Any, Any]:
    """The emulator's own vector environment, on threads."""
    from ale_py.vector_env import AtariVectorEnv

    envs = AtariVectorEnv(
        game,
        num_envs,
        **shared_settings(options),
        max_num_frames_per_episode=options["max_episode_frames"],
        frameskip=options["frame_skip"],
        maxpool=options["max_pool"],
        reward_clipping=False,
        autoreset_mode=AutoresetMode.NEXT_STEP,  # a reset by mask comes first, so it never resets by itself
    )
    return _SeedsWhereReset(envs)


def shared_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the vector environments of the emulator and of EnvPool call by the same names."""
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


def gymnasium_wrappers(game: str, num_envs: int, **options: Any) -> VectorEnv[Any, Any, Any]:
    """Single emulators in Gymnasium's wrappers, in this process."""
    return SyncVectorEnv([partial(_one_game, game, **options)] * num_envs, autoreset_mode=AutoresetMode.DISABLED)


def _one_game(game: str, **options: Any) -> gym.Env[Any, Any]:
    from ale_py.env import AtariEnv

    env = AtariEnv(
        game,
        frameskip=1,
        render_mode=options.get("render_mode"),
        repeat_action_probability=options["sticky"],
        full_action_space=options["full_action_space"],
        max_num_frames_per_episode=options["max_episode_frames"],
    )
    try:
        env = AtariPreprocessing(
            env, noop_max=options["no_ops"], frame_skip=options["frame_skip"], screen_size=options["size"]
        )
    except gym.error.DependencyNotInstalled as missing:
        raise ValueError(_missing("opencv-python-headless")) from missing
    return FrameStackObservation(env, options["stack"], padding_type="zero")


def known_game(game: str) -> str:
    """The emulator's name of a game.

    Raises:
        ValueError: there is no such game, or no emulator.
    """
    try:
        from ale_py.roms import get_all_rom_ids
    except ImportError as absent:
        raise ValueError(_missing("ale-py")) from absent
    name = snake_case(str(game))
    games = [game for game in get_all_rom_ids() if game not in FOR_TWO]
    if name in games:
        return name
    if name in FOR_TWO:
        raise ValueError(f"expected a game that one can play, got {game!r}, which the emulator has for two only")
    raise ValueError(
        f"expected the name of an Atari game, such as pong, got {game!r}{nearest(name, games, listed=True)}"
    )


def _missing(package: str) -> str:
    return missing(package, "Atari games", "atari")
