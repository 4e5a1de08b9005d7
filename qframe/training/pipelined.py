"""Acting and learning at once: environments step in a worker while the learner updates."""

from collections import deque
from copy import deepcopy
from typing import Any, cast

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from qframe.actions.action_space import ActionSpace
from qframe.envs import Episodes
from qframe.exploration import Exploration
from qframe.networks.normalization import NormalizedTrunk
from qframe.networks.protocol import Network
from qframe.training.collector import Collector
from qframe.training.return_range import ReturnRange
from qframe.training.reward import RewardTransform
from qframe.training.worker import Rows, Worker, rows_of


class PipelinedCollector:
    """A collector in a worker, one step ahead of the learner and in lockstep with it.

    ``collect`` hands over the step that the worker took meanwhile, gives it the network as it is now, and lets it take
    the next one. So the actions of a step come from the network of one step before, always; equal seeds give equal
    runs. Until the first step everything happens in this process, so that a state can be loaded; then the worker is a
    process of its own, or a thread where a new process could not step the environments.

    Args:
        envs: the training environments.
        network: gives action values.
        exploration: turns greedy actions into behaviour.
        action_space: turns indices into what the environments take.
        reward: what becomes of rewards before they are stored; None: nothing.
        returns: keeps the range of discounted returns, for heads that cannot express any; None: nobody asks.
        device: where the network is; the worker acts on the CPU.
        stores_probability: whether each action's probability under the behaviour policy is stored with it.

    Raises:
        ValueError: exploration that does not know the probability that is to be stored.
    """

    steps_ahead = 1
    """Steps that the worker is asked for before the first is handed over."""

    def __init__(
        self,
        envs: Episodes,
        network: Network,
        *,
        exploration: Exploration,
        action_space: ActionSpace,
        reward: RewardTransform | None = None,
        returns: ReturnRange | None = None,
        device: torch.device,
        stores_probability: bool = False,
    ) -> None:
        acting = deepcopy(cast(nn.Module, network)).cpu().requires_grad_(False)
        self._inner = Collector(
            envs, cast(Network, acting), exploration=exploration, action_space=action_space, reward=reward,
            returns=returns, device=torch.device("cpu"), stores_probability=stores_probability,
        )  # fmt: skip
        self.envs, self.device = envs, device
        self._seen, self._own = _tensors(cast(nn.Module, network))
        self._acting_seen, self._acting_own = _tensors(acting)
        for tensor in (*self._acting_seen, *self._acting_own):
            tensor.share_memory_()
        self._worker: Worker | None = None
        self._asked = 0
        self._begins_with: list[Tensor] | None = None  # what acting counted of observations, of a loaded state
        self._arrived: deque[Rows] = deque()

    def collect(self) -> TensorDict:
        """The next step of every environment, as the transitions ``[k]`` of those that really stepped."""
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

    @property
    def exploration(self) -> Any:
        """What exploration tells of itself; the worker's."""
        return self._inner.exploration if self._worker is None else _Told(metrics=self._call("metrics"))

    @property
    def statistics(self) -> Any:
        """The episodes that ended; the worker's."""
        return self._inner.statistics if self._worker is None else _Told(take=lambda: self._call("take_statistics"))

    @property
    def returns(self) -> Any:
        """The range of returns; the worker's. None where nobody asks."""
        if self._inner.returns is None or self._worker is None:
            return self._inner.returns
        return _Told(warning=lambda: self._call("returns_warning"))

    def state_dict(self) -> dict[str, Any]:
        """The collector's state after the steps that were asked for, and those of them not handed over."""
        state = self._inner.state_dict() if self._worker is None else self._call("state_dict")
        counted = self._begins_with or self._own if self._worker is None else self._acting_own
        own = [tensor.clone() for tensor in counted]
        return state | {"arrived": [dict(rows) for rows in self._arrived], "acting": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; before the first step.

        Raises:
            RuntimeError: a step was taken.
        """
        if self._worker is not None:
            raise RuntimeError("expected a state before the first step, got one later; build the collector anew")
        self._arrived = deque(state.get("arrived", []))
        self._begins_with = state.get("acting")
        self._inner.load_state_dict(state)

    def abandon_episodes(self) -> None:
        """Leave the running episodes: the steps that were not handed over are their last ones."""
        if self._worker is None:
            self._inner.abandon_episodes()
        else:
            self._call("abandon_episodes")
        self._cut_off()

    def resume_episodes(self, running: dict[str, Any] | None) -> bool:
        """Play the running episodes again; before the first step. See ``Collector.resume_episodes``."""
        is_same = self._inner.resume_episodes(running)
        if not is_same:
            self._cut_off()
        return is_same

    def _cut_off(self) -> None:
        """The last steps that arrived are truncated."""
        for rows in list(self._arrived)[-1:]:
            rows["next", "truncated"] = ~rows["next", "terminated"]
            rows["next", "done"] = torch.ones_like(rows["next", "done"])

    def __getattr__(self, name: str) -> Any:
        """What else a collector does, as the collector itself before the first step, and then in the worker."""
        if name.startswith("_"):
            raise AttributeError(name)
        inner = getattr(self._inner, name)
        if self._worker is None or not callable(inner):
            return inner
        return lambda *arguments: self._call(name, *arguments)

    def close(self) -> None:
        """End the worker and close the environments."""
        if self._worker is not None:
            self._worker.close()
        self.envs.close()

    def _begin(self) -> None:
        """Start the worker, with the network as it is."""
        with torch.no_grad():
            _copy(self._acting_own, self._own if self._begins_with is None else self._begins_with)
        self._publish(begins=True)
        self._worker = Worker(self._inner)
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

    def _call(self, name: str, *arguments: Any) -> Any:
        """What a method of the worker's collector returns, when the steps that were asked for are taken."""
        assert self._worker is not None
        while self._asked:
            self._receive()
        self._worker.send(name, *arguments)
        return self._worker.receive()

    @torch.no_grad()
    def _publish(self, *, begins: bool = False) -> None:
        """Give the worker the network as it is, and take over what it counted of observations."""
        if not begins:
            _copy(self._own, self._acting_own)
        _copy(self._acting_seen, self._seen)


class AsyncCollector(PipelinedCollector):
    """A collector in a worker that runs freely, some steps ahead of the learner.

    It acts with whatever the network is at that moment, so that no two runs are equal; updates per frame are kept.
    """

    steps_ahead = 8


class _Told:
    """Attributes that were asked of a worker."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def _tensors(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """What the learner changes of a network, and what acting does: statistics of observations."""
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
