"""A loss as native code, for loops of one's own: called as the loss is, its gradient computed along with it."""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.compiled.library import NativeFunction
from qframe.compiled.pure_update import places
from qframe.compiled.signature import Layout, Rows, flatten
from qframe.compiled.update import LAYOUTS, NotCompiled, compiled, named
from qframe.compiled.verdict import Comparison
from qframe.objectives import DQNLoss


class CompiledLoss:
    """``compiled(batch)["loss"].backward()`` does what ``loss(batch)["loss"].backward()`` does, several times faster.

    Metrics and priorities come as from the loss. The first batch of every layout is compiled for, which takes some
    twenty seconds once on a machine. Parameters may change in place, as optimizers change them, and must not be
    replaced.

    Args:
        loss: networks inside, where they are to stay.

    Raises:
        NotCompiled: by a call; it could not be compiled, or batches come in more than 8 layouts.
    """

    def __init__(self, loss: DQNLoss) -> None:
        self._loss = loss
        tensors = places(loss)
        unique = {id(tensor): tensor for tensor in tensors.values() if tensor.requires_grad}
        order = list(unique)
        self._params = tuple(unique.values())
        self._learning = {name: order.index(id(tensor)) for name, tensor in tensors.items() if id(tensor) in unique}
        self._fixed = {name: tensor for name, tensor in tensors.items() if name not in self._learning}
        self._functions: dict[Layout, NativeFunction] = {}
        self._metrics: list[str] = []
        self._comparison = Comparison(f"the loss of {named(loss)}", parameters=len(self._params))

    def __call__(self, batch: TensorDict) -> TensorDict:
        """The loss of a batch.

        Args:
            batch: as the loss takes it; it is given its priorities.

        Returns:
            What the loss returns: "loss" ``[]``, to be differentiated once, and what else is logged.
        """
        rows: Rows = dict(batch.items(True, True))  # pyright: ignore
        rows.pop(self._loss.priority_key, None)  # of the call before
        names = batch.names if batch.batch_dims > 1 else None
        changing, layout = flatten(rows, [self._loss.draw_noise(batch.batch_size)], names, batch.batch_size)  # pyright: ignore
        inputs = [*(param.detach() for param in self._params), *self._fixed.values(), *changing]
        function = self._functions.get(layout) or self._function(inputs, layout)
        priority, *outputs = compiled(lambda: function(inputs))
        metrics = dict(zip(self._metrics, outputs, strict=False))
        gradients = outputs[len(metrics) :]
        batch.set(self._loss.priority_key, priority)
        if torch.is_grad_enabled():
            metrics["loss"] = _Differentiable.apply((metrics["loss"], gradients), *self._params)
        return TensorDict(metrics)

    def _function(self, inputs: list[Tensor], layout: Layout) -> NativeFunction:
        """The loss and its gradient for batches of a layout."""
        if len(self._functions) == LAYOUTS:
            raise NotCompiled(f"expected batches of at most {LAYOUTS} layouts, got another, {layout.told}")

        def flat(*tensors: Tensor) -> Any:
            rest = iter(tensors)
            params = tuple(next(rest) for _ in self._params)
            fixed = {name: next(rest) for name in self._fixed}
            rows, (noise,) = layout.unflatten(rest)

            def objective(params: tuple[Tensor, ...]) -> tuple[Tensor, tuple[dict[str, Tensor], Tensor]]:
                own = {name: params[place] for name, place in self._learning.items()} | fixed
                return self._evaluate(own, rows, layout, noise)

            gradients, (metrics, priority) = torch.func.grad(objective, has_aux=True)(params)
            self._metrics = list(metrics)
            return [priority, *metrics.values(), *gradients]

        self._functions[layout] = compiled(lambda: NativeFunction(flat, inputs, self._comparison))
        return self._functions[layout]

    def _evaluate(
        self, own: dict[str, Tensor], rows: Rows, layout: Layout, noise: Any
    ) -> tuple[Tensor, tuple[dict[str, Tensor], Tensor]]:
        names = None if layout.names is None else list(layout.names)
        batch = TensorDict(rows, batch_size=layout.others[0], names=names)  # pyright: ignore[reportArgumentType]
        metrics: Any = torch.func.functional_call(self._loss, own, (batch,), {"noise": noise}, tie_weights=False)
        return metrics["loss"], (dict(metrics.items()), batch[self._loss.priority_key])


class _Differentiable(torch.autograd.Function):
    """A number whose gradient is known."""

    @staticmethod
    def forward(ctx: Any, known: tuple[Tensor, list[Tensor]], *params: Tensor) -> Tensor:
        value, ctx.gradients = known
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if grad.is_cpu and grad.item() == 1:  # as of ``loss.backward()``; elsewhere to look would take a wait
            return None, *ctx.gradients
        return None, *torch._foreach_mul(ctx.gradients, grad)  # pyright: ignore[reportPrivateImportUsage]
