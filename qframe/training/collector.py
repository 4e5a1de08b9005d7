"""Acting: the collector steps the environments with the behaviour policy and returns the transitions."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor, nn

from qframe.actions.action_space import ActionSpace
from qframe.envs import Episodes, Observation
from qframe.envs.observations import as_tensors
from qframe.exploration import Exploration
from qframe.machine.generators import GlobalGenerators
from qframe.networks.carried import carried
from qframe.networks.modes import set_acting_mode
from qframe.networks.noise import noisy_layers
from qframe.networks.normalization import NormalizedTrunk
from qframe.networks.protocol import Network
from qframe.training.episode_statistics import EpisodeStatistics, Finished
from qframe.training.protocol import CollectorProtocol
from qframe.training.reward import RewardTransform


class Collector(CollectorProtocol):
    """Steps E environments in lockstep; :class:`CollectorProtocol` documents the methods.

    Args:
        envs: the training environments.
        network: gives action values, in evaluation mode but for its noisy layers, which draw new noise at every step.
        exploration: turns greedy actions into behaviour.
        action_space: turns indices into the actions of the environments.
        reward: transforms rewards before they are stored; None leaves them as they are.
        device: of the network.
        stores_probability: whether each action's probability under the behaviour policy is stored with it, as
            ``action_probability``.
        stores_state: whether the state of a network's memory before each step is stored with it, as
            ``("memory", "state")``.
        stores_value: whether the value of the action taken is stored as ``chosen_action_value``, and that of the best
            legal action in the next state as ``("next", "state_value")``, which takes another forward pass.

    Raises:
        ValueError: exploration that cannot give the probabilities to be stored.
    """

    def __init__(
        self,
        envs: Episodes,
        network: Network,
        *,
        exploration: Exploration,
        action_space: ActionSpace,
        reward: RewardTransform | None = None,
        device: torch.device,
        stores_probability: bool = False,
        stores_state: bool = False,
        stores_value: bool = False,
    ) -> None:
        if stores_probability and not exploration.has_probability:
            raise ValueError(
                f"{type(exploration).__name__} cannot give the probability of each action, which is to be stored; "
                "use exploration=epsilon_greedy or exploration=boltzmann"
            )
        self._stores_probability, self._stores_value = stores_probability, stores_value
        self.leaves_best_values = False
        """Whether the values of next states are left to the caller, who computes those of several steps at once."""
        self.envs, self.exploration = envs, exploration
        set_acting_mode(network)
        self._network, self._action_space, self._device = network, action_space, device
        self._carried = carried(network, envs.num_envs, action_space, stores_state=stores_state)
        self._noisy = noisy_layers(network)
        self._env_index = torch.arange(envs.num_envs)
        self.statistics = EpisodeStatistics(envs.num_envs, envs.log_info)
        self._reward = None if reward is None or reward.is_identity else reward
        parts = network.modules() if isinstance(network, nn.Module) else ()
        self._normalized = [part for part in parts if isinstance(part, NormalizedTrunk)]
        learns = self._reward is not None and self._reward.bonus is not None and self._reward.bonus.learns
        self.stays_in_process = learns or getattr(envs, "stays_in_process", False)
        """Whether it cannot run in a forked process, because of its environments, or of gradients of its own."""
        self._observation: Observation | None = None
        self._mask: Tensor | None = None

    def leave_statistics(self) -> None:
        """Leave the statistics of observations in the network to the process that learns."""
        self._normalized = []

    @torch.no_grad()
    def act(self, observation: Tensor | TensorDict, mask: Tensor | None = None) -> dict[Any, Tensor]:
        """The legal ``action`` ``[E]`` of the behaviour policy, and the entries stored with it, on the CPU.

        Args:
            observation: ``[E, …]``.
            mask: legal actions ``[E, A]``, on the CPU.
        """
        for layer in self._noisy:
            layer.reset_noise()
        network, inputs = self._network, observation.to(self._device)
        for part in self._normalized:
            part.update_statistics(inputs)
        out = network.head.value(self._carried.predict(inputs))  # [E, A]
        value = network.branches.acting_value(out)
        greedy = self._action_space.greedy_index(value, None if mask is None else mask.to(self._device)).cpu()
        of_actions, value = value, out if self.exploration.reads_members else value
        action = self.exploration.explore(greedy, mask, value)
        stored = {"action": action, **self.exploration.stored(), **self._carried.stored}
        if self._stores_probability:
            stored["action_probability"] = self.exploration.probability(action, value, mask).unsqueeze(-1)
        if self._stores_value:
            stored["chosen_action_value"] = of_actions.cpu().gather(-1, action.unsqueeze(-1))
        return stored

    @torch.no_grad()
    def best_value(self, observation: Tensor | TensorDict, mask: Tensor | None) -> Tensor:
        """The value of the best legal action by the network that acts, ``[k, 1]`` on the CPU.

        Args:
            observation: ``[k, …]``.
            mask: legal actions ``[k, A]``, on the CPU.
        """
        value = self._network.head.value(self._network.predict(observation.to(self._device))).cpu()
        value = self._network.branches.acting_value(value)
        return (value if mask is None else value.masked_fill(~mask, -torch.inf)).amax(-1, keepdim=True)

    def collect(self) -> TensorDict:
        if self._observation is None:
            self._observation, mask = self.envs.reset()
            self._mask = None if mask is None else torch.from_numpy(self._action_space.legal(mask))
        observation, mask = as_tensors(self._observation), self._mask
        behaviour = self.act(observation, mask)
        step = self.envs.step(np.asarray(self._action_space.to_env(behaviour["action"])))
        self._observation = step.observation
        done = step.terminated | step.truncated
        self.statistics.add(step.reward, done, step.valid, step.info)
        ended, terminated = done, step.terminated
        if step.life_lost is not None:
            ended, terminated = done | step.life_lost, step.terminated | step.life_lost
        next_observation = as_tensors(step.next_observation)
        given = torch.from_numpy(step.reward)
        begins = done if step.valid is None else done | ~step.valid
        followed = self._carried.after(behaviour["action"], given, torch.from_numpy(begins))
        reward = step.reward if self._reward is None else self._reward(step.reward, done, step.valid, next_observation)
        reward = reward.astype(np.float32)
        rows = {"observation": observation, **behaviour, "env": self._env_index}
        following = {
            "observation": next_observation,
            "reward": torch.from_numpy(reward.reshape(len(reward), -1)),  # [E, 1], or [E, 2] with the bonus apart
            "terminated": torch.from_numpy(terminated).unsqueeze(-1),
            "truncated": torch.from_numpy(step.truncated).unsqueeze(-1),
            "done": torch.from_numpy(ended).unsqueeze(-1),
            **followed,
        }
        if mask is not None and step.mask is not None and step.next_mask is not None:
            rows["action_mask"] = mask
            following["action_mask"] = torch.from_numpy(self._action_space.legal(step.next_mask))
            self._mask = torch.from_numpy(self._action_space.legal(step.mask))
        if self._stores_value and not self.leaves_best_values:
            following["state_value"] = self.best_value(next_observation, following.get("action_mask"))
        count = len(done)
        if step.valid is not None:  # plain tensors are selected several times faster than those of a tensordict
            valid = torch.from_numpy(step.valid.nonzero()[0])
            count = len(valid)
            rows, following = ({key: leaf[valid] for key, leaf in part.items()} for part in (rows, following))
        transitions = TensorDict({**rows, "next": TensorDict(following, [count])}, [count])
        self.exploration.step(len(transitions), torch.from_numpy(done))
        return transitions

    def take_episodes(self) -> Finished:
        return self.statistics.take()

    def exploration_metrics(self) -> dict[str, float]:
        bonus = None if self._reward is None else self._reward.bonus
        return {**self.exploration.metrics, **({} if bonus is None else {"bonus": bonus.last})}

    def faults(self) -> dict[str, int]:
        return {name: count for name, count in self.envs.faults().items() if count}

    def can_resume(self) -> bool:
        return self.envs.can_replay

    def generators(self) -> dict[str, Any]:
        """The state of the global generators of the process that this is called in."""
        return GlobalGenerators.capture().state_dict()

    def restore_generators(self, state: dict[str, Any]) -> None:
        """Restore the global generators of this process."""
        GlobalGenerators.of_state_dict(state).restore()

    def close(self) -> None:
        self.envs.close()

    def abandon_episodes(self) -> None:
        if self._observation is None:
            return
        self.exploration.step(0, torch.ones(self.envs.num_envs, dtype=torch.bool))
        self.statistics.abandon()
        self._carried.begin()
        if self._reward is not None:
            self._reward.abandon()
        self.envs.start_at([episode + 1 for episode in self.envs.episode.tolist()])
        self._observation = None

    def state_dict(self) -> dict[str, Any]:
        """Exploration, the running episodes and their statistics, and the generators of noisy layers."""
        return {
            "exploration": self.exploration.state_dict(),
            "episode": self.envs.episode.tolist(),
            "running": None if self._observation is None else self._running(self._observation),
            "noise": [layer.stream.generator.get_state() for layer in self._noisy],
            "statistics": self.statistics.state_dict(),
            "reward": None if self._reward is None else self._reward.state_dict(),
            "carried": self._carried.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.exploration.load_state_dict(state["exploration"])
        for layer, noise in zip(self._noisy, state["noise"], strict=True):
            layer.stream.generator.set_state(noise.cpu())
        self.statistics.load_state_dict(state["statistics"])
        if self._reward is not None and state["reward"] is not None:
            self._reward.load_state_dict(state["reward"])
        self._carried.load_state_dict(state.get("carried", {}))
        self.envs.start_at(state["episode"])
        self._observation = None

    def resume_episodes(self, running: dict[str, Any] | None) -> bool:
        if running is None:
            return True
        played = {**running["played"], "actions": running["played"]["actions"].numpy()}
        found = self.envs.replay(played)
        if found is not None:
            start, returns = found
            self._observation = start.observation
            self._mask = None if start.mask is None else torch.from_numpy(self._action_space.legal(start.mask))
            if self._looks_like(running) and np.array_equal(returns, self.statistics.running_return):
                return True
        self.envs.start_at(played["episode"])
        self._observation = {}
        self.abandon_episodes()
        return False

    def _running(self, observation: Observation) -> dict[str, Any]:
        played = self.envs.played()
        return {
            "played": {**played, "actions": torch.from_numpy(played["actions"])},
            "digest": _digest(_entries(observation), self._mask),
        }

    def _looks_like(self, running: dict[str, Any]) -> bool:
        assert self._observation is not None
        saved = running["digest"] if "digest" in running else _digest(running["observation"], running["mask"])
        return _digest(_entries(self._observation), self._mask) == saved


def _entries(observation: Observation, name: str = "") -> dict[str, Tensor]:
    """The arrays of a nested observation, by path."""
    if isinstance(observation, np.ndarray):
        return {name: torch.from_numpy(observation)}
    return {path: leaf for key, entry in observation.items() for path, leaf in _entries(entry, f"{name}/{key}").items()}


def _digest(entries: Mapping[str, Tensor], mask: Tensor | None) -> str:
    """A digest of observations and of their masks, every bit of them: in a state it takes less room than they do."""
    digest = blake2b(digest_size=16)
    for name, leaf in sorted({**entries, "mask": torch.empty(0) if mask is None else mask}.items()):
        digest.update(f"{name} {leaf.dtype} {[*leaf.shape]} ".encode() + leaf.numpy().tobytes())
    return digest.hexdigest()
