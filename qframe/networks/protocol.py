"""The interface of a network, as losses, collectors and evaluations use it."""

from collections.abc import Iterator
from typing import Any, Protocol

from tensordict import TensorDictBase
from torch import Tensor, nn

from qframe.heads import Head, Prediction


class Branches(Protocol):
    """Several estimates per transition as a dimension in front: a joint action's branches, or an ensemble's members.

    An ``ActionSpace`` has the branches of its own actions, ``Members`` those of an ensemble.
    """

    def split(self, out: Tensor) -> Tensor:
        """Outputs side by side, ``[*B, ΣA, N]`` → ``[D, *B, A, N]``."""
        ...

    def join(self, value: Tensor) -> Tensor:
        """Action values to choose by, ``[D, *B, A]`` → ``[*B, ΣA]``."""
        ...

    def acting_value(self, value: Tensor) -> Tensor:
        """The same for actors that explore."""
        ...

    def split_index(self, index: Tensor) -> Tensor:
        """The index taken, ``[*B, D]`` → ``[D, *B]``."""
        ...


class Network(Protocol):
    """A network as a loss and a collector use it."""

    head: Head[Any]
    branches: Branches

    def observe(self, tensordict: TensorDictBase) -> Tensor | TensorDictBase: ...

    def predict(self, observation: Any, taus: Tensor | None = None) -> Prediction: ...


class TrainedNetwork(Network, Protocol):
    """A network that is a module itself, as a runner trains and evaluates it."""

    def modules(self) -> Iterator[nn.Module]: ...

    def eval(self) -> Any: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...
