"""Learning: one update samples, takes a gradient step, moves the target network and sets new priorities."""

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from qframe.actions.action_space import ActionSpace
from qframe.compiled.signature import Rows
from qframe.compiled.update import CompiledUpdate, NotCompiled, TargetUpdater, autocast_type
from qframe.networks.protocol import TrainedNetwork
from qframe.objectives import DQNLoss
from qframe.optimizer.nonfinite import Diverged, SkippedUpdates, diverged, without_skipped
from qframe.optimizer.optimizer import Optimizer
from qframe.replay import Replay
from qframe.training.support import Support

_LARGEST_ROUND = 8  # most updates in one graph: each makes compiling take longer


class Learner:
    """Updates the network from the replay.

    Args:
        loss: the loss, which holds the networks.
        replay: gives the transitions and takes their priorities.
        optimizer: takes the gradient step.
        target_update: moves the target network.
        action_space: turns stored indices into the layout that the loss documents.
        device: of the network.
        compiled: whether updates run as native code, compiled while the environments warm up, or as a CUDA graph.
        autocast: whether matrix products and convolutions are computed in bfloat16.
        may_fall_back: whether updates run uncompiled, with a warning, if they cannot be compiled.
        updates: updates in a round; one compiled graph holds the round, or a part of a long one, if the replay has no
            priorities.

    Raises:
        ValueError: an optimizer or a device that compiled updates do not support.
    """

    def __init__(
        self,
        loss: DQNLoss,
        replay: Replay,
        *,
        optimizer: Optimizer,
        target_update: TargetUpdater,
        action_space: ActionSpace,
        device: torch.device,
        compiled: bool | Literal["cuda_graph"] = False,
        may_fall_back: bool = False,
        autocast: bool = False,
        updates: int = 1,
    ) -> None:
        self.loss, self.replay, self.optimizer = loss, replay, optimizer
        self.support = None if loss.head.expressible is None else Support(loss)
        self.notes: list[str] = []
        """Lines that the runner has not printed yet."""
        loss.checks_actions = False  # the collector stores no action outside the space
        loss.has_target_update = True  # also one of the user's own class
        self._autocast = autocast_type(device) if autocast else None
        options = {"autocast": self._autocast, "is_captured": compiled == "cuda_graph"}
        self.compiled = CompiledUpdate(loss, optimizer, target_update, **options) if compiled else None
        holds_rounds = self.compiled is not None and self.compiled.holds_rounds and replay.priorities is None
        self._round = next(k for k in range(_LARGEST_ROUND, 0, -1) if updates % k == 0) if holds_rounds else 1
        self._target_update, self._action_space, self._device = target_update, action_space, device
        self._may_fall_back = may_fall_back
        self._evaluate: Callable[[TensorDict], Any] = loss
        self.updates = self._summed = 0
        self.batch_shape: torch.Size | None = None
        self._sums: dict[str, Tensor] = {}
        self._batch: TensorDict | None = None
        self.skipped = SkippedUpdates()

    @property
    def network(self) -> TrainedNetwork:
        """The online network."""
        network: Any = self.loss.value_network
        assert hasattr(network, "head"), f"{type(network).__name__} has no head to evaluate"
        return network

    def prepare(self) -> None:
        """Start compiling once the replay can give a batch; nothing else changes."""
        if self.compiled is None or self.compiled.has_begun:
            return
        state = self.loss.generator.get_state()
        try:
            with self.replay.unchanged():
                batches, stored = self._draw(self._round)
                self.compiled.begin(batches, self._round, stored)
        except NotCompiled as error:
            self._fall_back(error)
        except RuntimeError:  # nothing to sample yet
            return
        finally:
            self.loss.generator.set_state(state)

    def wait(self, say: Callable[[str], None]) -> float:
        """Wait until the update is compiled, if it is to be; ``say`` prints notes if that takes time.

        Returns:
            The seconds waited.
        """
        self.prepare()
        try:
            return 0.0 if self.compiled is None else self.compiled.wait(say)
        except NotCompiled as error:
            self._fall_back(error)
            return 0.0

    def _fall_back(self, error: NotCompiled) -> None:
        if not self._may_fall_back:
            raise error
        reason = str(error).removesuffix("; set compile=false")
        warnings.warn(f"{reason}; updates run uncompiled, which is slower", stacklevel=2)
        self.compiled, self._round = None, 1

    def _transitions(self, number: int) -> TensorDictBase:
        """About this many transitions, which later updates draw as if they had not been drawn."""
        with self.replay.unchanged():
            batches = [self.replay.sample()]
            while sum(batch.numel() for batch in batches) < number and len(batches) < 32:
                batches.append(self.replay.sample())
        return TensorDict.cat(batches).to(self._device)

    def learn(self, owed: int) -> int:
        """Take one update, or a round of them if one graph holds a round and that many are owed.

        Returns:
            The number of updates taken.
        """
        if self.support is not None and (note := self.support.fit(self._transitions)) is not None:
            self.notes.append(note)
        if self.compiled is not None and self.compiled.is_uncompiled:  # it has warned of the reason
            self.compiled, self._round = None, 1
        if self.compiled is None or not owed >= self._round > 1:
            self.update()
            return 1
        self.prepare()
        batches, stored = self._draw(self._round)
        self._add(self.compiled(batches, self._round, stored)[0], self._round)
        self.batch_shape = torch.Size((len(batches) // self._round, *batches.batch_size[1:]))
        return self._round

    def update(self) -> None:
        """One gradient step. Metrics stay tensors: nothing here waits for the device."""
        if self.compiled is None:
            batch = self._sample()
            with torch.autocast(self._device.type, self._autocast, enabled=self._autocast is not None):
                metrics = dict(self._evaluate(batch).items())
            norm = self.optimizer.minimize(metrics["loss"])
            self._target_update.step()
            metrics |= {} if norm is None else {"grad_norm": norm}
            metrics = without_skipped(metrics) if self.optimizer.skips else metrics
            priority = batch.get(self.loss.priority_key)
        else:
            self.prepare()
            batch, stored = self._draw(1)
            metrics, priority = self.compiled(batch, 1, stored)
        self._add(metrics, 1)
        self.batch_shape = batch.batch_size
        if self.optimizer.skips and self.replay.priorities is not None and not priority.isfinite().all():
            return  # these rows keep their priorities
        try:
            self.replay.update_priority(batch.get("index"), priority)
        except ValueError as error:
            raise Diverged(f"training diverged after {self.updates:,} updates: {error}; lower optimizer.lr") from error

    def _draw(self, batches: int) -> tuple[TensorDict, Rows]:
        """Batches one after another, and rows ``[capacity, …]`` from which a compiled update reads the rest."""
        reads_rows = self.compiled is not None and self.compiled.reads_rows and self.replay.device == self._device
        stored = self.replay.stored if reads_rows else None
        if stored is None:
            return self._sample(batches), {}
        index, more = self.replay.draw(batches=batches)
        action = self._action_space.decode(stored["action"].index_select(0, index))
        rows = TensorDict({"index": index, "action": action, **more}, index.shape)
        return rows, {key: leaf for key, leaf in stored.items() if key != "action"}

    def _sample(self, batches: int = 1) -> TensorDict:
        """Batches one after another, actions in the layout that the loss documents, after the predictions they need."""
        if (rows := self.replay.unpredicted) is not None:
            with torch.autocast(self._device.type, self._autocast, enabled=self._autocast is not None):
                self.replay.write_prediction(self.loss.predict_next(rows.to(self._device)))
        if batches > 1:
            batch = self.replay.sample(batches=batches)
        else:
            batch = self._batch = self.replay.sample(reuse=self._batch)
        batch = batch.copy() if self.replay.device == self._device else batch.to(self._device, non_blocking=True)
        return batch.set("action", self._action_space.decode(batch.get("action")))

    def _add(self, sums: dict[str, Tensor], updates: int) -> None:
        """Add the metrics of updates to those of the next log."""
        added = list(map(Tensor.detach, sums.values()))
        if self._sums.keys() == sums.keys():  # the usual case, in one call
            earlier = list(map(self._sums.__getitem__, sums))
            added = torch._foreach_add(earlier, added)  # pyright: ignore[reportPrivateImportUsage]
            self._sums = dict(zip(sums, added, strict=True))
        else:
            for name, value in zip(sums, added, strict=True):
                self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._summed += updates
        self.updates += updates

    def anneal(self, fraction: float) -> None:
        """Set the learning rate and the importance exponent for this fraction of the run; called after every step."""
        if self.compiled is not None:
            self.prepare()
        self.optimizer.anneal(fraction)
        self.replay.anneal(fraction)

    def take_metrics(self) -> dict[str, float]:
        """The mean metrics, under ``loss/``, of the updates since the last call that were not skipped.

        Raises:
            Diverged: the loss or the gradient is not finite.
        """
        taken = self._summed - self.skipped.take(self._sums, of=self._summed, updates=self.updates)
        means = {f"loss/{name}": float(total) / taken for name, total in self._sums.items() if taken}
        self._sums, self._summed = {}, 0
        means |= self._memory_metrics() if taken else {}
        for name, quantity in (("loss/loss", "loss"), ("loss/grad_norm", "gradient")):
            if not math.isfinite(means.get(name, 0.0)):
                raise diverged(self.updates, f"the {quantity} is {means[name]}")
        return means

    def _memory_metrics(self) -> dict[str, float]:
        """How the network's memory, if any, does on a batch of the replay."""
        if not self.loss.has_memory:
            return {}
        with self.replay.unchanged():
            batch = self.replay.sample().to(self._device)
        return {f"memory/{name}": float(value) for name, value in self.loss.memory_metrics(batch).items()}

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizer, counters, the generator that draws quantile levels, and the sums of metrics."""
        return {
            "loss": self.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "target_update": self._target_update.state_dict(),
            "updates": self.updates,
            "generator": self.loss.generator.get_state(),
            "sums": dict(self._sums),
            "summed": self._summed,
            "skipped": self.skipped.state_dict(),
            "support": None if self.support is None else self.support.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self.loss.load_state_dict(state["loss"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._target_update.load_state_dict(state["target_update"])
        self.updates, self._summed = state["updates"], state["summed"]
        self.loss.generator.set_state(state["generator"].cpu())
        self._sums = {name: total.to(self._device) for name, total in state["sums"].items()}
        self.skipped.load_state_dict(state.get("skipped", {}))
        if self.support is not None and (support := state.get("support")) is not None:
            self.support.load_state_dict(support)
