"""The categorical head of C51: probabilities of fixed, evenly spaced returns."""

import torch
from torch import Tensor

from qframe.functional.backup import Law
from qframe.functional.distributional import categorical_cross_entropy, categorical_projection
from qframe.heads.base import Head, Prediction


class CategoricalHead(Head[Tensor]):
    """A distribution over ``num_atoms`` fixed returns per action; its target is probabilities ``[*B, N]``.

    See "A Distributional Perspective on Reinforcement Learning", Bellemare et al., 2017, section 4.

    Args:
        features: size of the features that the network emits; None: the head owns no layer.
        num_actions: A.
        num_atoms: N ≥ 2.
        v_min: lowest atom, in units of the discounted return.
        v_max: highest atom.
        transform: of returns: ``none`` or ``h``; atoms are then transformed returns.

    Raises:
        ValueError: fewer than two atoms, ``v_min`` not below ``v_max``, or an unknown transform.
    """

    needs_state_value = True  # softmax(V + A) is not ordered by A
    supports_sum = False  # the distribution of a sum is a convolution

    update_cost = 4

    def __init__(
        self,
        features: int | None,
        num_actions: int,
        *,
        num_atoms: int = 51,
        v_min: float = -10.0,
        v_max: float = 10.0,
        transform: str = "none",
    ) -> None:
        if num_atoms < 2:
            raise ValueError(f"expected num_atoms of at least 2, got {num_atoms}")
        if not v_min < v_max:
            raise ValueError(f"expected v_min below v_max, got v_min={v_min} and v_max={v_max}")
        super().__init__(features, num_actions, num_outputs=num_atoms, transform=transform)
        self.v_min, self.v_max = float(v_min), float(v_max)
        self.support: Tensor
        self.register_buffer("support", torch.linspace(self.v_min, self.v_max, num_atoms))

    @property
    def expressible(self) -> tuple[float, float]:
        ends = self.support[[0, -1]].double()
        low, high = (ends if self.transform is None else self.transform.inverse(ends)).tolist()
        return low, high

    def law(self, prediction: Prediction) -> Law:
        probs = prediction.out.softmax(-1)
        return Law(self.support.to(probs.dtype).expand_as(probs), probs)

    def value(self, prediction: Prediction) -> Tensor:
        if self.transform is not None:
            return super().value(prediction)
        return prediction.out.softmax(-1) @ self.support.to(prediction.out.dtype)

    def project(self, law: Law) -> Tensor:
        return categorical_projection(law, self.v_min, self.v_max, self.num_outputs)

    def loss(self, prediction: Prediction, target: Tensor) -> tuple[Tensor, Tensor]:
        support = self.support.to(target.dtype)
        td_error = (target - prediction.out.softmax(-1)) @ support
        return categorical_cross_entropy(prediction.out, target), td_error
