"""Environments written for gym, Gymnasium's predecessor, behind Gymnasium's interface."""

import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gymnasium
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec, load_env_creator

_KINDS: dict[str, Callable[[Any], spaces.Space[Any]]] = {
    "Box": lambda space: spaces.Box(space.low, space.high, space.shape, space.dtype.type),
    "Discrete": lambda space: spaces.Discrete(int(space.n), start=int(getattr(space, "start", 0))),
    "MultiDiscrete": lambda space: spaces.MultiDiscrete(space.nvec),
    "MultiBinary": lambda space: spaces.MultiBinary(space.shape),
    "Dict": lambda space: spaces.Dict({key: as_gymnasium(entry) for key, entry in space.spaces.items()}),
    "Tuple": lambda space: spaces.Tuple([as_gymnasium(entry) for entry in space.spaces]),
}

CONVERTED = (
    "written for gym, Gymnasium's predecessor, and converted: an episode's end is a truncation only where "
    "info['TimeLimit.truncated'] says so"
)
"""The note on such an environment."""


class FromGym(gymnasium.Env[Any, Any]):
    """An environment of gym, of any version, as one of Gymnasium.

    Before version 0.26 of gym, ``reset`` returns the observation alone, ``step`` one flag for both ends of an episode,
    and ``seed`` takes the seed. An end counts as a truncation only if ``info["TimeLimit.truncated"]`` says so.

    Args:
        env: the environment.

    Raises:
        ValueError: a space of another kind than those of ``qframe.envs``.
    """

    def __init__(self, env: Any) -> None:
        self.env = env
        self.observation_space, self.action_space = as_gymnasium(env.observation_space), as_gymnasium(env.action_space)
        metadata = getattr(env, "metadata", None) or {}
        modes = metadata.get("render_modes", metadata.get("render.modes", ()))
        self.metadata = {"render_modes": [mode for mode in modes if mode == "rgb_array"]}
        if (rate := metadata.get("render_fps", metadata.get("video.frames_per_second"))) is not None:
            self.metadata["render_fps"] = rate

    def __getattr__(self, name: str) -> Any:  # such as action_masks
        if name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        super().reset(seed=seed)
        takes_seed = "seed" in inspect.signature(self.env.reset).parameters
        if seed is not None and not takes_seed and (seeded := getattr(self.env, "seed", None)) is not None:
            seeded(seed)
        start = self.env.reset(seed=seed) if takes_seed else self.env.reset()
        is_new = isinstance(start, tuple) and len(start) == 2 and isinstance(start[1], dict)
        return start if is_new and not isinstance(self.observation_space, spaces.Tuple) else (start, {})

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step."""
        result = self.env.step(action)
        if len(result) != 4:
            return result
        observation, reward, is_over, info = result
        is_cut = bool(is_over) and bool(info.get("TimeLimit.truncated", False))
        return observation, reward, bool(is_over) and not is_cut, is_cut, info

    def render(self) -> Any:
        """A picture."""
        has_mode = "mode" in inspect.signature(self.env.render).parameters
        return self.env.render(mode="rgb_array") if has_mode else self.env.render()

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def as_gymnasium(space: Any) -> spaces.Space[Any]:
    """A space of gym as one of Gymnasium.

    Raises:
        ValueError: a space of another kind.
    """
    if isinstance(space, spaces.Space):
        return space
    kind = next((cls.__name__ for cls in type(space).__mro__ if cls.__name__ in _KINDS), None)
    if kind is None:
        raise ValueError(f"the space {space} has no counterpart in Gymnasium; it can be {', '.join(_KINDS)}")
    return _KINDS[kind](space)


def old_spec(name: str, written: Any) -> EnvSpec | None:
    """The spec of an environment of gym, if its class is one or its id is registered there; gym is never imported.

    Args:
        name: the id, or the class's name.
        written: the object of this name in the id's module, if any.
    """
    if (old := sys.modules.get("gym")) is None:
        return None
    if inspect.isclass(written) and issubclass(written, old.Env):
        return EnvSpec(id=name, entry_point=_converting(written))
    registry = old.envs.registration.registry
    spec = getattr(registry, "env_specs", registry).get(name)
    if spec is None:
        return None
    creator = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    kwargs = getattr(spec, "kwargs", None) or getattr(spec, "_kwargs", None) or {}
    limit = spec.max_episode_steps
    return EnvSpec(id=name, entry_point=_converting(creator), kwargs=dict(kwargs), max_episode_steps=limit)


def old_ids() -> list[str]:
    """The ids that are registered with gym, without its own environments."""
    if (old := sys.modules.get("gym")) is None:
        return []
    registry = old.envs.registration.registry
    specs = getattr(registry, "env_specs", registry)
    return [id for id, spec in specs.items() if not str(spec.entry_point).startswith("gym.")]


def _converting(creator: Callable[..., Any]) -> Callable[..., FromGym]:
    signature = None
    with suppress(TypeError, ValueError):  # it cannot be inspected
        signature = inspect.signature(creator)

    def make(**kwargs: Any) -> FromGym:
        if signature is not None and "render_mode" not in signature.parameters:
            kwargs.pop("render_mode", None)
        return FromGym(creator(**kwargs))

    if signature is not None:
        make.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    return make
