"""Atari 2600 games, preprocessed alike by back ends that give the same frames."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
from numpy.typing import NDArray

from qframe.envs.checks import was_reset
from qframe.envs.envpool import EnvPoolEpisodes, envpool_atari, shared_settings
from qframe.envs.episodes import SeededEpisodes
from qframe.envs.infos import checked_paths, number_paths
from qframe.envs.protocol import Envs, Episodes, SeedOf, Start, Step
from qframe.envs.registry import missing, snake_case
from qframe.envs.seeding import derive_seed
from qframe.envs.wrappers import Resting
from qframe.errors import hint

Backend = Literal["ale_vector", "gymnasium", "envpool"]
MAX_NO_OPS = 30
LARGEST_SIZE = 1024
FOR_TWO = ("combat", "joust", "maze_craze", "warlords")
"""Two-player games, whose ROMs crash the emulator's process when there is one player."""


class AtariEnvs(Envs):
    """An Atari game with the usual preprocessing: an observation is a stack of four grey frames of 84 × 84 pixels.

    See "Revisiting the Arcade Learning Environment", Machado et al., 2018, and "Human-level control through deep
    reinforcement learning", Mnih et al., 2015, Methods. Rewards are the game's own: clip them with ``reward``.

    Args:
        game: such as ``pong`` or ``space_invaders``.
        num_envs: number of games side by side in training.
        backend: ``ale_vector`` (the emulator's own vector environment) or ``gymnasium`` (its wrappers, one process).
            Both give the same frames for the same actions, but not for the same seed. ``envpool`` is for training
            only, as its episodes have no seeds of their own; ``EnvPoolEpisodes`` lists further differences.
        num_threads: number of threads of ``ale_vector`` and ``envpool``.
        frame_skip: emulated frames per step.
        max_pool: whether a frame is the pixelwise maximum of the last two emulated frames of a step.
        stack: frames in an observation.
        size: height and width of a frame, in pixels.
        no_ops: largest number of emulated frames without action at the start of an episode.
        sticky: probability that the emulator repeats the last action (``repeat_action_probability``).
        terminal_on_life_loss: whether learning treats a lost life as a terminal state, although the game continues;
            never in evaluation.
        full_action_space: whether all 18 actions are available, or only those that have an effect in the game.
        max_episode_frames: emulated frames after which an episode is truncated.
        log_info: keys of the infos of steps whose numbers are logged, such as ``lives``: an episode counts with the
            last number that it gave.

    Raises:
        ValueError: an unknown game or back end, a missing extra, or a number out of range.
    """

    has_masks = False

    def __init__(
        self,
        game: str,
        *,
        num_envs: int,
        backend: Backend = "ale_vector",
        num_threads: int = 2,
        frame_skip: int = 4,
        max_pool: bool = True,
        stack: int = 4,
        size: int = 84,
        no_ops: int = MAX_NO_OPS,
        sticky: float = 0.25,
        terminal_on_life_loss: bool = False,
        full_action_space: bool = False,
        max_episode_frames: int = 108_000,
        log_info: Sequence[str] = (),
    ) -> None:
        numbers = {"num_envs": num_envs, "num_threads": num_threads, "frame_skip": frame_skip, "stack": stack}
        for name, number in (numbers | {"size": size, "max_episode_frames": max_episode_frames}).items():
            if number < 1:
                raise ValueError(f"expected {name} of at least 1, got {number}")
        if size > LARGEST_SIZE:
            raise ValueError(f"expected size of at most {LARGEST_SIZE} pixels, got {size}; the screen has 210 × 160")
        if not 0 <= no_ops < max_episode_frames or not 0 <= sticky <= 1:
            raise ValueError(
                f"expected no_ops of at least 0 and below max_episode_frames={max_episode_frames}, and sticky in "
                f"[0, 1], got {no_ops} and {sticky}"
            )
        if backend not in _MAKERS:
            raise ValueError(f"expected backend to be one of {', '.join(_MAKERS)}, got {backend!r}")
        if backend != "ale_vector" and not max_pool:
            raise ValueError(f"backend={backend} always takes the maximum of two frames; set max_pool=true")
        if backend == "envpool" and no_ops < 1:
            raise ValueError(f"expected no_ops of at least 1 with backend=envpool, got {no_ops}")
        self.id, self.num_envs, self.vectorization = known_game(game), num_envs, backend
        self.pictures_per_second, self.log_info = 60 / frame_skip, checked_paths(log_info)
        self._terminal_on_life_loss = terminal_on_life_loss
        self._options: dict[str, Any] = {
            "num_threads": num_threads, "frame_skip": frame_skip, "max_pool": max_pool, "stack": stack, "size": size,
            "no_ops": no_ops, "sticky": sticky, "full_action_space": full_action_space,
            "max_episode_frames": max_episode_frames,
        }  # fmt: skip
        self._make = partial(_MAKERS[backend], self.id, **self._options)
        self.protocol: dict[str, Any] = {
            "env": f"Atari {self.id}", "sticky": sticky, "no_ops": no_ops, "frame_skip": frame_skip,
            "actions": "all 18 actions" if full_action_space else "the game's own actions",
            "life_loss_ends_episode": False, "max_episode_steps": math.ceil(max_episode_frames / frame_skip),
        }  # fmt: skip
        one = self._make(1)
        self.observation_space, self.action_space = one.single_observation_space, one.single_action_space
        one.close()
        if backend == "envpool":
            self._make_pool = envpool_atari(self.id, **self._options)

    def make(self, seed: int) -> Episodes:
        reports_lives = self._terminal_on_life_loss
        if self.vectorization == "envpool":
            seed_of = partial(derive_seed, seed, "envpool")
            return EnvPoolEpisodes(
                self._make_pool, self.num_envs, seed_of, reports_lives=reports_lives, log_info=self.log_info
            )
        return self._episodes(self._make(self.num_envs), partial(derive_seed, seed), reports_lives=reports_lives)

    def make_seeded(
        self, num_envs: int, seed_of: SeedOf, *, max_episode_steps: int | None = None, renders: bool = False
    ) -> "AtariEpisodes":
        """See ``Envs``; losing a life does not end an episode, every game has a limit, and pictures are in colour."""
        if renders or self.vectorization == "gymnasium":
            mode = "rgb_array" if renders else None
            envs = gymnasium_wrappers(self.id, num_envs, **self._options, wrapper=Resting, render_mode=mode)
        else:
            one = self._options | {"num_threads": 1}
            envs = _SingleGames([ale_vector(self.id, 1, **one) for _ in range(num_envs)])
        return self._episodes(envs, seed_of, reports_lives=False)

    def _episodes(self, envs: Any, seed_of: SeedOf, *, reports_lives: bool) -> "AtariEpisodes":
        return AtariEpisodes(envs, seed_of, reports_lives=reports_lives, log_info=self.log_info)

    def info_keys(self) -> list[str]:
        envs = self._make(1)
        was_reset(envs, seed=[0], options={"reset_mask": np.array([True])})
        info = envs.step(np.zeros(1, np.int64))[4]
        envs.close()
        return number_paths(info, is_vector=True)

    @cached_property
    def action_names(self) -> list[str]:
        """The emulator's names of the actions."""
        one = _one_game(self.id, **self._options)
        names = [name.lower() for name in one.unwrapped.get_action_meanings()]  # pyright: ignore[reportAttributeAccessIssue]
        one.close()
        return names


class AtariEpisodes(SeededEpisodes):
    """Atari games as episodes with a seed each; steps can report lost lives.

    Args:
        envs: a vector environment that resets on request and has ``lives`` among its infos.
        seed_of: gives the seed of each episode.
        reports_lives: whether steps report where a life was lost.
        log_info: the keys of the numbers that steps report from the infos.
    """

    def __init__(
        self, envs: VectorEnv[Any, Any, Any], seed_of: SeedOf, *, reports_lives: bool, log_info: tuple[str, ...] = ()
    ) -> None:
        super().__init__(envs, seed_of, log_info=log_info)
        self.stays_in_process = True  # the emulator has threads, which a forked process would lack
        self._reports_lives = reports_lives
        self._lives = np.zeros(envs.num_envs, dtype=np.int64)

    def step(self, action: NDArray[Any]) -> Step:
        before = self._lives
        step = super().step(action)
        done = step.terminated | step.truncated
        lives = self.step_info["lives"]
        is_lost = (lives < before) & ~done
        self._lives = np.where(done, self._lives, lives) if done.any() else lives.copy()
        return step._replace(life_lost=is_lost) if self._reports_lives else step

    def _restart(self, done: NDArray[np.bool_], mask: NDArray[np.bool_] | None) -> Start:
        start = super()._restart(done, mask)
        self._lives = np.where(done, self.reset_info["lives"], self._lives)
        return start


class _SeedsWhereReset(gym.vector.VectorWrapper):
    """The emulator's vector environment, reset with a list of seeds, None for an environment that does not reset."""

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        given = [number for number in seed if number is not None]
        return self.env.reset(seed=np.array(given), options=options)  # pyright: ignore[reportArgumentType]

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        return self.env.step(np.asarray(actions, dtype=np.int64))


class _SingleGames(VectorEnv[Any, Any, Any]):
    """Vector environments of one game each as one, in which a game that is reset without a seed rests from then on.

    The games of a single vector environment all step, so those without a further episode would play on.
    """

    def __init__(self, games: Sequence[Any]) -> None:
        self._games, self.num_envs = games, len(games)
        self.single_observation_space = games[0].single_observation_space
        self.single_action_space = games[0].single_action_space
        self._rests = np.zeros(len(games), np.bool_)
        self._last: list[Any] = [None] * len(games)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        assert options is not None
        for index in np.flatnonzero(options["reset_mask"]).tolist():
            if seed[index] is None:
                self._rests[index], (observation, *_, info) = True, self._last[index]
            else:
                observation, info = self._games[index].reset(seed=[seed[index]])
            self._last[index] = observation, np.zeros(1), np.zeros(1, np.bool_), np.zeros(1, np.bool_), info
        observation, *_, info = self._joined()
        return observation, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        playing = np.flatnonzero(~self._rests).tolist()
        for index in playing:  # each game has a thread of its own
            self._games[index].unwrapped.send(np.asarray(actions[index : index + 1], np.int64))
        for index in playing:
            self._last[index] = self._games[index].unwrapped.recv()
        return self._joined()

    def _joined(self) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        *arrays, infos = zip(*self._last, strict=True)
        observation, reward, terminated, truncated = (np.concatenate(parts) for parts in arrays)
        info = {key: np.concatenate([info[key] for info in infos]) for key in infos[0]}
        return observation, reward, terminated, truncated, info

    def close_extras(self, **choices: Any) -> None:
        for game in self._games:
            game.close()


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


def gymnasium_wrappers(game: str, num_envs: int, **options: Any) -> VectorEnv[Any, Any, Any]:
    """Single emulators in Gymnasium's wrappers, in this process."""
    wrapper = options.pop("wrapper", None) or (lambda env: env)
    make = partial(_one_game, game, **options)
    return SyncVectorEnv([lambda: wrapper(make())] * num_envs, autoreset_mode=AutoresetMode.DISABLED)


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
    """A game's name in the emulator.

    Raises:
        ValueError: an unknown game, or no emulator.
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
        raise ValueError(f"{game!r} needs two players in the emulator; choose a single-player game")
    raise ValueError(f"there is no Atari game {game!r}; {hint(name, games)}")


def _missing(package: str) -> str:
    return missing(package, "Atari games", "atari")


_MAKERS: dict[str, Callable[..., VectorEnv[Any, Any, Any]]] = {
    "ale_vector": ale_vector,
    "gymnasium": gymnasium_wrappers,
    "envpool": ale_vector,  # evaluation needs episodes with seeds; training takes the pool
}
