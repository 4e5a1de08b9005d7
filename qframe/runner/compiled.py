"""The update as one compiled graph: loss, gradient, clip, optimizer step, and the move of a soft target."""

import os
import shutil
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from tensordict import TensorDict
from torch import Tensor, optim
from torch.utils import _pytree as pytree

from qframe.data.keys import NestedKey
from qframe.objectives import DQNLoss
from qframe.objectives.flat import FlatVector
from qframe.objectives.q_learning import Noise
from qframe.runner.optimizer_steps import State, pure_step

Rows = dict[NestedKey, Tensor]


class NotCompiled(ValueError):
    """The update cannot be compiled here: no compiler, or one that fails."""

    exit_status = 2


class Trained(Protocol):
    """What compiled updates ask of an optimizer."""

    wrapped: optim.Optimizer
    flat: FlatVector | None
    max_grad_norm: float | None

    @property
    def lr(self) -> float: ...

    def tensors(self) -> State: ...


class Mixing(Protocol):
    """What they ask of a target update."""

    calls: int

    def mix(self, target: Tensor, online: Tensor, calls: Tensor) -> Tensor: ...

    def count(self, updates: int) -> None: ...


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
    ) -> None:
        self._loss, self._params, self._target = loss, params, target
        self._step, self._max_grad_norm, self._mix, self._autocast = step, max_grad_norm, mix, autocast
        self._names = _names(loss, params, target)

    def __call__(
        self, params: Tensor, target: Tensor, state: State, lr: Tensor, calls: Tensor, rows: Rows, names: Any,
        noises: tuple[Noise, ...],
    ) -> tuple[dict[str, Tensor], Tensor]:  # fmt: skip
        """Take K steps in place, one after another.

        Args:
            params: the vector of the parameters that learn.
            target: that of the target network's.
            state: of the optimizer.
            lr: the learning rate ``[]``.
            calls: of the target update so far ``[]``.
            rows: K batches, entries ``[K, *B, …]`` by key.
            names: of a batch's dimensions.
            noises: what is random in the passes, K.

        Returns:
            Sums over the steps of what is logged, ``[]`` each, and the priorities of the last batch.
        """
        with torch.no_grad():
            new, new_target, new_state = params, target, state
            sums: dict[str, Tensor] = {}
            priority = params
            for k, noise in enumerate(noises):
                batch = {key: leaf[k] for key, leaf in rows.items()}
                objective = torch.func.grad(self._objective, has_aux=True)
                gradient, (metrics, priority) = objective(new, new_target, batch, names, noise)
                if self._max_grad_norm is not None:
                    norm = metrics["grad_norm"] = torch.linalg.vector_norm(gradient)
                    gradient = gradient * (self._max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
                new, new_state = self._step(new, gradient, new_state, lr)
                if self._target is not None:
                    new_target = self._mix(new_target, new, calls + (k + 1))
                sums = {name: sums[name] + value if k else value for name, value in metrics.items()}
            params.copy_(new)
            target.copy_(new_target)
            for name, value in new_state.items():
                state[name].copy_(value)
        return sums, priority

    def _objective(
        self, params: Tensor, target: Tensor, rows: Rows, names: Any, noise: Noise
    ) -> tuple[Tensor, tuple[dict[str, Tensor], Tensor]]:
        views = self._params.views(params) + ([] if self._target is None else self._target.views(target))
        batch = TensorDict(rows, batch_size=rows["index"].shape, names=names)
        with torch.autocast(params.device.type, self._autocast, enabled=self._autocast is not None):
            metrics: Any = torch.func.functional_call(
                self._loss, dict(zip(self._names, views, strict=True)), (batch,), {"noise": noise}
            )
        return metrics["loss"], (dict(metrics.items()), batch[self._loss.priority_key])


class CompiledUpdate:
    """A round of updates as one compiled graph, compiled on a thread of its own from ``begin`` to the first call.

    Args:
        loss: the loss, networks inside.
        optimizer: whose parameters and state the graph changes.
        target_update: moves the target network.
        autocast: the type that matrix products and convolutions are computed in; None leaves them.

    Raises:
        ValueError: an optimizer that has no pure step, or parameters that do not fit one vector.
        NotCompiled: by a call, it could not be compiled.
    """

    def __init__(
        self, loss: DQNLoss, optimizer: Trained, target_update: Mixing, *, autocast: torch.dtype | None = None
    ) -> None:
        step = partial(pure_step(optimizer.wrapped), {**optimizer.wrapped.param_groups[0], "lr": None, "params": ()})
        if optimizer.flat is None:
            raise ValueError("expected parameters of one dtype on one device for a compiled update; set compile=false")
        target = None
        if loss.target_value_network is not loss.value_network:
            networks = loss.target_value_network, loss.value_network
            pairs = zip(*(network.parameters() for network in networks), strict=True)
            target = FlatVector([target for target, online in pairs if online.requires_grad])
        self._loss, self._optimizer, self._target_update = loss, optimizer, target_update
        vector = optimizer.flat.vector
        self._vectors = vector, vector.new_zeros(0) if target is None else target.vector
        self._lr, self._calls = vector.new_zeros(()), torch.zeros((), dtype=torch.int64, device=vector.device)
        self.function: Callable[..., Any] = torch.compile(
            PureUpdate(
                loss, optimizer.flat, target, step=step, max_grad_norm=optimizer.max_grad_norm, mix=target_update.mix,
                autocast=autocast,
            ).__call__,
            fullgraph=True, dynamic=False, options={"guard_filter_fn": torch.compiler.keep_tensor_guards_unsafe},
        )  # fmt: skip
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    @property
    def has_begun(self) -> bool:
        """Whether it is compiled, or is being."""
        return self._thread is not None

    def begin(self, batches: TensorDict, updates: int) -> None:
        """Start compiling for batches like these; what the run goes on with stays untouched."""
        arguments = self._arguments(batches, updates)
        params, target, state = (pytree.tree_map(Tensor.clone, x) for x in arguments[:3])
        self._thread = threading.Thread(target=self._compile, args=(params, target, state, *arguments[3:]), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until it is compiled, if that has begun."""
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()

    def __call__(self, batches: TensorDict, updates: int) -> tuple[dict[str, Tensor], Tensor]:
        """Take a round of steps.

        Args:
            batches: one after another.
            updates: how many.

        Returns:
            The sums of what is logged, and the priorities of the last batch.
        """
        self.wait()
        if self._failure is not None:
            said = [line.strip() for line in str(self._failure).splitlines() if line.strip()]
            reason = " ".join(said[:2]) or type(self._failure).__name__
            raise NotCompiled(f"expected an update that compiles, got: {reason}; set compile=false") from self._failure
        with torch.no_grad():
            result = self.function(*self._arguments(batches, updates))
        self._target_update.count(updates)
        return result

    def _arguments(self, batches: TensorDict, updates: int) -> tuple[Any, ...]:
        self._lr.fill_(self._optimizer.lr)
        self._calls.fill_(self._target_update.calls)
        rows = {key: leaf.unflatten(0, (updates, -1)) for key, leaf in batches.items(True, True)}  # pyright: ignore
        shape = torch.Size((len(batches) // updates, *batches.batch_size[1:]))
        noises = tuple(self._loss.draw_noise(shape) for _ in range(updates))
        names = batches.names if batches.batch_dims > 1 else None
        return *self._vectors, self._optimizer.tensors(), self._lr, self._calls, rows, names, noises

    def _compile(self, *arguments: Any) -> None:
        try:
            with torch.no_grad():
                self.function(*arguments)
        except Exception as failure:
            self._failure = failure


def missing_compiler() -> str | None:
    """What is missing for compiling, in words; None: nothing is."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is not None:
        return None
    return f"expected a C++ compiler for compile=true, got none named {compiler!r}; install g++, or set compile=false"


def _names(loss: DQNLoss, params: FlatVector, target: FlatVector | None) -> list[str]:
    """What the parameters are called within the loss, those that learn and those that follow them."""
    place = {parameter.data_ptr(): name for name, parameter in loss.named_parameters()}
    vectors = [params] if target is None else [params, target]
    return [place[view.data_ptr()] for flat in vectors for view in flat.views(flat.vector)]


def autocast_type(device: torch.device) -> torch.dtype:
    """bfloat16, where the device computes in it.

    Raises:
        ValueError: it does not.
    """
    cpu = torch.backends.cpu.get_cpu_capability()
    if device.type == "cpu" and cpu != "AVX512":
        raise ValueError(f"expected a processor with bfloat16 for autocast=true, got {cpu}; set autocast=false")
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ValueError("expected a GPU with bfloat16 for autocast=true, got one without; set autocast=false")
    return torch.bfloat16
