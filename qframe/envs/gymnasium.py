"""Gymnasium environments by id, in one process, in several, or in their own vector implementation."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import EnumMeta
from functools import partial
from numbers import Real
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np

from qframe.actions.gymnasium_spaces import choices
from qframe.envs.checks import (
    FAULT,
    REMEDY,
    Checked,
    EndsWhereNotFinite,
    fault_of,
    fault_of_spaces,
    first_difference,
    raised,
)
from qframe.envs.episodes import SeededEpisodes, SelfResettingEpisodes
from qframe.envs.infos import checked_paths, number_paths
from qframe.envs.masks import MASK, ActionMasks, NoLegal, hidden_mask, mask_method
from qframe.envs.old_gym import CONVERTED, FromGym
from qframe.envs.processes import UNLIKE, SupervisedEnvs, in_worker
from qframe.envs.protocol import Envs, Episodes, SeedOf
from qframe.envs.registry import as_parameters, find, made
from qframe.envs.seeding import OwnGlobals, derive_seed
from qframe.envs.side_by_side import SideBySide
from qframe.envs.wrappers import JointActions, Resting, Wrapper, described, faulty_wrapper, rescaled, wrapped
from qframe.machine.generators import GlobalGenerators

Vectorization = Literal["sync", "async", "native"]
_MODES = ("sync", "async", "native")
_USUAL_RATE = 30.0
TRIAL_STEPS = 20
"""The length of an episode that is played twice, to find out whether its seed determines it."""


class GymnasiumEnvs(Envs):
    """A Gymnasium environment, of which training and evaluation make their own copies.

    Args:
        id: a registered id, such as ``CartPole-v1``, or ``module:Id-v0`` of a module that registers it; or the path of
            a class, or of a function that makes the environment, ``module.Class``.
        num_envs: number of environments side by side in training.
        vectorization: ``sync`` (one process), ``async`` (a process each) or ``native`` (the environment's own vector
            implementation, which resets itself and has one seed for all).
        kwargs: arguments of the environment's constructor.
        wrappers: applied to the environment, the last outermost.
        max_episode_steps: steps after which episodes are truncated; None keeps the registered limit.
        rescale_observation: whether Box observations with finite bounds are scaled to [−1, 1].
        register: a function ``package.function`` that registers the id, if importing its module does not.
        mask_key: the key of the action mask in a Dict observation, as in PettingZoo. Masks in ``info["action_mask"]``
            or of a method ``action_masks()`` are found without it.
        no_legal: at a mask without a legal action, the run stops (``stop``), the episode is truncated (``truncate``),
            or all actions count as legal (``all``).
        timeout: seconds that a step may take. A process (``async``) that takes longer, or dies, is restarted, and its
            episode is truncated. None: no limit, and no restart.
        max_restarts: number of restarts in a run, summed over environments.
        nonfinite: at an observation or a reward that is not finite, the run stops (``stop``), or the episode is
            truncated before it and counted (``skip``).
        log_info: keys of the infos of steps whose numbers are logged, ``a.b`` for the entry b of the entry a: an
            episode counts with the last number that it gave.

    Raises:
        ValueError: an unknown id, a missing extra, arguments that the environment refuses, a wrapper that breaks it,
            an unknown vectorization, or an action mask that cannot be read.
    """

    def __init__(
        self,
        id: str,
        *,
        num_envs: int,
        vectorization: Vectorization,
        kwargs: Mapping[str, Any] | None = None,
        wrappers: Sequence[Wrapper] = (),
        max_episode_steps: int | None = None,
        rescale_observation: bool = False,
        register: str | None = None,
        mask_key: str | None = None,
        no_legal: NoLegal = "stop",
        timeout: float | None = None,
        max_restarts: int = 10,
        nonfinite: Literal["stop", "skip"] = "stop",
        log_info: Sequence[str] = (),
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"expected num_envs of at least 1, got {num_envs}")
        if vectorization not in _MODES:
            raise ValueError(f"expected vectorization to be one of {', '.join(_MODES)}, got {vectorization!r}")
        if timeout is not None and (timeout <= 0 or vectorization != "async"):
            raise ValueError(f"expected timeout above 0 with vectorization=async, got {timeout} with {vectorization}")
        if max_restarts < 0:
            raise ValueError(f"expected max_restarts of at least 0, got {max_restarts}")
        if nonfinite not in ("stop", "skip") or (nonfinite == "skip" and vectorization == "native"):
            raise ValueError(f"expected nonfinite=stop, or skip unless vectorization=native, got {nonfinite!r}")
        self._timeout, self._max_restarts, self._skips = timeout, max_restarts, nonfinite == "skip"
        self.id, self.num_envs, self.vectorization = id, num_envs, vectorization
        if no_legal not in get_args(NoLegal) or (no_legal != "stop" and vectorization == "native"):
            raise ValueError(f"expected no_legal to be stop, truncate or all (native: stop), got {no_legal!r}")
        self._no_legal: NoLegal = no_legal
        self.log_info = checked_paths(log_info)
        self._spec, self._wrappers = find(id, register), tuple(wrappers)
        self._kwargs = as_parameters(self._spec.entry_point, kwargs or {})
        self._limit, self._rescales, self._mask_key = max_episode_steps, rescale_observation, mask_key
        self._look_at_one()
        if vectorization == "native":
            self._check_native()

    def make(self, seed: int) -> Episodes:
        if self.vectorization == "native":
            return SelfResettingEpisodes(
                self._native(), partial(derive_seed, seed, "native"), has_masks=self.has_masks, log_info=self.log_info
            )
        makers = [self._make_one] * self.num_envs
        envs = self._in_processes(makers) if self.vectorization == "async" else self._side_by_side(makers)
        return SeededEpisodes(
            envs, partial(derive_seed, seed), has_masks=self.has_masks, is_deterministic=self._is_deterministic,
            log_info=self.log_info,
        )  # fmt: skip

    def make_seeded(
        self, num_envs: int, seed_of: SeedOf, *, max_episode_steps: int | None = None, renders: bool = False
    ) -> Episodes:
        """See ``Envs``; with ``vectorization=async`` they run in processes, unless one is alone or rendered."""
        limit = max_episode_steps if self.protocol["max_episode_steps"] is None else None
        makers = [lambda: Resting(self._make_one(limit, renders=renders))] * num_envs
        is_alone = renders or self.vectorization != "async" or (num_envs == 1 and self._timeout is None)
        envs = self._side_by_side(makers) if is_alone else self._in_processes(makers)
        return SeededEpisodes(envs, seed_of, has_masks=self.has_masks, log_info=self.log_info)

    def info_keys(self) -> list[str]:
        env = self._prepared(wrapped(self._without_mask(self._made()), self._wrappers))
        with suppress(Exception):  # it is asked for a message alone
            env.reset(seed=0)
            env.action_space.seed(0)
            return number_paths(env.step(env.action_space.sample())[4])
        return []

    def _in_processes(self, makers: Sequence[Callable[[], gym.Env[Any, Any]]]) -> SupervisedEnvs:
        return SupervisedEnvs(list(map(in_worker, makers)), timeout=self._timeout, max_restarts=self._max_restarts)

    def _side_by_side(self, makers: Sequence[Callable[[], gym.Env[Any, Any]]]) -> SideBySide:
        try:
            return SideBySide(makers)
        except RuntimeError as unlike:  # an environment's own errors arrive as ValueError
            raise ValueError(f"{self.id}: {UNLIKE}; {REMEDY}") from unlike

    def _look_at_one(self) -> None:
        """Make one environment to find its spaces, whether it has action masks, and its faults."""
        one = self._made()
        try:
            if (fault := fault_of_spaces(one)) is not None:
                raise ValueError(f"{self.id}: {fault}; {REMEDY}")
            space = one.observation_space
            self._mask_is_inside = isinstance(space, gym.spaces.Dict) and self._mask_key in space.spaces
            if (fault := faulty_wrapper(self._without_mask(one), self._wrappers)) is not None:
                raise ValueError(fault)
            env = wrapped(self._without_mask(one), self._wrappers)
            if MASK in _reset(self.id, env):
                self.mask_source = f"info[{MASK!r}]"
            elif self._mask_key is not None:
                self.mask_source = f"the observation's entry {self._mask_key!r}"
            elif mask_method(env) is not None:
                self.mask_source = "the method action_masks()"
            gives = self.mask_source is not None
            self.has_masks = gives and bool(choices(env.action_space)[0])  # other action spaces are refused later
            env = self._prepared(env)
            self.observation_space, self.action_space = env.observation_space, env.action_space
            if (fault := (None if self.has_masks else hidden_mask(env)) or self._fault_of(env)) is not None:
                raise ValueError(f"{self.id}: {fault}")
            self._check_seeds(env)
        finally:
            with suppress(Exception):  # it is not used again
                one.close()
        metadata = one.metadata or {}
        can_render = "rgb_array" in (metadata.get("render_modes") or ())
        self.pictures_per_second = rate_of(metadata.get("render_fps")) if can_render else None
        limit = None if env.spec is None else env.spec.max_episode_steps
        own = getattr(one.unwrapped, "max_steps", None)  # MiniGrid's name for it, which others have taken over
        self.own_step_limit = own if isinstance(own, int) and own > 0 else None
        self.action_names = _action_names(one)
        self._is_deterministic = self.note is None and (env.spec is None or not env.spec.nondeterministic)
        if isinstance(one.unwrapped, FromGym):
            self.note = "; ".join([CONVERTED, *filter(None, [self.note])])
        self.protocol: dict[str, Any] = {"env": self.id, "max_episode_steps": limit}
        if self._kwargs:
            self.protocol["kwargs"] = {
                key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in self._kwargs.items()
            }
        if self._wrappers:
            self.protocol["wrappers"] = [described(wrapper) for wrapper in self._wrappers]

    def _check_seeds(self, env: gym.Env[Any, Any]) -> None:
        """Find out whether a seed and actions determine an episode, and whether it draws from global generators."""
        before = GlobalGenerators.capture(with_gpus=False)
        steps = 1 if self.vectorization == "async" else TRIAL_STEPS  # such an environment may end its process
        step = first_difference(env, steps)
        self._draws_globally = bool(before.drawn_since())
        if self._draws_globally:
            step = first_difference(OwnGlobals(env), steps)
            before.restore()
        if step is not None:
            self.note = (
                f"two episodes of {self.id} with the same seed and actions differ at step {step}: it remembers earlier "
                "episodes, or draws from a generator that reset(seed=…) does not seed; equal seeds give different runs"
            )

    def _fault_of(self, env: gym.Env[Any, Any]) -> str | None:
        """How the environment breaks the interface, or the unwrapped one if our own wrappers fail because of it."""
        fault = fault_of(env)
        return fault if fault is None or self.has_masks or self._wrappers else fault_of(env.unwrapped) or fault

    def _check_native(self) -> None:
        if self._spec.vector_entry_point is None:
            raise ValueError(f"{self.id} has no vector implementation for vectorization=native; use sync or async")
        unlike = {
            "mask_key": self._mask_key, "wrappers": self.protocol.get("wrappers"), "rescale_observation": self._rescales
        }  # fmt: skip
        for name, given in unlike.items():
            if given:
                raise ValueError(f"vectorization=native does not support {name}={given!r}; use vectorization=sync")
        envs = self._native()
        for name in ("observation_space", "action_space"):
            own, single = getattr(envs, f"single_{name}", None), getattr(self, name)
            if own != single:
                raise ValueError(
                    f"{self.id}: the single_{name} of its vector implementation is {own}, but the {name} of the single "
                    f"environment, in which evaluation plays, is {single}; use vectorization=sync"
                )
        SelfResettingEpisodes(envs, lambda number: 0).close()

    def _native(self) -> gym.vector.VectorEnv[Any, Any, Any]:
        """The environment's own vector implementation."""
        limit: dict[str, Any] = {} if self._limit is None else {"max_episode_steps": self._limit}
        mode = "vector_entry_point"
        try:
            return gym.make_vec(self._spec, self.num_envs, vectorization_mode=mode, **self._kwargs, **limit)
        except (Exception, SystemExit) as refused:
            raise ValueError(f"making the vector implementation of {self.id} failed: {raised(refused)}") from refused

    def _make_one(self, max_episode_steps: int | None = None, *, renders: bool = False) -> gym.Env[Any, Any]:
        env = self._prepared(wrapped(self._without_mask(self._made(renders=renders)), self._wrappers))
        env = OwnGlobals(env) if self._draws_globally else env
        checked = Checked(env, self.log_info)
        env = EndsWhereNotFinite(checked) if self._skips else checked
        return env if max_episode_steps is None else gym.wrappers.TimeLimit(env, max_episode_steps)

    def _made(self, *, renders: bool = False) -> gym.Env[Any, Any]:
        shown = {"render_mode": "rgb_array"} if renders else {}
        return made(self.id, self._spec, self._kwargs | shown, max_episode_steps=self._limit)

    def _without_mask(self, env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
        """The environment without an action mask in its observations, which wrappers must not see."""
        return ActionMasks(env, self._mask_key, no_legal="all") if self._wrappers and self._mask_is_inside else env

    def _prepared(self, env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
        if self.has_masks:
            key = None if self._wrappers and self._mask_is_inside else self._mask_key
            env = ActionMasks(env, key, no_legal=self._no_legal)
        if isinstance(env.action_space, gym.spaces.Tuple | gym.spaces.Dict) and choices(env.action_space)[0]:
            env = JointActions(env)
        return rescaled(self.id, env) if self._rescales else env


def _action_names(env: gym.Env[Any, Any]) -> list[str] | None:
    """The names of discrete actions, for plots: Atari's, MiniGrid's enumeration, or those of Gymnasium's own tasks."""
    meanings: Any = getattr(env.unwrapped, "get_action_meanings", None)
    actions = getattr(env.unwrapped, "actions", None)
    if meanings is not None:
        return [str(name).lower() for name in meanings()]
    if isinstance(actions, EnumMeta):
        return list(actions.__members__)
    return _KNOWN_ACTIONS.get("" if env.spec is None else env.spec.name, "").split() or None


_KNOWN_ACTIONS = {
    "CartPole": "left right", "MountainCar": "left none right", "Acrobot": "-1 0 +1", "Blackjack": "stick hit",
    "LunarLander": "none left main right", "FrozenLake": "left down right up", "CliffWalking": "up right down left",
    "Taxi": "south north east west pickup dropoff",
}  # fmt: skip


def _reset(id: str, env: gym.Env[Any, Any]) -> dict[str, Any]:
    """The infos of a reset.

    Raises:
        ValueError: the reset failed, or its result breaks the interface.
    """
    _, info = Checked(env).reset(seed=0)
    if FAULT in info:
        raise ValueError(f"{id}: {info[FAULT]}")
    return info


def rate_of(render_fps: Any) -> float:
    """Pictures per second, from an environment's ``render_fps``.

    >>> rate_of(50), rate_of(0), rate_of(None)
    (50.0, 30.0, 30.0)
    """
    rate = float(render_fps) if isinstance(render_fps, Real) else 0.0
    return rate if 1 <= rate <= 1000 else _USUAL_RATE
