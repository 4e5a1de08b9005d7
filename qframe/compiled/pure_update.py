"""A round of updates as one pure function: loss, gradient, clip, optimizer step, and the move of the target network."""

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.compiled.signature import Rows
from qframe.objectives import DQNLoss
from qframe.objectives.q_learning import Noise
from qframe.optimizer.flat_vector import FlatVector
from qframe.optimizer.nonfinite import is_sound, without_skipped
from qframe.optimizer.pure_steps import State, clip


class PureUpdate:
    """Updates as a function that draws nothing and changes only the tensors it is given.

    Args:
        loss: whose networks' parameters are in ``params`` and ``target``.
        params: the parameters that learn.
        target: those of the target network that follow them; None where there is no target network.
        step: of the optimizer, ``(param, grad, state, lr) → (param, state)``.
        max_grad_norm: gradients are scaled down to this global L2 norm; None leaves them.
        mix: of the target update, ``(target, online, calls) → target``.
        autocast: the type that matrix products and convolutions are computed in; None leaves them.
        skips: whether a step whose loss or gradient is not finite is left out, and counted as ``skipped``.
    """

    def __init__(
        self,
        loss: DQNLoss,
        params: FlatVector,
        target: FlatVector | None,
        *,
        step: Callable[[Tensor, Tensor, State, Tensor], tuple[Tensor, State]],
        max_grad_norm: float | None,
        mix: Callable[[Tensor, Tensor, Tensor], Tensor],
        autocast: torch.dtype | None = None,
        skips: bool = False,
    ) -> None:
        self._loss, self._params, self._target, self._skips = loss, params, target, skips
        self._step, self._max_grad_norm, self._mix, self._autocast = step, max_grad_norm, mix, autocast
        vectors = [params] if target is None else [params, target]
        ours = [view.data_ptr() for flat in vectors for view in flat.views(flat.vector)]
        tensors = places(loss)
        self._learning = {name: ours.index(x.data_ptr()) for name, x in tensors.items() if x.data_ptr() in ours}
        self._fixed = {name: tensor for name, tensor in tensors.items() if name not in self._learning}

    @property
    def fixed(self) -> list[Tensor]:
        """The loss's tensors that no update changes: buffers, and parameters that do not learn."""
        return list(self._fixed.values())

    def __call__(
        self, params: Tensor, target: Tensor, state: State, lr: Tensor, calls: Tensor, fixed: list[Tensor], rows: Rows,
        stored: Rows, names: Any, noises: tuple[Noise, ...],
    ) -> tuple[dict[str, Tensor], Tensor]:  # fmt: skip
        """Take K steps in place, one after another.

        Args:
            params: the vector of the parameters that learn.
            target: that of the target network's.
            state: of the optimizer.
            lr: the learning rate ``[]``.
            calls: of the target update so far ``[]``.
            fixed: the tensors of ``fixed``.
            rows: K batches, entries ``[K, *B, …]`` by key.
            stored: further entries, ``[capacity, …]`` by key, of which a batch holds those at ``rows["index"]``.
            names: of a batch's dimensions.
            noises: everything random in the passes of each batch, K.

        Returns:
            The metrics, ``[]`` each, summed over the steps, and the priorities of the last batch.
        """
        with torch.no_grad():
            new, new_target, new_state = params, target, state
            sums: dict[str, Tensor] = {}
            priority = params
            for k, noise in enumerate(noises):
                batch = {key: leaf[k] for key, leaf in rows.items()}
                batch |= {key: leaf.index_select(0, batch["index"]) for key, leaf in stored.items()}
                objective = torch.func.grad(self._objective, has_aux=True)
                gradient, (metrics, priority) = objective(new, new_target, fixed, batch, names, noise)
                if self._max_grad_norm is not None or self._skips:
                    gradient, metrics["grad_norm"] = clip(gradient, self._max_grad_norm)
                earlier = new, new_state
                new, new_state = self._step(new, gradient, new_state, lr)
                if self._skips:
                    (new, new_state), metrics = _unless_skipped((new, new_state), earlier, metrics)
                if self._target is not None:
                    new_target = self._mix(new_target, new, calls + (k + 1))
                sums = {name: sums[name] + value if k else value for name, value in metrics.items()}
            params.copy_(new)
            target.copy_(new_target)
            for name, value in new_state.items():
                state[name].copy_(value)
        return sums, priority

    def _objective(
        self, params: Tensor, target: Tensor, fixed: list[Tensor], rows: Rows, names: Any, noise: Noise
    ) -> tuple[Tensor, tuple[dict[str, Tensor], Tensor]]:
        views = self._params.views(params) + ([] if self._target is None else self._target.views(target))
        tensors = {name: views[place] for name, place in self._learning.items()}
        tensors |= zip(self._fixed, fixed, strict=True)
        batch = TensorDict(rows, batch_size=rows["index"].shape, names=names)
        with torch.autocast(params.device.type, self._autocast, enabled=self._autocast is not None):
            metrics: Any = torch.func.functional_call(
                self._loss, tensors, (batch,), {"noise": noise}, tie_weights=False
            )
        return metrics["loss"], (dict(metrics.items()), batch[self._loss.priority_key])


def _unless_skipped(
    new: tuple[Tensor, State], earlier: tuple[Tensor, State], metrics: dict[str, Tensor]
) -> tuple[tuple[Tensor, State], dict[str, Tensor]]:
    """Parameters and state after a step, or before it if it is skipped, and its metrics."""
    sound = is_sound(metrics)
    state = {name: torch.where(sound, value, earlier[1][name]) for name, value in new[1].items()}
    return (torch.where(sound, new[0], earlier[0]), state), without_skipped(metrics)


def places(loss: DQNLoss) -> dict[str, Tensor]:
    """Every parameter and buffer by its path: a shared module once, a shared tensor at each of its paths."""
    return {
        name: tensor
        for path, module in loss.named_modules()
        for name, tensor in (*module.named_parameters(path, recurse=False), *module.named_buffers(path, recurse=False))
    }
