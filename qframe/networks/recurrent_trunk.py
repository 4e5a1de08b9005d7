"""A trunk with a memory behind it: unrolled over sequences to learn, and stepped to act."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from tensordict import TensorDictBase
from torch import Tensor

from qframe.actions import ActionSpace
from qframe.functional.compiling import is_readable
from qframe.keys import OBSERVATION
from qframe.networks.memory import Memory
from qframe.networks.normalization import NormalizedTrunk
from qframe.networks.trunks import Trunk

MakeMemory = Callable[[int, int], Memory]
"""Builds a memory from ``(num_features, num_actions)``."""

MEMORY = "memory"
"""The key of what a memory takes besides the observation: ``is_first``, ``state``, ``last_action``, ``last_reward``."""


class Remembered(NamedTuple):
    """Features that a memory has made of observations so far; a network predicts from them as from an observation."""

    features: Tensor  # [*B, M]


class Unrolled(NamedTuple):
    """A sequence as a memory sees it, without the steps of its burn-in."""

    now: Remembered  # [*B, T, M], of every step's observation
    following: Remembered  # [*B, T, M], of every step's next observation
    state: Tensor  # [*B, k, S], after the observation of every step, or of the last one
    stored: Remembered | None = None  # [*B, 2, M], of the first and the last step, from the states stored there


class RecurrentTrunk(Trunk):
    """A trunk and a memory. Called with :class:`Remembered` it returns its features: an observation is not enough.

    Args:
        trunk: observation → features ``[*B, H]``.
        memory: the features, and the last action and reward if it wants them, → features ``[*B, M]``.
        action_space: of the last action.
    """

    def __init__(self, trunk: Trunk, memory: Memory, action_space: ActionSpace) -> None:
        super().__init__()
        self.trunk, self.memory = trunk, memory
        self.num_features = memory.num_features
        self._sizes, self._is_joint = action_space.known_sizes, action_space.is_joint

    def forward(self, observation: Any) -> Tensor:
        if isinstance(observation, Remembered):
            return observation.features
        raise ValueError(
            f"{type(self.memory).__name__} remembers, so one observation is not enough to predict from; carry its "
            "state with qframe.networks.carried, or unroll a sequence"
        )

    def step(self, observation: Any, carried: Mapping[str, Tensor]) -> tuple[Remembered, Tensor]:
        """One step of acting.

        Args:
            observation: ``[*B, …]``.
            carried: ``state`` ``[*B, S]``, reset where ``is_first``, if that is given; and ``last_action`` and
                ``last_reward``, if the memory takes them.

        Returns:
            The features, and the next state ``[*B, S]``.
        """
        state = carried["state"]
        if "is_first" in carried:
            state = self._begun(state, _flags(carried))
        features, state = self.memory.step(self._inputs(observation, carried), state)
        return Remembered(features), state

    def unroll(self, sequence: TensorDictBase, burn_in: int = 0, *, compares: bool = False) -> Unrolled:
        """Unroll the memory over sequences.

        A step's next observation follows the state of that step, so it is exact also where the episode ended there.
        With a ``loss_mask`` the steps after an episode's end are not learned from, and may hold anything.

        Args:
            sequence: ``[*B, T]`` with ``observation``, ``memory``, and the same under ``next``; where its first steps
                have no ``state``, the memory's initial one.
            burn_in: steps at the beginning that only lead to a state, without gradient.
            compares: whether features from the stored states of the first and last step are computed as well.
        """
        steps = _Steps.of(sequence)
        state = steps.memory.get("state", None)
        state = self.memory.initial_state(sequence.batch_size[:-1]) if state is None else state[..., 0, :]
        if burn_in:
            state, steps = self._burnt_in(steps.span(0, burn_in), state), steps.span(burn_in, steps.length)
        is_padded = sequence.get("loss_mask", None) is not None
        unrolled = (self._unroll_episodes if is_padded else self._unroll)(steps, state)
        if not compares or "state" not in steps.memory:
            return unrolled
        with torch.no_grad():
            ends = steps.span(0, steps.length, max(1, steps.length - 1))
            return unrolled._replace(stored=self.step(ends.observation, ends.memory)[0])

    def _burnt_in(self, steps: "_Steps", state: Tensor) -> Tensor:
        """The state after all steps, ``[*B, S]``."""
        with torch.no_grad():
            inputs, begins = self._inputs(steps.observation, steps.memory), steps.begins
            if is_readable(begins) and not begins[..., 1:].any():
                return self.memory.over_episode(inputs, self._begun(state, begins[..., 0]))[1]
            return self.memory.over_time(inputs, state, begins)[1][..., -1, :]

    def _unroll(self, steps: "_Steps", state: Tensor) -> Unrolled:
        """Every step, of any number of episodes."""
        inputs = self._inputs(steps.observation, steps.memory)
        features, states = self.memory.over_time(inputs, state, steps.begins)
        with torch.no_grad():
            after = _along(states.detach(), steps.ahead - 1)
            next_features, _ = self.memory.step(self._inputs(steps.next_observation, steps.next_memory), after)
        return Unrolled(Remembered(features), Remembered(next_features), states)

    def _unroll_episodes(self, steps: "_Steps", state: Tensor) -> Unrolled:
        """The steps up to the first end of an episode, and their next observations, in one pass over T + 1 steps."""
        begins, following = steps.begins, steps.next_memory
        observation = _extended(steps.observation, steps.next_observation, begins)
        last = {key: _extended(steps.memory[key], entry, begins) for key, entry in following.items()}
        features, state = self.memory.over_episode(self._inputs(observation, last), self._begun(state, begins[..., 0]))
        next_features = _along(features.detach(), steps.ahead)
        return Unrolled(Remembered(features[..., :-1, :]), Remembered(next_features), state.unsqueeze(-2))

    def _begun(self, state: Tensor, is_first: Tensor) -> Tensor:
        """The states ``[*B, S]``, or the initial one where an episode begins."""
        return torch.where(is_first.unsqueeze(-1), self.memory.initial_state(state.shape[:-1]), state)

    def _inputs(self, observation: Any, carried: Mapping[str, Tensor]) -> Tensor:
        """What the memory takes, ``[*B, I]``."""
        parts = [self.trunk(observation)]
        if "action" in self.memory.inputs:
            parts += self._one_hot(carried["last_action"], parts[0].dtype)
        if "reward" in self.memory.inputs:
            parts.append(carried["last_reward"].to(parts[0].dtype))
        return torch.cat(parts, -1)

    def _one_hot(self, index: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """The last action of every branch, ``[*B, A]`` each; −1 is none."""
        columns = index.unbind(-1) if self._is_joint else [index]
        return [
            (column.unsqueeze(-1) == torch.arange(size, device=index.device)).to(dtype)
            for column, size in zip(columns, self._sizes, strict=True)
        ]


def with_memory(
    trunk: Trunk, make_memory: MakeMemory | None, action_space: ActionSpace, *, normalize_observation: bool
) -> Trunk:
    """The trunk of a network, which normalises observations and has a memory behind it where it should."""
    trunk = NormalizedTrunk(trunk) if normalize_observation else trunk
    if make_memory is None:
        return trunk
    return RecurrentTrunk(trunk, make_memory(trunk.num_features, action_space.num_actions), action_space)


def recurrent_trunk(network: object) -> RecurrentTrunk | None:
    """The trunk with a memory inside a network; None if it has none."""
    trunk = getattr(network, "trunk", None)
    return trunk if isinstance(trunk, RecurrentTrunk) else None


class _Steps(NamedTuple):
    """The entries of a sequence that a memory takes, ``[*B, T, …]``."""

    observation: Any
    memory: dict[str, Tensor]
    next_observation: Any
    next_memory: dict[str, Tensor]
    ahead: Tensor  # [*B, T, 1], steps to the next observation
    length: int  # T

    @classmethod
    def of(cls, sequence: TensorDictBase) -> "_Steps":
        memory, following = sequence[MEMORY], sequence["next"]
        next_memory = following.get(MEMORY, {})
        return cls(
            sequence[OBSERVATION], dict(memory.items()), following[OBSERVATION], dict(next_memory.items()),
            sequence["steps_to_next_obs"], sequence.batch_size[-1],
        )  # fmt: skip

    @property
    def begins(self) -> Tensor:
        """Whether a step is its episode's first, ``[*B, T]``."""
        return _flags(self.memory)

    def span(self, start: int, stop: int, step: int = 1) -> "_Steps":
        """Steps ``start``, ``start + step``, … below ``stop``."""
        place = (*[slice(None)] * (self.ahead.ndim - 2), slice(start, stop, step))
        memory, following = (
            {key: entry[place] for key, entry in part.items()} for part in (self.memory, self.next_memory)
        )
        length = len(range(start, stop, step))
        return _Steps(
            self.observation[place], memory, self.next_observation[place], following, self.ahead[place], length
        )


def _flags(memory: Any) -> Tensor:
    return memory["is_first"].squeeze(-1)  # [*B, T]


def _extended(now: Any, following: Any, begins: Tensor) -> Any:
    """The entries of T steps and of the one after the last, ``[*B, T + 1, …]``.

    Where the next step begins another episode, the last entry of its own takes that step's place.
    """
    before = [slice(None)] * (begins.ndim - 1)
    flags = begins[..., 1:]
    if torch.is_tensor(now):
        flags = flags.view(*flags.shape, *[1] * (now.ndim - flags.ndim))
    middle = torch.where(flags, following[(*before, slice(-1))], now[(*before, slice(1, None))])
    return torch.cat([now[(*before, slice(1))], middle, following[(*before, slice(-1, None))]], len(before))


def _along(entries: Tensor, steps: Tensor) -> Tensor:
    """The entries ``steps`` ``[*B, T, 1]`` later, ``[*B, T + k, H]`` → ``[*B, T, H]``."""
    place = torch.arange(steps.shape[-2], device=steps.device) + steps.squeeze(-1)  # [*B, T]
    rows = entries.shape[-2] * torch.arange(place[..., 0].numel(), device=steps.device).unsqueeze(-1)
    flat = entries.reshape(-1, entries.shape[-1]).index_select(0, (place.view(len(rows), -1) + rows).view(-1))
    return flat.view(*place.shape, -1)
