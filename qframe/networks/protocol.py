"""What the loss, acting and evaluation ask of a network."""

from typing import Any, Protocol, runtime_checkable

from tensordict import TensorDictBase
from torch import Tensor

from qframe.functional.action import Branches
from qframe.heads import Head, Prediction


class Network(Protocol):
    """What a loss and a collector ask of a network."""

    head: Head[Any]
    branches: Branches

    @property
    def action_space(self) -> str | None: ...

    def observe(self, tensordict: TensorDictBase) -> Tensor | TensorDictBase: ...

    def predict(self, observation: Any, taus: Tensor | None = None) -> Prediction: ...


@runtime_checkable
class TrainedNetwork(Network, Protocol):
    """A network that is a module itself, as a runner trains and evaluates it."""

    training: bool

    def train(self, mode: bool = True) -> Any: ...

    def eval(self) -> Any: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...
