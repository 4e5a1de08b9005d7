"""A loss as native code, for training loops of your own: called like the loss, it computes the gradient as well."""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.compiled.cuda_graph import CapturedFunction
from qframe.compiled.library import NativeFunction
from qframe.compiled.pure_update import places
from qframe.compiled.signature import Layout, Rows, flatten
from qframe.compiled.update import LAYOUTS, NotCompiled, compiled, named
from qframe.compiled.verdict import Comparison
from qframe.objectives import DQNLoss


class CompiledLoss:
    """``compiled(batch)["loss"].backward()`` does what ``loss(batch)["loss"].backward()`` does, several times faster.

    Metrics and priorities are those of the loss. The first batch of every layout is compiled, which takes about twenty
    seconds once per machine. Parameters may change in place, as optimizers change them, but must not be replaced.

    Args:
        loss: the loss, with its networks on their final device.
        is_captured: whether it is recorded as a CUDA graph, rather than compiled.

    Raises:
        NotCompiled: raised by a call if compiling fails, or if batches come in more than 8 layouts.
    """

    def __init__(self, loss: DQNLoss, *, is_captured: bool = False) -> None:
        self._loss, self._is_captured = loss, is_captured
        tensors = places(loss)
        unique = {id(tensor): tensor for tensor in tensors.values() if tensor.requires_grad}
        order = list(unique)
        self._params = tuple(unique.values())
        self._learning = {name: order.index(id(tensor)) for name, tensor in tensors.items() if id(tensor) in unique}
        self._fixed = {name: tensor for name, tensor in tensors.items() if name not in self._learning}
        self._functions: dict[Layout, NativeFunction | CapturedFunction] = {}
        self._metrics: list[str] = []
        self._comparison = Comparison(f"the loss of {named(loss)}", parameters=len(self._params))

    def __call__(self, batch: TensorDict) -> TensorDict:
        """The loss of a batch.

        Args:
            batch: as the loss takes it; priorities are written into it.

        Returns:
            As the loss: "loss" ``[]``, to be differentiated once, and the metrics.
        """
        self._loss.check_action(batch)
        function, inputs = self.begin(batch)
        priority, *outputs = compiled(lambda: function(inputs))
        metrics = dict(zip(self._metrics, outputs, strict=False))
        gradients = outputs[len(metrics) :]
        batch.set(self._loss.priority_key, priority)
        if torch.is_grad_enabled():
            metrics["loss"] = _Differentiable.apply((metrics["loss"], gradients), *self._params)
        return TensorDict(metrics)

    def begin(self, batch: TensorDict) -> tuple[NativeFunction | CapturedFunction, list[Tensor]]:
        """The code for batches like this one, which may still be compiling, and the inputs of this one."""
        rows: Rows = dict(batch.items(True, True))  # pyright: ignore
        rows.pop(self._loss.priority_key, None)  # of the previous call
        names = batch.names if batch.batch_dims > 1 else None
        changing, layout = flatten(rows, [self._loss.draw_noise(batch.batch_size)], names, batch.batch_size)  # pyright: ignore
        inputs = [*(param.detach() for param in self._params), *self._fixed.values(), *changing]
        return self._functions.get(layout) or self._function(inputs, layout), inputs

    def _function(self, inputs: list[Tensor], layout: Layout) -> NativeFunction | CapturedFunction:
        """The loss and its gradient for batches of a layout."""
        if len(self._functions) == LAYOUTS:
            raise NotCompiled(f"batches came in more than {LAYOUTS} layouts, last {layout.summary}; use fewer shapes")

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

        kind = CapturedFunction if self._is_captured else NativeFunction
        self._functions[layout] = compiled(lambda: kind(flat, inputs, self._comparison))
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
        if grad.is_cpu and grad.item() == 1:  # as from ``loss.backward()``; on a GPU, looking would wait for it
            return None, *ctx.gradients
        return None, *torch._foreach_mul(ctx.gradients, grad)  # pyright: ignore[reportPrivateImportUsage]
