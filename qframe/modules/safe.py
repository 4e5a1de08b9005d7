"""Tensordict modules that know the specs of their outputs, and can project the outputs into them."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictModuleBase, TensorDictSequential
from torch import Tensor, nn

from qframe.actions.specs.base import TensorSpec
from qframe.actions.specs.composite import Composite
from qframe.keys import NestedKey


class SafeModule(TensorDictModule):
    """A module that reads and writes keys of a tensordict, and can project its outputs into their specs.

    Args:
        module: maps the entries under ``in_keys`` to those under ``out_keys``.
        in_keys: keys of the inputs.
        out_keys: keys of the outputs.
        spec: the spec of the first output, or a ``Composite`` with specs under some of the ``out_keys``.
        safe: project outputs outside their specs into them, deterministically, in every call form.
        **kwargs: passed to ``tensordict.nn.TensorDictModule``.

    Raises:
        ValueError: ``safe`` without a spec of any output.

    >>> import torch
    >>> from qframe.actions import Bounded
    >>> module = SafeModule(torch.nn.Identity(), in_keys=["x"], out_keys=["y"], spec=Bounded(-1.0, 1.0), safe=True)
    >>> module(torch.tensor([3.0, 0.5]))
    tensor([1.0000, 0.5000])
    """

    def __init__(
        self,
        module: nn.Module | Callable[..., Any],
        in_keys: Sequence[NestedKey] | dict[Any, Any],
        out_keys: Sequence[NestedKey],
        *,
        spec: TensorSpec | None = None,
        safe: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, in_keys=in_keys, out_keys=out_keys, **kwargs)  # type: ignore[arg-type]
        self.spec = spec
        self.safe = safe
        self._projected = safe_specs(spec, self.out_keys) if safe else {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The module's outputs, projected if ``safe`` is set."""
        return project_outputs(super().forward(*args, **kwargs), self._projected, self.out_keys)


class SafeSequential(TensorDictSequential):
    """Tensordict modules in a row; ``spec`` gathers the specs of those that have one.

    >>> import torch
    >>> first = SafeModule(torch.nn.Linear(4, 3), in_keys=["observation"], out_keys=["hidden"])
    >>> second = SafeModule(torch.nn.Linear(3, 2), in_keys=["hidden"], out_keys=["value"])
    >>> SafeSequential(first, second).out_keys
    ['hidden', 'value']
    """

    @property
    def spec(self) -> Composite:
        """The specs of the outputs of all modules, by their first-level or joined keys."""
        specs: dict[str, TensorSpec | None] = {}
        for module in self.children_in_order():
            spec = getattr(module, "spec", None)
            if isinstance(spec, Composite):
                specs.update(spec.items())
            elif spec is not None:
                key = module.out_keys[0]
                specs.update(Composite(_nested(key, spec)).items())
        return Composite(specs)

    def children_in_order(self) -> list[TensorDictModuleBase]:
        """The modules in the order in which they run."""
        return cast(list[TensorDictModuleBase], list(self.module.children()))


def safe_specs(spec: TensorSpec | None, out_keys: Sequence[NestedKey]) -> dict[NestedKey, TensorSpec]:
    """The specs that outputs are projected into, by key.

    Raises:
        ValueError: no output has a spec.
    """
    if isinstance(spec, Composite):
        found = {key: leaf for key in out_keys if (leaf := spec.get(key)) is not None}
    else:
        found = {} if spec is None else {out_keys[0]: spec}
    if not found:
        raise ValueError(f"safe=True needs a spec of at least one of the outputs {list(out_keys)}, got {spec}")
    return found


def project_outputs(output: Any, specs: dict[NestedKey, TensorSpec], out_keys: Sequence[Any]) -> Any:
    """A module's output, be it a tensordict, a tensor or a tuple, with its entries projected into their specs."""
    if not specs:
        return output
    if isinstance(output, TensorDictBase):
        for key, spec in specs.items():
            output.set(key, spec.project(output.get(key)))
        return output
    if isinstance(output, Tensor):
        return specs[out_keys[0]].project(output)
    pairs = zip([key for key in out_keys if key != "_"], output, strict=True)
    return tuple(specs[key].project(entry) if key in specs else entry for key, entry in pairs)


def _nested(key: NestedKey, spec: TensorSpec) -> dict[str, Any]:
    if isinstance(key, str):
        return {key: spec}
    first, *rest = key
    return {first: _nested(tuple(rest), spec) if rest else spec}
