"""A round of updates as native code, or as a CUDA graph: made while the environments warm up, or by an earlier run."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.compiled.cuda_graph import CapturedFunction
from qframe.compiled.library import NativeFunction
from qframe.compiled.pure_update import PureUpdate
from qframe.compiled.signature import Layout, Rows, flatten
from qframe.compiled.verdict import Comparison
from qframe.errors import RunError
from qframe.machine.allocator import keep_freed_memory
from qframe.networks.modes import with_modes
from qframe.networks.normalization import RunningNorm
from qframe.objectives import DQNLoss
from qframe.optimizer.flat_vector import MOVED, FlatVector
from qframe.optimizer.optimizer import Optimizer
from qframe.optimizer.pure_steps import pure_step

Result = TypeVar("Result")
LAYOUTS = 8
"""The most layouts of a batch that are compiled."""


class NotCompiled(RunError):
    """The update cannot be compiled here: no compiler, or one that fails."""


class TargetUpdater(Protocol):
    """A hard or soft target update: one at a time, or mixed within the compiled update and counted here."""

    calls: int

    def step(self) -> None: ...

    def mix(self, target: Tensor, online: Tensor, calls: Tensor) -> Tensor: ...

    def count(self, updates: int) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class CompiledUpdate:
    """A round of updates as native code, looked up or compiled once the first batch is known.

    Args:
        loss: the loss, which holds the networks.
        optimizer: whose parameters and state are changed.
        target_update: moves the target network.
        autocast: the type that matrix products and convolutions are computed in; None leaves them.
        is_captured: whether it is recorded as a CUDA graph, rather than compiled.

    Raises:
        ValueError: an optimizer that has no pure step, or parameters that do not fit one vector.
        NotCompiled: raised by a call if compiling fails.
    """

    def __init__(
        self,
        loss: DQNLoss,
        optimizer: Optimizer,
        target_update: TargetUpdater,
        *,
        autocast: torch.dtype | None = None,
        is_captured: bool = False,
    ) -> None:
        step = partial(pure_step(optimizer.wrapped), {**optimizer.wrapped.param_groups[0], "lr": None, "params": ()})
        if optimizer.flat is None:
            raise ValueError("a compiled update needs parameters of one dtype on one device; set compile=false")
        target, networks = None, (loss.target_value_network, loss.value_network)
        if networks[0] is not networks[1]:
            pairs = zip(*(network.parameters() for network in networks), strict=True)
            target = FlatVector([target for target, online in pairs if online.requires_grad])
        self._loss, self._optimizer, self._target_update = loss, optimizer, target_update
        vector = optimizer.flat.vector
        self._vectors = vector, vector.new_zeros(0) if target is None else target.vector
        self._lr, self._calls = vector.new_zeros(()), torch.zeros((), dtype=torch.int64, device=vector.device)
        self._pure = PureUpdate(
            loss, optimizer.flat, target, step=step, max_grad_norm=optimizer.max_grad_norm, mix=target_update.mix,
            autocast=autocast, skips=optimizer.skips,
        )  # fmt: skip
        self._fixed = self._pure.fixed
        self._kind = CapturedFunction if is_captured else NativeFunction
        self._comparison = Comparison(f"the update of {named(loss)}", parameters=1, split=self._split)
        keep_freed_memory()
        self.reads_rows = is_captured or vector.device.type == "cpu"
        """Whether it reads a replay's rows itself; compiling for a GPU would allocate them a second time."""
        changing = [part for part in networks[0].modules() if isinstance(part, RunningNorm)] + with_modes(networks[0])
        self.holds_rounds = not (target and any(True for part in changing for _ in part.buffers()))
        """Whether a round of K equals K rounds of one: a target network's statistics move only after a round."""
        self.is_uncompiled = False
        """Whether the pure function itself is called, with which updates take longer than without it."""
        self._functions: dict[Any, NativeFunction | CapturedFunction] = {}
        self._metrics: list[str] = []

    @property
    def has_begun(self) -> bool:
        """Whether compiling has begun."""
        return bool(self._functions)

    def begin(self, batches: TensorDict, updates: int, stored: Rows) -> None:
        """Look up the code for batches like these, or start compiling it; the run's state does not change."""
        self.is_uncompiled = self._function(*self._inputs(batches, updates, stored)).is_uncompiled

    def wait(self, say: Callable[[str], None]) -> float:
        """Wait until it is compiled, if that has begun, and ``say`` how long it takes; the seconds waited."""
        started = time.monotonic()

        def tick() -> None:
            say(f"still compiling, after {time.monotonic() - started:.0f} s")

        is_compiling = any(function.is_compiling for function in self._functions.values())
        if is_compiling:
            say("compiling the update, which takes about twenty seconds; later runs reuse it")
        for function in self._functions.values():
            compiled(partial(function.wait, tick))
        waited = time.monotonic() - started
        if is_compiling:
            say(f"compiled after {waited:.0f} s")
        return waited

    def __call__(self, batches: TensorDict, updates: int, stored: Rows) -> tuple[dict[str, Tensor], Tensor]:
        """Take a round of steps.

        Args:
            batches: one after another.
            updates: the number of batches.
            stored: further entries, ``[capacity, …]`` by key, which are read at the batches' "index".

        Returns:
            The summed metrics, and the priorities of the last batch.
        """
        inputs, layout = self._inputs(batches, updates, stored)
        function = self._functions.get(layout) or self._function(inputs, layout)
        compiled(function.wait)
        self.is_uncompiled = function.is_uncompiled
        *sums, priority = self.run(function, inputs)
        self._target_update.count(updates)
        return dict(zip(self._metrics, sums, strict=True)), priority

    def run(self, function: NativeFunction | CapturedFunction, inputs: list[Tensor]) -> Any:
        """Run the native code alone, which is timed separately."""
        return function(inputs)

    def _inputs(self, batches: TensorDict, updates: int, stored: Rows) -> tuple[list[Tensor], Layout]:
        """All tensors that a round takes, as a flat list, and their layout."""
        if self._optimizer.flat is None or not self._optimizer.flat.follow():
            raise ValueError(MOVED)
        self._lr.fill_(self._optimizer.lr)
        self._calls.fill_(self._target_update.calls)
        rows: Rows = {key: leaf.unflatten(0, (updates, -1)) for key, leaf in batches.items(True, True)}  # pyright: ignore
        shape = torch.Size((len(batches) // updates, *batches.batch_size[1:]))
        noises = [self._loss.draw_noise(shape) for _ in range(updates)]
        names, state = batches.names if batches.batch_dims > 1 else None, self._optimizer.tensors()
        changing, layout = flatten(rows, noises, names, tuple(state), tuple(stored))
        unchanging = [*self._vectors, self._lr, self._calls, *state.values(), *self._fixed, *stored.values()]
        return unchanging + changing, layout

    def _function(self, inputs: list[Tensor], layout: Layout) -> NativeFunction | CapturedFunction:
        """The round for inputs of a layout."""
        if len(self._functions) == LAYOUTS:
            raise NotCompiled(
                f"batches came in more than {LAYOUTS} layouts, last {layout.summary}, and each is compiled separately; "
                "set compile=false"
            )

        def flat(*tensors: Tensor) -> Any:
            rest = iter(tensors)
            params, target, lr, calls = (next(rest) for _ in range(4))
            state_names, stored_keys = layout.others
            state = {name: next(rest) for name in state_names}
            fixed = [next(rest) for _ in self._fixed]
            stored = {key: next(rest) for key in stored_keys}
            rows, noises = layout.unflatten(rest)
            names = None if layout.names is None else list(layout.names)
            sums, priority = self._pure(params, target, state, lr, calls, fixed, rows, stored, names, noises)
            self._metrics = list(sums)
            return [*sums.values(), priority]

        self._functions[layout] = compiled(lambda: self._kind(flat, inputs, self._comparison))
        return self._functions[layout]

    def _split(self, tensor: Tensor) -> list[Tensor]:
        """A vector like that of the parameters as their views."""
        flat = self._optimizer.flat
        return [tensor] if flat is None or tensor.shape != flat.vector.shape else flat.views(tensor)


def named(loss: DQNLoss) -> str:
    """The head and the estimator of a loss, for warnings."""
    return f"{type(loss.head).__name__} with {type(loss.estimator).__name__}"


def compiled(act: Callable[[], Result]) -> Result:
    """The result of ``act``; a failure is raised as ``NotCompiled`` with a remedy."""
    try:
        return act()
    except Exception as failure:
        lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
        reason = " ".join(lines[:2]) or type(failure).__name__
        raise NotCompiled(f"the update cannot be compiled: {reason}; set compile=false") from failure


def autocast_type(device: torch.device) -> torch.dtype:
    """bfloat16, if the device computes in it.

    Raises:
        ValueError: it does not.
    """
    cpu = torch.backends.cpu.get_cpu_capability()
    if device.type == "cpu" and cpu != "AVX512":
        raise ValueError(f"autocast=true needs a processor with bfloat16, not one with {cpu}; set autocast=false")
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ValueError("autocast=true needs a GPU with bfloat16, and this one has none; set autocast=false")
    return torch.bfloat16
