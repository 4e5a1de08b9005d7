"""An actor: a collector over a share of a run's environments, in a process of its own, on any machine."""

import pickle
import platform
import sys
from typing import Any, NamedTuple

import numpy as np
import tensordict
import torch
from numpy.typing import NDArray
from tensordict import TensorDict

import qframe
from qframe.actions import ActionSpace
from qframe.envs import Envs, derive_seed
from qframe.exploration import Exploration
from qframe.exploration.share import ExplorationShare
from qframe.machine.generators import GlobalGenerators, seed_globally
from qframe.networks.protocol import Network
from qframe.training.collector import Collector
from qframe.training.observation_codec import Rows, Sender
from qframe.training.reward import RewardTransform


class ActorParts(NamedTuple):
    """What an actor is made of; it is pickled, as environments that run cannot be."""

    envs: Envs
    network: Network
    exploration: Exploration  # of all environments
    action_space: ActionSpace
    reward: RewardTransform  # of this share
    seed: int  # of the training environments
    first: int  # environment of this share
    num_envs: int  # in this share
    stores_probability: bool
    stores_state: bool
    stores_value: bool


class Actor:
    """Answers calls in their order. The learner's process keeps the state after every message, so it may die any time.

    Args:
        paths: of modules in the learner's process, which are searched here after this machine's own.
    """

    def __init__(self, paths: list[str]) -> None:
        sys.path += [path for path in paths if path not in sys.path]

    def versions(self) -> dict[str, str]:
        """The versions that must be the same on every machine."""
        return versions()

    def begin(self, pickled: bytes) -> dict[str, bool]:
        """Make the collector of some pickled ``ActorParts``, and report what its environments can do."""
        torch.set_num_threads(1)
        parts: ActorParts = pickle.loads(pickled)
        seed_globally(derive_seed(parts.seed, "actor", parts.first))
        return self.make(parts)

    def make(self, parts: ActorParts) -> dict[str, bool]:
        """Make the collector of parts that nothing else uses."""
        total, parts.envs.num_envs = parts.envs.num_envs, parts.num_envs
        episodes = parts.envs.make(parts.seed)
        episodes.number_from(parts.first)
        self._collector = Collector(
            episodes, parts.network,
            exploration=ExplorationShare(parts.exploration, parts.first, parts.num_envs, total),
            action_space=parts.action_space, reward=parts.reward, device=torch.device("cpu"),
            stores_probability=parts.stores_probability, stores_state=parts.stores_state,
            stores_value=parts.stores_value,
        )  # fmt: skip
        self._collector.leave_statistics()
        self._stores_value = self._collector.leaves_best_values = parts.stores_value
        self._own = [tensor.numpy() for tensor in published_tensors(parts.network)]  # views
        self._num_envs, self._first, self._sender = parts.num_envs, parts.first, Sender()
        self._untouched = GlobalGenerators.capture(with_gpus=False)
        return {"has_episode_seeds": episodes.has_episode_seeds, "can_resume": self._collector.can_resume()}

    def load(self, state: dict[str, Any], last: Rows) -> bool:
        """Resume from a state; whether the replayed episodes are the same. Otherwise new ones begin.

        Args:
            state: after the last message.
            last: of a receiver of all messages up to that one.
        """
        self._sender = Sender(last)
        self._collector.load_state_dict(state)
        if state["generators"] is not None:
            self._collector.restore_generators(state["generators"])
        return self._collector.resume_episodes(state["running"])

    def collect(self, version: list[NDArray[Any]], steps: int) -> dict[str, Any]:
        """Take steps with a version of the network; a message of them, and of the state after them.

        The state has only the actions of these steps, as the learner's process has those before.
        """
        for own, published in zip(self._own, version, strict=True):
            np.copyto(own, published)
        collected = [self._collector.collect() for _ in range(steps)]
        taken: list[dict[Any, Any]] = [dict(step.items(True, True)) for step in collected]
        rows = {key: np.concatenate([step[key].numpy() for step in taken]) for key in taken[0]}
        if self._stores_value:
            following = TensorDict.cat([step["next"] for step in collected])
            best = self._collector.best_value(following["observation"], following.get("action_mask"))
            rows["next", "state_value"] = best.numpy()
        sizes = [len(step["env"]) for step in taken]
        rows["env"] += self._first
        finished = self._collector.take_episodes()
        return {
            "sizes": sizes,
            "finished": list(finished),
            **self._sender.pack(rows, self._num_envs),
            **self.state(steps),
        }

    def close(self) -> None:
        """Close the environments."""
        self._collector.close()

    def abandon(self) -> dict[str, Any]:
        """Abandon the running episodes; the state afterwards."""
        self._collector.abandon_episodes()
        return self.state(0)

    def state(self, steps: int) -> dict[str, Any]:
        """The state, with the actions of the last steps alone, and what the learner's process reports of this actor."""
        collector, state = self._collector, None
        if (can_resume := collector.can_resume()) or not steps:
            state = collector.state_dict() | {
                "generators": collector.generators() if self._untouched.drawn_since() else None
            }
        if state is not None and (running := state["running"]) is not None:
            actions = running["played"]["actions"]
            running["played"]["actions"] = actions[max(0, len(actions) - steps) :].clone()
        return {
            "state": state,
            "can_resume": can_resume,
            "metrics": collector.exploration_metrics(),
            "faults": collector.faults(),
        }


def published_tensors(network: Any) -> list[torch.Tensor]:
    """The tensors of a network that the learner changes, in an order that is the same in every copy."""
    return [tensor.detach() for tensor in (*network.parameters(), *network.buffers())]


def versions() -> dict[str, str]:
    """The versions of this process that an actor must share with the learner."""
    return {
        "qframe": qframe.__version__, "Python": platform.python_version(), "torch": str(torch.__version__),
        "tensordict": str(tensordict.__version__), "NumPy": np.__version__,
    }  # fmt: skip
