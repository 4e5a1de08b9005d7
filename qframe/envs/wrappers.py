"""Wrappers of environments: our own, and how wrappers are applied and checked."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

from qframe.actions.gymnasium_spaces import action_of, choices
from qframe.envs.checks import fault_of, raised

Wrapper = Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]
"""Environment → environment: a wrapper's class, or a partial with its further arguments."""

_KEEPS_STATISTICS = {
    "NormalizeObservation": "network.normalize_observation=true",
    "NormalizeReward": "reward.normalize=true",
}
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""The weights of red, green and blue in grey; ITU-R BT.601."""
_GRID_SIZES = (11, 6, 4)  # kinds of objects, colours, and states or directions, in MiniGrid's order


class Resting(gym.Wrapper[Any, Any, Any, Any]):
    """Rests once it is reset without a seed: every step then returns the first observation of all, at no cost.

    An evaluation has a seed for each of its episodes. While the last ones are played, the other environments rest.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._first: tuple[Any, dict[str, Any]] | None = None
        self._rests = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode, or rest."""
        if seed is None and self._first is not None:
            self._rests = True
            return self._first
        first = self.env.reset(seed=seed, options=options)
        self._first = self._first or deepcopy(first)
        return first

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step, unless it rests."""
        if self._rests and self._first is not None:
            observation, info = self._first
            return observation, 0.0, False, False, info
        return self.env.step(action)


class ChannelsFirst(gym.ObservationWrapper[Any, Any, Any]):
    """Images ``[H, W, C]`` as ``[C, H, W]``, as convolutions expect them.

    Args:
        env: with Box observations of three dimensions.

    Raises:
        ValueError: the observations are of another kind.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 3:
            raise ValueError(f"expected images of shape (H, W, C), got {space}")
        low, high = (np.moveaxis(bound, -1, 0) for bound in (space.low, space.high))
        self.observation_space = spaces.Box(low, high, dtype=space.dtype.type)

    def observation(self, observation: NDArray[Any]) -> NDArray[Any]:
        """The image with its channels first."""
        return np.moveaxis(observation, -1, 0)


class SymbolicGrid(gym.ObservationWrapper[Any, Any, Any]):
    """MiniGrid's image alone, without mission and direction, as ``[21, H, W]`` booleans: one-hot, channels first.

    A cell of the image holds an object (of 11), its colour (of 6) and its state or direction (of 4), numbers without
    an order. See "Minigrid & Miniworld", Chevalier-Boisvert et al., 2023, section 2.

    Args:
        env: whose observation is an image of such cells, or a Dict with one as ``image``.

    Raises:
        ValueError: there is no such image.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        space = env.observation_space
        image = space.spaces.get("image") if isinstance(space, spaces.Dict) else space
        if not isinstance(image, spaces.Box) or len(image.shape) != 3 or image.shape[2] != 3:
            raise ValueError(f"expected a grid (H, W, 3) of objects, colours and states, got {space}")
        height, width, _ = image.shape
        shape = (sum(_GRID_SIZES), height, width)
        self.observation_space = spaces.Box(0, 1, shape, np.bool_)  # pyright: ignore
        self._codes = [np.eye(size, dtype=np.bool_) for size in _GRID_SIZES]

    def observation(self, observation: Any) -> NDArray[np.bool_]:
        """The image, one-hot."""
        image = observation["image"] if isinstance(observation, Mapping) else observation
        parts = [codes[image[..., number]] for number, codes in enumerate(self._codes)]
        return np.moveaxis(np.concatenate(parts, -1), -1, 0)


class Entry(gym.ObservationWrapper[Any, Any, Any]):
    """One entry of a Dict or Tuple observation as the whole observation.

    Args:
        env: with Dict or Tuple observations.
        key: of the entry; a dotted path leads to a nested one, and a number to an entry of a Tuple.

    Raises:
        ValueError: there is no such entry.
    """

    def __init__(self, env: gym.Env[Any, Any], key: str | int) -> None:
        super().__init__(env)
        self._path, space = str(key).split("."), env.observation_space
        for name in self._path:
            inner: Any = getattr(space, "spaces", {})
            entries = inner if isinstance(inner, Mapping) else {str(n): entry for n, entry in enumerate(inner)}
            if name not in entries:
                found = f"its entries are {', '.join(entries)}" if entries else f"it is {space}"
                raise ValueError(f"the observation has no entry {key!r}; {found}")
            space = entries[name]
        self.observation_space = space

    def observation(self, observation: Any) -> Any:
        """The entry."""
        for name in self._path:
            observation = observation[name] if isinstance(observation, Mapping) else observation[int(name)]
        return observation


class Pixels(gym.ObservationWrapper[Any, Any, Any]):
    """Any picture as a stack of byte frames with the channels first, ``[stack · C, size, size]``.

    Args:
        env: whose observation is a picture ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` with finite bounds; see ``Entry``
            for one in a Dict.
        size: height and width of a frame, in pixels; None keeps those of the picture.
        grey: whether colours become grey.
        stack: number of frames, the newest last; an episode begins with frames of zeros.

    Raises:
        ValueError: the observation is no picture, or a number below 1.
    """

    def __init__(
        self, env: gym.Env[Any, Any], *, size: int | None = 84, grey: bool = True, stack: int = 4
    ) -> None:
        super().__init__(env)
        space: Any = env.observation_space
        is_picture = isinstance(space, spaces.Box) and len(space.shape) in (2, 3) and space.is_bounded()
        if not is_picture or stack < 1 or (size is not None and size < 1):
            remedy = "choose one with qframe.envs.Entry" if isinstance(space, spaces.Dict) else "give finite bounds"
            fault = f"got size={size} and stack={stack}" if is_picture else f"got {space}; {remedy}"
            raise ValueError(f"expected a picture [H, W], [H, W, C] or [C, H, W], and sizes of at least 1, {fault}")
        self._low, self._high = float(space.low.min()), float(space.high.max())
        self._is_first = len(space.shape) == 3 and space.shape[0] <= 4 < space.shape[2]
        self._grey, self._size = grey, size
        frame = self._frame(np.zeros(space.shape, space.dtype))
        self._stack = np.zeros((stack, *frame.shape), np.uint8)
        self.observation_space = spaces.Box(0, 255, (stack * frame.shape[0], *frame.shape[1:]), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset, with frames of zeros before the first."""
        self._stack[:] = 0
        return super().reset(seed=seed, options=options)

    def observation(self, observation: NDArray[Any]) -> NDArray[np.uint8]:
        """The last frames."""
        self._stack = np.concatenate([self._stack[1:], self._frame(observation)[None]])
        return self._stack.reshape(self.observation_space.shape or ())

    def _frame(self, picture: NDArray[Any]) -> NDArray[np.uint8]:
        """One picture as ``[C, H, W]`` bytes."""
        picture = np.asarray(picture)
        picture = picture[None] if picture.ndim == 2 else picture
        planes = picture if self._is_first or len(picture) == 1 else np.moveaxis(picture, -1, 0)
        if planes.dtype != np.uint8 or (self._low, self._high) != (0, 255):
            planes = np.clip((planes - self._low) * (255 / (self._high - self._low)), 0, 255)
        if self._grey and len(planes) in (3, 4):  # a fourth plane is opacity
            planes = np.tensordot(_LUMINANCE, planes[:3].astype(np.float32), 1)[None]
        if self._size is not None and planes.shape[1:] != (self._size, self._size):
            planes = resized(planes, self._size)
        return np.rint(planes).astype(np.uint8)


def resized(planes: NDArray[Any], size: int) -> NDArray[np.float32]:
    """Planes ``[C, H, W]`` as ``[C, size, size]``, each pixel the mean over the area it covers."""
    return adaptive_avg_pool2d(torch.from_numpy(planes.astype(np.float32)), size).numpy()


class JointActions(gym.ActionWrapper[Any, Any, Any]):
    """Tuple and Dict actions of discrete parts as one MultiDiscrete action, which has a branch for every choice.

    Args:
        env: with such actions, nested to any depth.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        sizes, starts = choices(env.action_space)
        self.action_space = spaces.MultiDiscrete(list(sizes), start=list(starts))

    def action(self, action: NDArray[Any]) -> Any:
        """The action in the environment's form."""
        return action_of(self.env.action_space, action.tolist())


class _OwnObservations(gym.ObservationWrapper[Any, Any, Any]):
    """Copies observations: an environment may reuse one array, and a wrapper may keep earlier observations."""

    def observation(self, observation: Any) -> Any:
        return deepcopy(observation)


def wrapped(env: gym.Env[Any, Any], wrappers: Sequence[Wrapper]) -> gym.Env[Any, Any]:
    """The environment inside its wrappers, the last of which is the outermost.

    Raises:
        ValueError: a wrapper refuses the environment, lacks arguments or is not for training; the message names it.
    """
    env = _OwnObservations(env) if wrappers else env
    for wrapper in wrappers:
        name = name_of(wrapper)
        if name in _KEEPS_STATISTICS:
            raise ValueError(
                f"wrapper {name} keeps statistics of its own, which evaluation would not share; set "
                f"{_KEEPS_STATISTICS[name]} instead"
            )
        if needed := _arguments_left(wrapper):
            raise ValueError(
                f"wrapper {name} needs values for {', '.join(needed)}; write "
                f"{{_target_: {name}, {': …, '.join(needed)}: …}}"
            )
        try:
            env = wrapper(env)
        except (Exception, SystemExit) as refused:
            raise ValueError(f"wrapper {name} cannot be applied to {env}: {raised(refused)}") from refused
        if not isinstance(env, gym.Env):
            raise ValueError(f"wrapper {name} must return an environment, but returned {type(env).__name__}")
    return env


class BoundAction(gym.ActionWrapper[Any, Any, Any]):
    """Declares finite bounds for the Box actions of an environment that has none, for ``action_space=discretized``.

    Args:
        env: with Box actions.
        low: the lower bound of every dimension.
        high: the upper bound.

    Raises:
        ValueError: other actions, or bounds that are not finite and ascending.
    """

    def __init__(self, env: gym.Env[Any, Any], *, low: float, high: float) -> None:
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, gym.spaces.Box):
            raise ValueError(f"BoundAction needs Box actions, not {space}")
        if not -np.inf < low < high < np.inf:
            raise ValueError(f"expected finite bounds with low below high, got low={low} and high={high}")
        self.action_space = gym.spaces.Box(low, high, space.shape, space.dtype.type)

    def action(self, action: Any) -> Any:
        return action


class WeighReward(gym.Wrapper[Any, Any, Any, Any]):
    """Several rewards, as of objectives or agents, as their weighted sum.

    Args:
        env: whose rewards are arrays or lists.
        weights: one for each reward.
    """

    def __init__(self, env: gym.Env[Any, Any], *, weights: Sequence[float]) -> None:
        super().__init__(env)
        self._weights = np.asarray(weights, np.float64)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step.

        Raises:
            ValueError: there are more or fewer rewards than weights.
        """
        observation, rewards, terminated, truncated, info = self.env.step(action)
        given = np.asarray(rewards, np.float64)
        if given.shape != self._weights.shape:
            raise ValueError(f"expected weights for rewards of shape {given.shape}, got {self._weights.tolist()}")
        return observation, float(given @ self._weights), terminated, truncated, info


def rescaled(id: str, env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """The environment with its Box observations scaled to [−1, 1].

    Raises:
        ValueError: observations without finite bounds, or whose bounds are equal or too far apart.
    """
    space = env.observation_space
    if not (isinstance(space, gym.spaces.Box) and space.is_bounded()):
        raise ValueError(f"cannot rescale the observations of {id}, {space}: only a Box with finite bounds can be")
    with np.errstate(over="ignore"):
        span = space.high.astype(np.float32) - space.low.astype(np.float32)
    if not (np.isfinite(span) & (span > 0)).all():
        raise ValueError(f"cannot rescale the observations of {id}, {space}: bounds are equal or too far apart")
    if space.dtype.kind != "f":  # integers cannot lie between -1 and 1
        env = gym.wrappers.DtypeObservation(env, np.float32)
    return gym.wrappers.RescaleObservation(env, np.float32(-1), np.float32(1))


def faulty_wrapper(env: gym.Env[Any, Any], wrappers: Sequence[Wrapper]) -> str | None:
    """The first wrapper that breaks Gymnasium's interface, and how; None if none does, or the environment itself fails.

    Args:
        env: without wrappers.
        wrappers: applied one by one; after each the environment is reset and stepped once.
    """
    if not wrappers or fault_of(env) is not None:
        return None
    for wrapper in wrappers:
        env = wrapped(env, [wrapper])
        if (fault := fault_of(env)) is not None:
            return f"wrapper {name_of(wrapper)}: {fault}"
    return None


def name_of(wrapper: Wrapper) -> str:
    """The name of a wrapper's class or function."""
    return getattr(getattr(wrapper, "func", wrapper), "__name__", type(wrapper).__name__)


def described(wrapper: Wrapper) -> str:
    """The name of a wrapper, with its arguments.

    >>> from functools import partial
    >>> described(partial(ChannelsFirst, axis=2)), described(ChannelsFirst)
    ('ChannelsFirst(axis=2)', 'ChannelsFirst')
    """
    given = ", ".join(f"{key}={value!r}" for key, value in getattr(wrapper, "keywords", {}).items())
    return f"{name_of(wrapper)}({given})" if given else name_of(wrapper)


def _arguments_left(wrapper: Wrapper) -> list[str]:
    """The required arguments, besides the environment, that have no value yet."""
    try:
        parameters = list(inspect.signature(wrapper).parameters.values())
    except (TypeError, ValueError):  # its arguments cannot be inspected
        return []
    fixed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters[1:] if one.default is one.empty and one.kind not in fixed]
