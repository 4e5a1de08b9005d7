"""Evaluation: greedy episodes on environments and seeds of their own."""

from itertools import count
from typing import NamedTuple

import numpy as np
import torch

from qframe.data.action_space import ActionSpace
from qframe.envs import Envs, Start, derive_seed
from qframe.modules.networks.adapters import TrainedNetwork
from qframe.runner.collector import as_tensors


class EvaluationResult(NamedTuple):
    """Returns and lengths of the evaluated episodes, in the order of their seeds."""

    returns: list[float]
    lengths: list[int]

    @property
    def mean(self) -> float:
        """The mean episode return."""
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        """The standard deviation over episodes."""
        return float(np.std(self.returns))


class Evaluation:
    """Plays whole greedy episodes, each with its own seed.

    Every seed's episode is played to its end and counted, so short episodes are not preferred.

    Args:
        envs: makes the environments.
        action_space: turns indices into what the environments take.
        seed: the run's seed; training's episodes have other seeds.
        every: frames between evaluations.
        episodes: episodes of a periodic evaluation.
        final_episodes: episodes of the evaluation at the end, on seeds used for nothing else.
        num_envs: environments side by side.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(
        self,
        envs: Envs,
        action_space: ActionSpace,
        *,
        seed: int,
        every: int,
        episodes: int,
        final_episodes: int,
        num_envs: int,
    ) -> None:
        numbers = {"every": every, "episodes": episodes, "final_episodes": final_episodes, "num_envs": num_envs}
        for name, number in numbers.items():
            if number < 1:
                raise ValueError(f"expected {name} of at least 1, got {number}")
        self.every, self.episodes, self.final_episodes = every, episodes, final_episodes
        self._envs, self._action_space, self._seed, self._num_envs = envs, action_space, seed, num_envs

    def periodic(self, network: TrainedNetwork, *, frames: int) -> EvaluationResult:
        """The evaluation after ``frames`` frames of training."""
        return self.play(network, episodes=self.episodes, stream=("evaluation", frames))

    def final(self, network: TrainedNetwork) -> EvaluationResult:
        """The evaluation at the end, the same episodes for every network it is asked about."""
        return self.play(network, episodes=self.final_episodes, stream=("final",))

    @torch.no_grad()
    def play(self, network: TrainedNetwork, *, episodes: int, stream: tuple[str | int, ...]) -> EvaluationResult:
        """Greedy episodes with the seeds of a stream; equal streams give equal episodes."""
        num_envs = min(self._num_envs, episodes)
        seed = derive_seed(self._seed, *stream)
        # Seeds are handed out in the order episodes start, so that every network meets the same ones.
        started = count()
        envs = self._envs.make_seeded(num_envs, lambda index, episode: derive_seed(seed, next(started)))
        running, following = np.arange(num_envs), num_envs
        returns, lengths = np.zeros(episodes), np.zeros(episodes, dtype=np.int64)
        training = network.training
        network.eval()
        try:
            start = envs.reset()
            while (counted := running < episodes).any():
                action = self._action_space.to_env(self._greedy(network, start))
                step = envs.step(np.asarray(action))
                start = Start(step.observation, step.mask)
                returns[running[counted]] += step.reward[counted]
                lengths[running[counted]] += 1
                for index in np.flatnonzero(step.terminated | step.truncated):
                    running[index], following = following, following + 1
        finally:
            envs.close()
            network.train(training)
        return EvaluationResult(returns.tolist(), lengths.tolist())

    def _greedy(self, network: TrainedNetwork, start: Start) -> torch.Tensor:
        device = next(iter(network.head.parameters())).device
        value = network.head.value(network.predict(as_tensors(start.observation).to(device)))
        mask = None if start.mask is None else torch.from_numpy(self._action_space.legal(start.mask)).to(device)
        return network.branches.index(value, mask).cpu()
