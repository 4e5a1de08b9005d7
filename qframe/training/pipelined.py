"""Acting and learning at the same time: environments step in a worker while the learner updates."""

from collections import deque
from copy import deepcopy
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from qframe.actions.action_space import ActionSpace
from qframe.envs import Episodes
from qframe.exploration import Exploration
from qframe.networks.normalization import NormalizedTrunk
from qframe.networks.protocol import Network
from qframe.training.collector import Collector
from qframe.training.episode_statistics import Finished
from qframe.training.protocol import CollectorProtocol
from qframe.training.reward import RewardTransform
from qframe.training.worker import Rows, Worker, rows_of


class PipelinedCollector(CollectorProtocol):
    """A collector in a worker, one step ahead of the learner and in lockstep with it.

    ``collect`` returns the step that the worker took meanwhile, gives it the current network, and has it take the next
    one. The actions of a step thus always come from the network of one step before, and equal seeds give equal runs.
    Until the first step everything happens in this process, so that a state can be loaded. The worker is a process, or
    a thread if the environments cannot be stepped in a new process.

    The arguments are those of :class:`Collector`; the worker acts on the CPU, whatever the network's ``device``.
    """

    steps_ahead = 1
    """Steps that the worker may be ahead of the learner."""

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
        assert isinstance(network, nn.Module)
        acting = deepcopy(network).cpu().requires_grad_(False)
        self._inner = Collector(
            envs, acting, exploration=exploration, action_space=action_space, reward=reward,
            device=torch.device("cpu"), stores_probability=stores_probability, stores_state=stores_state,
            stores_value=stores_value,
        )  # fmt: skip
        self.envs, self.device = envs, device
        self._seen, self._own = _tensors(network)
        self._acting_seen, self._acting_own = _tensors(acting)
        for tensor in (*self._acting_seen, *self._acting_own):
            tensor.share_memory_()
        self._worker: Worker | None = None
        self._asked = 0
        self._statistics: list[Tensor] | None = None  # of observations, in a state that was loaded
        self._arrived: deque[Rows] = deque()
        self._generators: dict[str, Any] | None = None  # of the worker's process, in a state that was loaded

    def collect(self) -> TensorDict:
        if self._worker is None:
            self._begin()
        assert self._worker is not None
        if not self._arrived:
            self._receive()
        rows = self._arrived.popleft()
        self._publish()
        while self._asked + len(self._arrived) < self.steps_ahead:
            self._ask_for_step()
        return TensorDict(rows, batch_size=[len(rows["env"])])

    def take_episodes(self) -> Finished:
        return self._call("take_episodes")

    def exploration_metrics(self) -> dict[str, float]:
        return self._call("exploration_metrics")

    def faults(self) -> dict[str, int]:
        return self._call("faults")

    def can_resume(self) -> bool:
        return self._inner.can_resume()

    def state_dict(self) -> dict[str, Any]:
        """The collector's state after all requested steps, and the steps that are not yet returned."""
        state = self._call("state_dict")
        counted = self._statistics or self._own if self._worker is None else self._acting_own
        own = [tensor.clone() for tensor in counted]
        is_process = self._worker is not None and self._worker.is_process
        generators = self._call("generators") if is_process else self._generators
        arrived = [dict(rows) for rows in self._arrived]
        return state | {"arrived": arrived, "acting": own, "generators": generators}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``.

        Raises:
            RuntimeError: a step has already been taken.
        """
        if self._worker is not None:
            raise RuntimeError("a state can only be loaded before the first step; build a new collector")
        self._arrived = deque(state.get("arrived", []))
        self._statistics, self._generators = state.get("acting"), state.get("generators")
        self._inner.load_state_dict(state)

    def abandon_episodes(self) -> None:
        """Abandon the running episodes; the steps not yet returned are their last ones."""
        self._call("abandon_episodes")
        self._truncate()

    def resume_episodes(self, running: dict[str, Any] | None) -> bool:
        is_same = self._inner.resume_episodes(running)
        if not is_same:
            self._truncate()
        return is_same

    def _truncate(self) -> None:
        """Mark the last step that has arrived as truncated."""
        for rows in list(self._arrived)[-1:]:
            rows["next", "truncated"] = ~rows["next", "terminated"]
            rows["next", "done"] = torch.ones_like(rows["next", "done"])

    def close(self) -> None:
        """End the worker and close the environments."""
        if self._worker is not None:
            self._worker.close()
        self.envs.close()

    def _begin(self) -> None:
        """Start the worker with the current network."""
        with torch.no_grad():
            _copy(self._acting_own, self._own if self._statistics is None else self._statistics)
        self._publish(begins=True)
        self._worker = Worker(self._inner)
        if self._generators is not None and self._worker.is_process:
            self._call("restore_generators", self._generators)
        while self._asked + len(self._arrived) < self.steps_ahead:
            self._ask_for_step()

    def _ask_for_step(self) -> None:
        assert self._worker is not None
        self._worker.send("collect")
        self._asked += 1

    def _receive(self) -> None:
        assert self._worker is not None
        self._asked -= 1
        self._arrived.append(rows_of(self._worker.receive()))

    def _call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the collector, in the worker once it has begun and has taken the requested steps."""
        if self._worker is None:
            return getattr(self._inner, method)(*arguments)
        while self._asked:
            self._receive()
        self._worker.send(method, *arguments)
        return self._worker.receive()

    @torch.no_grad()
    def _publish(self, *, begins: bool = False) -> None:
        """Give the worker the current network, and take over its statistics of observations."""
        if not begins:
            _copy(self._own, self._acting_own)
        _copy(self._acting_seen, self._seen)


class AsyncCollector(PipelinedCollector):
    """A collector in a worker that runs freely, up to eight steps ahead of the learner.

    It acts with the latest network, so no two runs are equal; the ratio of updates to frames is kept.
    """

    steps_ahead = 8


def _tensors(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors of a network that the learner changes, and those that acting changes: statistics of observations."""
    own = [
        buffer
        for part in network.modules()
        if isinstance(part, NormalizedTrunk)
        for buffer in part.norms.buffers()
    ]  # fmt: skip
    known = {id(buffer) for buffer in own}
    return [t for t in (*network.parameters(), *network.buffers()) if id(t) not in known], own


def _copy(to: list[Tensor], of: list[Tensor]) -> None:
    if to:
        torch._foreach_copy_(to, of)  # pyright: ignore[reportPrivateImportUsage]
