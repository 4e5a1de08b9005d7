"""The grid of losses whose compiled gradient is compared with the eager one, several in one library."""

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.actions import Categorical, MultiCategorical
from qframe.compiled import CompiledLoss
from qframe.compiled import loss as compiled_loss
from qframe.compiled.library import NativeFunction
from qframe.heads import (
    CategoricalHead,
    FullyParameterizedQuantileHead,
    HLGaussHead,
    ImplicitQuantileHead,
    QuantileHead,
    ScalarHead,
)
from qframe.networks import MLPTrunk, QNet, SharedTrunk
from qframe.objectives import DQNLoss

HEADS = {
    "scalar": ScalarHead,
    "categorical": lambda f, a: CategoricalHead(f, a, num_atoms=51, v_min=-5, v_max=5),
    "hl_gauss": lambda f, a: HLGaussHead(f, a, num_atoms=51, v_min=-5, v_max=5),
    "quantile": lambda f, a: QuantileHead(f, a, num_quantiles=32),
    "implicit_quantile": lambda f, a: ImplicitQuantileHead(
        f, a, num_quantiles=8, num_target_quantiles=8, num_fixed_quantiles=8
    ),
    "fully_parameterized_quantile": lambda f, a: FullyParameterizedQuantileHead(f, a, num_quantiles=8),
}
SLICED = ("TD1", "TDLambda", "WatkinsQLambda", "Retrace")
"""Estimators that take slices alone."""
ESTIMATORS = ("TD0", "SoftTD0", "Munchausen", *SLICED)
SHAPES: tuple[tuple[int, ...], ...] = ((1,), (7,), (24,), (32,), (128,), (8, 8))
VARIANTS = ("plain", "dueling", "noisy", "masks", "joint")
ACTIONS, BRANCHES = 3, (2, 3)


class Case(NamedTuple):
    """One loss of the grid."""

    head: str
    estimator: str
    shape: tuple[int, ...]
    variant: str

    @property
    def exists(self) -> bool:
        """Whether qframe has such a loss: λ-returns take slices, and branches of a joint action share a TD target."""
        if self.variant == "joint" and self.estimator not in ("TD0", "TD1", "TDLambda"):
            return False
        return self.estimator not in SLICED or len(self.shape) == 2


GRID = tuple(case for row in product(HEADS, ESTIMATORS, SHAPES, VARIANTS) if (case := Case(*row)).exists)


def covering() -> list[Case]:
    """A few cases in which every two choices meet that meet in any, greedily."""

    def pairs(case: Case) -> set[Any]:
        return {(i, case[i], j, case[j]) for i in range(len(case)) for j in range(i)}

    missing, cases = set().union(*map(pairs, GRID)), []
    while missing:
        best = max(GRID, key=lambda case: len(pairs(case) & missing))
        cases.append(best)
        missing -= pairs(best)
    return cases


def built(case: Case) -> tuple[DQNLoss, TensorDict]:
    """A loss and a batch for it."""
    torch.manual_seed(0)
    is_joint = case.variant == "joint"
    space = MultiCategorical(list(BRANCHES)) if is_joint else Categorical(ACTIONS)
    network = SharedTrunk if case.variant == "dueling" else QNet
    net = network(MLPTrunk((4,), num_cells=[64]), HEADS[case.head], action_space=space, noisy=case.variant == "noisy")
    options: dict[str, Any] = {"joint": "branching"} if is_joint else {}
    loss = DQNLoss(net, delay_value=True, gamma=0.9, **options)
    loss.has_target_update = True  # as far as its warning is concerned
    loss.make_value_estimator(case.estimator)
    with torch.no_grad():
        for parameter in loss.target_value_network.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return loss, batch_of(case)


def batch_of(case: Case) -> TensorDict:
    """Random transitions, a third of them the last of their episodes."""
    shape = case.shape
    done, terminated = torch.rand(2, *shape) < 0.3
    following = {
        "observation": torch.randn(*shape, 4), "reward": torch.randn(*shape, 1),
        "terminated": (done & terminated).unsqueeze(-1), "truncated": (done & ~terminated).unsqueeze(-1),
        "done": done.unsqueeze(-1),
    }  # fmt: skip
    action = torch.randint(ACTIONS, shape)
    rows = {"observation": torch.randn(*shape, 4), "action": action, "action_probability": torch.rand(shape)}
    if case.variant == "joint":
        rows["action"] = torch.stack([torch.randint(size, shape) for size in BRANCHES], -1)
    if case.variant == "masks":
        mask = torch.rand(2, *shape, ACTIONS) < 0.7
        mask[0].scatter_(-1, action.unsqueeze(-1), True)
        mask[1, ..., 0] |= ~mask[1].any(-1)
        rows["action_mask"], following["action_mask"] = mask
    names = [None, "time"] if len(shape) == 2 else None
    return TensorDict({**rows, "next": TensorDict(following, shape)}, shape, names=names)  # pyright: ignore


class _Recorded:
    """In place of a library: keeps the function, and calls it."""

    last: "_Recorded"

    def __init__(self, function: Any, inputs: list[Tensor], comparison: Any) -> None:
        self.function, self.inputs = function, list(inputs)
        _Recorded.last = self

    def __call__(self, inputs: list[Tensor]) -> Any:
        return self.function(*inputs)


def differences(cases: Sequence[Case]) -> dict[Case, float]:
    """The relative difference of the compiled gradient from the eager one of every case, compiled as one library."""
    functions, sizes, inputs, eager = [], [], [], []
    native, compiled_loss.NativeFunction = compiled_loss.NativeFunction, _Recorded  # pyright: ignore
    try:
        for case in cases:
            loss, batch = built(case)
            generator = loss.generator.get_state()
            loss(batch.clone())["loss"].backward()
            learning = [parameter for parameter in loss.parameters() if parameter.requires_grad]
            eager.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in learning])
            loss.generator.set_state(generator)
            CompiledLoss(loss)(batch)
            functions.append(_Recorded.last.function)
            sizes.append(len(_Recorded.last.inputs))
            inputs += _Recorded.last.inputs
    finally:
        compiled_loss.NativeFunction = native

    def together(*tensors: Tensor) -> list[list[Tensor]]:
        parts = iter(tensors)
        taken = [[next(parts) for _ in range(size)] for size in sizes]
        return [list(function(*given)) for function, given in zip(functions, taken, strict=True)]

    found = NativeFunction(together, inputs)(inputs)
    return {case: _apart(one, other[-len(one) :]) for case, one, other in zip(cases, eager, found, strict=True)}


def _apart(right: list[Tensor], found: list[Tensor]) -> float:
    one, other = (torch.cat([tensor.flatten() for tensor in tensors]) for tensors in (right, found))
    return float((one - other).norm() / one.norm())
