"""A few fixed states, whose action values and return distributions show what a network has learnt."""

from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from qframe.actions.action_space import ActionSpace
from qframe.envs import Envs, derive_seed
from qframe.envs.observations import as_tensors
from qframe.heads import Prediction
from qframe.networks.carried import carried
from qframe.networks.modes import evaluating
from qframe.networks.protocol import TrainedNetwork
from qframe.networks.recurrent_trunk import recurrent_trunk

Array = NDArray[np.float64]


class Seen(NamedTuple):
    """The predictions of a network for S states."""

    values: Array  # [S, ΣA], of all branches side by side
    is_greedy: NDArray[np.bool_]  # [S, ΣA]
    locations: Array  # [S, ΣA, N], of return distributions; for an ensemble, of its mixture, N = K·atoms
    masses: Array  # [S, ΣA, N]
    num_members: int = 1  # K


class _Step(NamedTuple):
    """A step of the episode."""

    observation: Tensor | TensorDict  # [1, …]
    legal: Tensor | None  # [1, ΣA]
    action: Tensor  # an index, [1] or [1, D]
    reward: Tensor  # [1]
    begins: Tensor  # [1], whether the next observation is the first of another episode


class FixedStates:
    """States along an episode of random legal actions, the same in every run; the episode is played when needed.

    Args:
        envs: makes the environment.
        action_space: of the environment.
        number: S, the number of states.
        distance: steps between them.
    """

    def __init__(self, envs: Envs, action_space: ActionSpace, *, number: int = 6, distance: int = 8) -> None:
        self._envs, self._action_space, self._number, self._distance = envs, action_space, number, distance

    @cached_property
    def action_names(self) -> list[str]:
        """The names of all actions side by side; ``a0``, ``a1``, … where the environment does not name them.

        Bins of a Box are named by their values, with the number of their dimension where dimensions are branches.
        """
        if self._action_space.values:
            return _value_names(self._action_space)
        names, width = getattr(self._envs, "action_names", None) or [], self._action_space.width
        is_named = len(names) == width and not self._action_space.is_joint
        return list(names) if is_named else [f"a{action}" for action in range(width)]

    @cached_property
    def played(self) -> tuple[Tensor | TensorDict, Tensor | None]:
        """The observations ``[S, …]`` and their legal actions ``[S, ΣA]``."""
        kept = self._steps[:: self._distance]
        masks = [step.legal for step in kept if step.legal is not None]
        joined = torch.cat([step.observation for step in kept])  # pyright: ignore[reportCallIssue, reportArgumentType]
        return joined, torch.cat(masks) if masks else None

    @cached_property
    def _steps(self) -> list[_Step]:
        """The steps of the episode up to the last state."""
        generator, action_space = torch.Generator().manual_seed(0), self._action_space
        steps: list[_Step] = []
        env = self._envs.make_seeded(1, lambda index, episode: derive_seed(0, "states", episode))
        try:
            observation, mask = env.reset()
            while len(steps) <= (self._number - 1) * self._distance:
                legal = None if mask is None else torch.from_numpy(action_space.legal(mask))
                shown = as_tensors(observation).clone()
                action = action_space.greedy_index(torch.rand(1, action_space.width, generator=generator), legal)
                step = env.step(np.asarray(action_space.to_env(action)))
                begins = torch.from_numpy(step.terminated | step.truncated)
                begins = begins if step.valid is None else begins | ~torch.from_numpy(step.valid)
                steps.append(_Step(shown, legal, action, torch.from_numpy(step.reward.copy()), begins))
                observation, mask = step.observation, step.mask
        finally:
            env.close()
        return steps

    def _predicted(self, network: TrainedNetwork) -> Prediction:
        """The prediction for every state; with a memory, after the steps before it."""
        device = next(iter(network.head.parameters())).device
        if recurrent_trunk(network) is None:
            return network.predict(self.played[0].to(device))
        remembered, kept = carried(network, 1, self._action_space), []
        for number, step in enumerate(self._steps):
            prediction = remembered.predict(step.observation.to(device))
            kept += [] if number % self._distance else [prediction]
            remembered.after(step.action, step.reward, step.begins)
        taus = [prediction.taus for prediction in kept if prediction.taus is not None]
        return Prediction(torch.cat([prediction.out for prediction in kept], -3), torch.cat(taus) if taus else None)

    @torch.no_grad()
    def see(self, network: TrainedNetwork) -> Seen:
        """The action values and return distributions of every state."""
        mask, device = self.played[1], next(iter(network.head.parameters())).device
        with evaluating(network):
            prediction = self._predicted(network)
            values = network.branches.join(network.head.value(prediction)).float().cpu()  # [S, ΣA]
            law = network.head.returns(prediction)
        best = self._action_space.greedy_index(values, mask)
        location, mass = (x.float().cpu() for x in torch.broadcast_tensors(*law))
        num_members = 1
        if location.ndim > 3 and location.shape[-2] == values.shape[-1]:  # members, [K, S, A, N]
            num_members = len(location)
            location, mass = (x.movedim(0, -2).flatten(-2) for x in (location, mass / num_members))
        elif location.ndim > 3:  # branches, [D, S, A, N]
            location, mass = (network.branches.join(x.mT).mT for x in (location.to(device), mass.to(device)))
        locations, masses = (x.double().cpu().numpy() for x in (location, mass))
        return Seen(values.double().numpy(), self._flags(best).numpy(), locations, masses, num_members)

    def _flags(self, best: Tensor) -> Tensor:
        """Indices ``[S]`` or ``[S, D]`` as flags of all actions side by side, ``[S, ΣA]``."""
        columns = best.unsqueeze(-1) if best.ndim == 1 else best
        offsets = torch.tensor([0, *self._action_space.known_sizes[:-1]]).cumsum(0)
        return torch.zeros(len(best), self._action_space.width, dtype=torch.bool).scatter(1, columns + offsets, True)


def _value_names(space: ActionSpace) -> list[str]:
    """The names of actions that stand for numbers: ``-2``, ``-1,0.5`` (enumerated) or ``1: 0.5`` (of dimension 1)."""
    words = [[f"{value:.3g}" for value in values] for values in space.values]
    if space.is_joint:
        return [f"{dimension}: {word}" for dimension, of_one in enumerate(words) for word in of_one]
    return [",".join(combination) for combination in product(*words)]
