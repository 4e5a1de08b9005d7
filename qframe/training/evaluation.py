"""Evaluation: episodes on their own environments and seeds, under a protocol that is saved with every score."""

import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from itertools import count
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from qframe.actions.action_space import ActionSpace
from qframe.envs import Envs, Start, derive_seed
from qframe.envs.observations import as_tensors
from qframe.formatting import format_count, format_mean, install_command
from qframe.machine.allocator import give_back_freed_memory
from qframe.machine.generators import globally_seeded
from qframe.networks.carried import Carried, carried
from qframe.networks.modes import evaluating
from qframe.networks.protocol import TrainedNetwork

Show = Callable[[NDArray[np.uint8]], None]
"""Called with a picture ``[H, W, 3]`` of every step."""
Progress = Callable[[int, int], None]
"""Called at every step with the number of episodes that have ended, and that of all."""
SHORTEST_LIMIT, LONGEST_LIMIT = 1_000, 10_000
"""The step limit ``auto`` of episodes without a limit of their own lies between these."""
_TIMES_LONGEST, _TIMES_EVERY = 4, 4
SHOWN = 40
"""Characters of a list or a mapping in the line that shows a protocol."""


class EvaluationResult(NamedTuple):
    """Returns and lengths of the evaluated episodes, in the order of their seeds."""

    returns: list[float]
    lengths: list[int]
    cut: int = 0
    """The number of episodes cut at the evaluation's own step limit."""
    faults: int = 0
    """The number of episodes that a fault of the environment ended, if the config tolerates faults."""
    limit: int = 0
    """The step limit that applied: the environment's own, or else the evaluation's."""
    infos: Mapping[str, list[float]] = MappingProxyType({})
    """By key of ``env.log_info``: the last number of each episode that gave one; ∞ for any other value."""

    @property
    def mean(self) -> float:
        """The mean episode return, rounded once: episodes that all return .7 have the mean .7."""
        return float(statistics.mean(self.returns))

    @property
    def note(self) -> str:
        """A note on episodes that were cut or ended by a fault, for the end of a line; else empty."""
        cut = f", {self.cut} cut at the step limit" if self.cut else ""
        return f"{cut}, {self.faults} ended by a fault" if self.faults else cut

    @property
    def std(self) -> float:
        """The standard deviation over episodes."""
        return float(statistics.pstdev(self.returns))

    def __str__(self) -> str:
        """The line that reports a periodic evaluation."""
        episodes = format_count(len(self.returns), "episode")
        return f"evaluation {format_mean(self.mean, self.std)} over {episodes}{self.note}"


class Evaluation:
    """Plays whole episodes, greedy or ε-greedy, each with its own seed.

    The episode of every seed is played to its end and counted, so short episodes are not favoured. Rewards are the
    environment's own, and losing a life does not end an episode.

    Args:
        envs: makes the environments.
        action_space: turns indices into the actions of the environments.
        seed: the run's seed; training episodes have other seeds.
        every: frames between evaluations.
        episodes: episodes of a periodic evaluation.
        final_episodes: episodes of the final evaluation, whose seeds are used for nothing else.
        num_envs: environments that are stepped together.
        epsilon: probability of a random legal action.
        max_episode_steps: the step limit of an episode, if the environment has none. ``auto``: four times the longest
            training episode, or four times ``every / episodes`` if that is more; between 1,000 and 10,000.
        candidates: the number of networks with the best periodic evaluations that are judged again at the end; 1: the
            best of them is taken as it is.
        env: the settings in which ``envs`` differ from the training environments, for the protocol.
        video: the number of episodes of every evaluation that are filmed.

    Raises:
        ValueError: a number out of range, or environments that cannot be filmed.
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
        epsilon: float = 0.0,
        max_episode_steps: int | Literal["auto"] = "auto",
        candidates: int = 3,
        env: Mapping[str, Any] | None = None,
        video: int = 0,
    ) -> None:
        numbers = {"every": every, "episodes": episodes, "final_episodes": final_episodes, "num_envs": num_envs}
        numbers["candidates"] = candidates
        if max_episode_steps != "auto":
            numbers["max_episode_steps"] = max_episode_steps
        for name, number in numbers.items():
            if number < 1:
                raise ValueError(f"expected {name} of at least 1, got {number}")
        if not 0.0 <= epsilon <= 1.0:
            raise ValueError(f"expected epsilon in [0, 1], got {epsilon}")
        if video < 0:
            raise ValueError(f"expected video of at least 0 episodes, got {video}")
        self.every, self.episodes, self.final_episodes, self.video = every, episodes, final_episodes, video
        self.epsilon, self.candidates, self._limit = epsilon, candidates, max_episode_steps
        self.longest_episode = 0
        """Steps of the longest training episode so far, which the limit ``auto`` depends on."""
        self._envs, self._action_space, self._seed, self._num_envs = envs, action_space, seed, num_envs
        self._changed = dict(env or {})
        if video:
            self.check_video()

    def check_video(self) -> float:
        """Check that episodes can be filmed.

        Returns:
            The frame rate, in pictures per second.

        Raises:
            ValueError: the environments draw no pictures, or a package is missing.
        """
        if any(find_spec(package) is None for package in ("imageio", "av")):
            missing = "video needs the packages imageio and av, which are not installed"
            raise ValueError(f"{missing}; {install_command('video')}")
        if (rate := self._envs.pictures_per_second) is None:
            raise ValueError(f"video needs an environment with the render mode rgb_array, which {self._envs.id} lacks")
        return rate

    def check_picture(self) -> None:
        """Draw one picture, to find out whether the environments can.

        Raises:
            ValueError: they cannot.
        """
        envs = self._envs.make_seeded(1, lambda index, episode: 0, renders=True)
        try:
            envs.reset()
            envs.picture()
        finally:
            envs.close()

    @property
    def max_episode_steps(self) -> int:
        """The step limit of an episode, if the environment has none."""
        if isinstance(self._limit, int):
            return self._limit
        wanted = max(_TIMES_LONGEST * self.longest_episode, _TIMES_EVERY * self.every // self.episodes)
        return min(max(SHORTEST_LIMIT, wanted), LONGEST_LIMIT)

    def protocol(self, episodes: int, limit: int | None = None) -> dict[str, Any]:
        """The settings that a score of this many episodes depends on, to be saved with it.

        Args:
            episodes: the number of episodes.
            limit: of the result; None: the limit that would apply now.
        """
        own_limit = self._envs.protocol.get("max_episode_steps")
        rewards = "as its wrappers give them" if "wrappers" in self._envs.protocol else "the environment's own"
        return {
            "episodes": episodes,
            "epsilon": self.epsilon,
            **self._envs.protocol,
            "max_episode_steps": limit or own_limit or self.max_episode_steps,
            "rewards": rewards,
            **({"unlike_training": self._changed} if self._changed else {}),
        }

    def info_keys(self) -> list[str]:
        """The keys of the numbers in the infos of a step."""
        return self._envs.info_keys()

    def periodic(
        self, network: TrainedNetwork, *, frames: int, progress: Progress | None = None
    ) -> EvaluationResult:
        """The periodic evaluation at this frame of training."""
        return self.play(network, episodes=self.episodes, stream=("evaluation", frames), progress=progress)

    def judge(self, network: TrainedNetwork, progress: Progress | None = None) -> EvaluationResult:
        """The episodes that decide which candidate is the best network; the same for every network."""
        return self.play(network, episodes=self.final_episodes, stream=("candidates",), progress=progress)

    def final(self, network: TrainedNetwork, progress: Progress | None = None) -> EvaluationResult:
        """The final evaluation; the same episodes for every network."""
        return self.play(network, episodes=self.final_episodes, stream=("final",), progress=progress)

    @torch.no_grad()
    def play(
        self,
        network: TrainedNetwork,
        *,
        episodes: int,
        stream: tuple[str | int, ...],
        show: Show | None = None,
        progress: Progress | None = None,
    ) -> EvaluationResult:
        """Play episodes with the seeds of a stream; equal streams give equal episodes.

        Args:
            network: acts.
            episodes: the number of episodes.
            stream: the stream of their seeds.
            show: called with a picture of every step; the episodes are then played one by one.
            progress: called at every step.
        """
        space = self._action_space
        num_envs, limit = 1 if show is not None else min(self._num_envs, episodes), self.max_episode_steps
        seed = derive_seed(self._seed, *stream)
        # Seeds are handed out in the order episodes start, so that every network meets the same ones.
        started = count()

        def seed_of(index: int, episode: int) -> int | None:
            number = next(started)
            return derive_seed(seed, number) if number < episodes else None

        envs = self._envs.make_seeded(num_envs, seed_of, max_episode_steps=limit, renders=show is not None)
        generator = torch.Generator().manual_seed(derive_seed(seed, "epsilon"))
        number, following = np.arange(num_envs), num_envs  # of the episode that each environment plays
        returns, lengths = np.zeros(episodes), np.zeros(episodes, dtype=np.int64)
        is_truncated = np.zeros(episodes, dtype=np.bool_)
        infos = np.full((episodes, len(envs.log_info)), np.nan)
        index: torch.Tensor | None = None
        remembered = carried(network, num_envs, space)
        device = next(iter(network.head.parameters())).device
        modes = ExitStack()
        modes.enter_context(evaluating(network))
        modes.enter_context(globally_seeded(derive_seed(seed, "global")))
        try:
            start = envs.reset()
            while (plays := number < episodes).any():
                if show is not None:
                    show(envs.picture())
                playing = None if plays.all() else torch.from_numpy(plays)
                chosen = self._act(network, remembered, start, playing, generator, device)
                if index is None or playing is None:
                    index = chosen
                else:
                    index[playing] = chosen
                step = envs.step(np.asarray(space.to_env(index)))
                done = step.terminated | step.truncated
                begins = done if step.valid is None else done | ~step.valid
                remembered.after(index, torch.from_numpy(step.reward), torch.from_numpy(begins))
                start = Start(step.observation, step.mask)
                returns[number[plays]] += step.reward[plays]
                lengths[number[plays]] += 1
                if step.info is not None:
                    given = step.info[plays]
                    infos[number[plays]] = np.where(np.isnan(given), infos[number[plays]], given)
                for env in np.flatnonzero(done & plays):
                    is_truncated[number[env]] = step.truncated[env]
                    number[env], following = following, following + 1
                if progress is not None:
                    progress(following - num_envs, episodes)
            faults = sum(envs.faults().values())
        finally:
            envs.close()
            modes.close()
            give_back_freed_memory()
        cut, limit = self._limits(lengths[is_truncated] if not faults else lengths[:0], limit)
        last = {key: numbers[~np.isnan(numbers)].tolist() for key, numbers in zip(envs.log_info, infos.T, strict=True)}
        return EvaluationResult(returns.tolist(), lengths.tolist(), cut, faults, limit, last)

    def _limits(self, truncated: NDArray[np.int64], limit: int) -> tuple[int, int]:
        """The number of episodes that the evaluation cut, and the step limit that applied.

        Args:
            truncated: the lengths of truncated episodes.
            limit: the evaluation's, for an environment without a registered limit.
        """
        if (registered := self._envs.protocol.get("max_episode_steps")) is not None:
            return 0, registered
        if len(own := truncated[truncated < limit]):
            return int((truncated == limit).sum()), int(own.max())
        return len(truncated), min(limit, getattr(self._envs, "own_step_limit", None) or limit)

    def _act(
        self, network: TrainedNetwork, remembered: Carried, start: Start, plays: torch.Tensor | None,
        generator: torch.Generator, device: torch.device,
    ) -> torch.Tensor:  # fmt: skip
        """The greedy indices of the environments that play (None: all), or random legal ones with probability ε."""
        space, observation = self._action_space, as_tensors(start.observation)
        mask = None if start.mask is None else torch.from_numpy(space.legal(start.mask))
        if plays is None:
            prediction = remembered.predict(observation.to(device))
        else:
            prediction = remembered.predict_some(observation[plays].to(device), plays)
            mask = None if mask is None else mask[plays]
        value = network.head.value(prediction)
        greedy = space.greedy_index(network.branches.join(value), None if mask is None else mask.to(device)).cpu()
        if self.epsilon == 0.0:
            return greedy
        explores = torch.rand(space.batch(greedy), generator=generator) < self.epsilon
        return torch.where(space.over_branches(explores), space.random_index(greedy, mask, generator), greedy)


def cut_note(cut: int, episodes: int, max_episode_steps: int) -> str:
    """The note on episodes that the evaluation itself cut."""
    return (
        f"note: {cut} of {episodes} evaluated episodes were cut after {max_episode_steps:,} steps, because the "
        "environment has no step limit; set env.max_episode_steps or evaluation.max_episode_steps"
    )


def fault_note(faults: int, episodes: int) -> str:
    """The note on episodes that a fault of their environment ended."""
    return (
        f"note: faults of the environment ended {faults} episodes ({episodes} were evaluated), as env.timeout and "
        "env.nonfinite=skip allow; an evaluated one counts with its return up to the fault"
    )


def format_protocol(protocol: Mapping[str, Any]) -> str:
    """The protocol of an evaluation in one line.

    >>> format_protocol({"episodes": 100, "epsilon": 0.0, "env": "CartPole-v1", "max_episode_steps": 500})
    '100 episodes, epsilon 0, env CartPole-v1, max_episode_steps 500'
    >>> format_protocol({"episodes": 1, "kwargs": {"rewards": [0.5] * 100}})
    "1 episode, kwargs {'rewards': [0.5, 0.5, 0.5, 0.5, 0.5, 0…"
    """
    rest = {name: value for name, value in protocol.items() if name != "episodes"}
    parts = [f"{name} {_shown(value)}" for name, value in rest.items()]
    return ", ".join([format_count(protocol["episodes"], "episode"), *parts])


def _shown(value: Any) -> str:
    """A value of a protocol; one that is no plain value is cut off, and whole in ``summary.json``."""
    if isinstance(value, float):
        return f"{value:g}"
    text = " ".join(str(value).split())
    return text if isinstance(value, str) or len(text) <= SHOWN else f"{text[: SHOWN - 1].rstrip(', ')}…"
