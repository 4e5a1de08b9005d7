"""A spec of several entries by their keys."""

from collections.abc import ItemsView, KeysView, Mapping, Sequence
from typing import Any, Self

import torch
from tensordict import TensorDict, TensorDictBase

from qframe.actions.specs.base import Device, TensorSpec
from qframe.keys import NestedKey, as_path


class Composite(TensorSpec):
    """Specs by key, nested where a value is a mapping or a key is a tuple; None leaves an entry unspecified.

    Args:
        specs: the specs by their keys.
        shape: must be empty: batch dimensions are not part of a spec.
        device: where ``rand`` and ``zero`` make tensors.
        **more: further specs.

    Raises:
        TypeError: an entry that is not a spec.
        ValueError: a shape that is not empty, or two entries under one key.

    >>> from qframe.actions import Categorical, Unbounded
    >>> spec = Composite({"agent": {"action": Categorical(3)}}, observation=Unbounded((4,)))
    >>> spec["agent", "action"]
    Categorical(3)
    >>> spec.zero((2,))["observation"].shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        specs: Mapping[Any, Any] | None = None,
        *,
        shape: Sequence[int] = (),
        device: Device | None = None,
        **more: Any,
    ) -> None:
        if len(shape):
            raise ValueError(f"expected an empty shape, got {[*shape]}: batch dimensions are not part of a spec")
        super().__init__((), None, device)
        self._specs: dict[str, TensorSpec | None] = {
            key: Composite(spec, device=device) if isinstance(spec, Mapping) else spec
            for key, spec in _nested({**(specs or {}), **more}).items()
        }
        for key, spec in self._specs.items():
            if spec is not None and not isinstance(spec, TensorSpec):
                raise TypeError(f"expected a spec, a mapping of specs or None under {key!r}, got {type(spec).__name__}")

    def __getitem__(self, key: NestedKey) -> TensorSpec | None:
        name, *rest = as_path(key)
        if name not in self._specs:
            raise KeyError(f"no spec under {key!r}; the keys are {list(self._specs)}")
        spec = self._specs[name]
        if not rest:
            return spec
        if not isinstance(spec, Composite):
            raise KeyError(f"no spec under {key!r}: {name!r} is not a group of specs")
        return spec[tuple(rest)]

    def get(self, key: NestedKey, default: TensorSpec | None = None) -> TensorSpec | None:
        """The spec under a key, or the default when there is none."""
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: NestedKey) -> bool:
        try:
            self[key]
        except KeyError:
            return False
        return True

    def keys(self) -> KeysView[str]:
        """The keys of the first level."""
        return self._specs.keys()

    def items(self) -> ItemsView[str, TensorSpec | None]:
        """The keys and specs of the first level."""
        return self._specs.items()

    def rand(self, batch: Sequence[int] = (), generator: torch.Generator | None = None) -> TensorDict:
        return TensorDict({key: spec.rand(batch, generator) for key, spec in self._known()}, tuple(batch))

    def zero(self, batch: Sequence[int] = ()) -> TensorDict:
        return TensorDict({key: spec.zero(batch) for key, spec in self._known()}, tuple(batch))

    def is_in(self, value: TensorDictBase) -> bool:
        return all((entry := value.get(key, None)) is not None and spec.is_in(entry) for key, spec in self._known())

    def project(self, value: TensorDictBase) -> TensorDictBase:
        """A shallow copy with every entry that has a spec projected."""
        projected = value.copy()
        for key, spec in self._known():
            projected.set(key, spec.project(value[key]))
        return projected

    def to(self, device: Device) -> Self:
        moved = super().to(device)
        moved._specs = {key: spec if spec is None else spec.to(device) for key, spec in self._specs.items()}
        return moved

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Composite) and type(self) is type(other) and self._specs == other._specs

    def __hash__(self) -> int:
        return hash((type(self), *self._specs.items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._specs})"

    def _known(self) -> list[tuple[str, TensorSpec]]:
        return [(key, spec) for key, spec in self._specs.items() if spec is not None]


def _nested(specs: Mapping[Any, Any]) -> dict[str, Any]:
    """The entries with every tuple key unfolded into groups; a group may be given in parts."""
    groups: dict[str, Any] = {}
    for key, spec in specs.items():
        name, *rest = as_path(key)
        entry = {tuple(rest): spec} if rest else spec
        if name in groups:
            entry = {**_entries(groups[name], name), **_entries(entry, name)}
        groups[name] = entry
    return groups


def _entries(group: Any, name: str) -> dict[Any, Any]:
    if isinstance(group, Composite):
        return dict(group.items())
    if not isinstance(group, Mapping):
        raise ValueError(f"{name!r} is given both a spec and a group of specs; give one of them")
    return dict(group)
