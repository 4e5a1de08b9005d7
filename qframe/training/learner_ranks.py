"""Learning in several processes: each takes the same step, down the mean of the gradients of all their batches."""

import hashlib
import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from qframe.compiled import CompiledLoss
from qframe.compiled.update import compiled
from qframe.errors import RunError
from qframe.machine.ranks import Ranks
from qframe.training.learner import Learner
from qframe.training.signals import SharedSignals


class ParallelLearner(Learner):
    """One of W learners, each a process with its own environments and replay, that equal one learner of all of these.

    A batch of B transitions is W batches of B/W, one from each replay. Between backward pass and clipping the vector of
    the gradient is averaged over the processes, so that all of them take the same step. Quantile levels are drawn for
    the whole batch and divided; the noise of noisy layers is the same everywhere, as it is within one batch.
    Importance weights and the largest priority are those of the whole batch. With ``compiled`` the loss and its
    gradient are native code, or a CUDA graph; the step that follows the exchange is not.

    Args:
        workers: W.
        backend: of ``torch.distributed``: ``gloo`` on CPUs, ``nccl`` on GPUs; ``auto`` picks by the device.
        timeout: seconds after which a process that does not answer ends the run.
        force: whether to learn in parallel even if the exchange costs more time than it saves.
        ranks: the processes, joined; None learns alone.
        **options: as :class:`Learner` takes them.

    Raises:
        ValueError: a number out of range, or priorities that know of no other share.
    """

    def __init__(
        self,
        *arguments: Any,
        workers: int,
        backend: Literal["auto", "gloo", "nccl"] = "auto",
        timeout: float = 60.0,
        force: bool = False,
        ranks: Ranks | None = None,
        **options: Any,
    ) -> None:
        check_workers(workers, timeout)
        ranks = None if ranks is None or ranks.size == 1 else ranks
        way = False if ranks is None else options.pop("compiled", False)
        super().__init__(*arguments, **options)
        self.workers, self.backend, self.timeout, self.force = workers, backend, timeout, force
        self._ranks = ranks
        self._half: CompiledLoss | None = None
        if ranks is None:
            return
        if way:
            self._half = self._evaluate = CompiledLoss(self.loss, is_captured=way == "cuda_graph")
        self.optimizer.reduce = self._reduce
        self.loss.share, self.loss.over_shares = ranks.share, ranks.mean
        priorities: Any = self.replay.priorities
        if priorities is not None:
            if not hasattr(priorities, "over_ranks"):
                raise ValueError(
                    f"{type(priorities).__name__} has no attribute over_ranks, by which the weights of all processes "
                    "have one scale; subclass qframe.replay.ProportionalPriorities, or use priorities=none"
                )
            priorities.over_ranks = ranks.largest

    def prepare(self) -> None:
        """Wait with the first draw until all processes make it."""

    def wait(self, say: Callable[[str], None]) -> float:
        """Compile, on rank 0 first: the others find its code, unless they are on other machines."""
        if self._half is None or self._ranks is None:
            return super().wait(say)
        started, state = time.monotonic(), self.loss.generator.get_state()
        with self.replay.unchanged():
            batch = self._sample()
        if not self._ranks.is_first:
            self._ranks.from_first()
        with torch.autocast(self._device.type, self._autocast, enabled=self._autocast is not None):
            function, _ = self._half.begin(batch)
            if function.is_compiling:
                say("compiling the loss, which takes about twenty seconds; later runs reuse it")
            compiled(function.wait)
        self.loss.generator.set_state(state)
        if self._ranks.is_first:
            self._ranks.from_first()
        self._ranks.gather(None, waits=True)
        return time.monotonic() - started

    def _reduce(self, gradient: Tensor, loss: Tensor) -> None:
        """Average the gradient; a loss that is not finite makes it so everywhere, and all leave the update out."""
        assert self._ranks is not None
        self._ranks.mean(gradient.add_(loss.detach() * 0.0))

    def _transitions(self, number: int) -> TensorDictBase:
        if self._ranks is None:
            return super()._transitions(number)
        own = super()._transitions(number // self._ranks.size)
        return TensorDict.cat([part.to(self._device) for part in self._ranks.gather(own.cpu())])

    def state_dict(self) -> dict[str, Any]:
        """As the base class; the sums of metrics become those of all ranks, from which each resumes.

        Raises:
            RunError: the processes have different networks.
        """
        if self._ranks is not None:
            assert self.optimizer.flat is not None
            own = hashlib.blake2b(self.optimizer.flat.vector.cpu().numpy().tobytes()).hexdigest()
            if len(set(self._ranks.gather(own))) > 1:
                raise RunError(
                    "the networks of the learners differ, as on processors of different kinds; use equal machines"
                )
            self._sums = {name: self._ranks.mean(total.clone()) for name, total in self._sums.items()}
        return super().state_dict()


def check_workers(workers: int, timeout: float) -> None:
    """Check the numbers of a ``ParallelLearner``.

    Raises:
        ValueError: one is out of range.
    """
    if workers < 1:
        raise ValueError(f"expected workers of at least 1, got {workers}")
    if not 0 < timeout < float("inf"):
        raise ValueError(f"expected timeout above 0 seconds, got {timeout}")


class Union:
    """The rewards and ends of the last step of all environments, from all processes.

    Args:
        ranks: the processes.
        num_envs: environments of each.
        signals: of this process, which are exchanged as well.
    """

    def __init__(self, ranks: Ranks, num_envs: int, signals: SharedSignals) -> None:
        self._ranks, self._num_envs, self._room, self._signals = ranks, num_envs, num_envs, signals

    def __call__(self, transitions: TensorDict) -> TensorDict:
        """Exchange them.

        Args:
            transitions: of this process ``[k]``.

        Returns:
            "env", numbered over all processes, and under "next" the "reward", "done" and "truncated", ``[K]``.
        """
        following, count = transitions["next"], len(transitions)
        columns = torch.stack(
            [
                transitions["env"].double() + self._ranks.rank * self._num_envs,
                *(following[key].flatten().double() for key in ("reward", "done", "truncated")),
            ]
        )  # [4, k]
        while True:
            own = torch.zeros(2 + 4 * self._room, dtype=torch.float64)
            own[0], own[1] = self._signals.own, count
            if count <= self._room:
                own[2 : 2 + 4 * count] = columns.flatten()
            rows = self._ranks.rows(own)
            counts = rows[:, 1].int().tolist()
            if max(counts) <= self._room:
                break
            self._room = max(counts)
        self._signals.agree(rows[:, 0].int().tolist())
        parts = [row[2 : 2 + 4 * k].view(4, k) for row, k in zip(rows, counts, strict=True)]
        env, reward, done, truncated = torch.cat(parts, 1)
        shape = [len(env)]
        ends = {"done": done.bool().unsqueeze(-1), "truncated": truncated.bool().unsqueeze(-1)}
        seen = {"reward": reward.to(following["reward"].dtype).unsqueeze(-1), **ends}
        return TensorDict({"env": env.long(), "next": TensorDict(seen, shape)}, shape)


SUMMED = ("replay/", "env/")
"""Metrics that are summed over processes; of others the mean is logged."""


def merged(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """The metrics of all processes as one.

    >>> merged([{"loss/loss": 1.0, "replay/size": 10}, {"loss/loss": 3.0, "replay/size": 11}])
    {'loss/loss': 2.0, 'replay/size': 21}
    """
    names = {name: None for each in metrics for name in each}
    found = {name: [each[name] for each in metrics if name in each] for name in names}
    return {
        name: sum(values) if name.startswith(SUMMED) else
        values[0] if len(set(values)) == 1 else sum(values) / len(values)
        for name, values in found.items()
    }  # fmt: skip
