"""The categorical head of C51: probabilities of fixed, evenly spaced returns."""

from typing import Literal

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
        v_min: lowest atom, in units of the discounted return; ``auto`` leaves it to ``set_bounds``.
        v_max: highest atom, likewise.
        transform: of returns: ``none`` or ``h``; numbers given here are then transformed returns.

    Raises:
        ValueError: fewer than two atoms, ``v_min`` not below ``v_max``, or an unknown transform.
    """

    needs_state_value = True  # softmax(V + A) is not ordered by A
    supports_sum = False  # the distribution of a sum is a convolution

    update_cost = 4
    padding = 0.0
    """The part of the support that ``set_bounds`` leaves beyond a return at its end."""

    def __init__(
        self,
        features: int | None,
        num_actions: int,
        *,
        num_atoms: int = 51,
        v_min: float | Literal["auto"] = -10.0,
        v_max: float | Literal["auto"] = 10.0,
        transform: str = "none",
    ) -> None:
        if num_atoms < 2:
            raise ValueError(f"expected num_atoms of at least 2, got {num_atoms}")
        self.has_auto_bounds = v_min == "auto", v_max == "auto"
        low = v_min if v_min != "auto" else -10.0 if v_max == "auto" else v_max - 20.0
        high = low + 20.0 if v_max == "auto" else v_max
        if not low < high:
            raise ValueError(f"expected v_min below v_max, got v_min={v_min} and v_max={v_max}")
        super().__init__(features, num_actions, num_outputs=num_atoms, transform=transform)
        self.support: Tensor
        self.register_buffer("support", torch.linspace(float(low), float(high), num_atoms))

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """The lowest and the highest atom, ``[]`` each."""
        return self.support[0], self.support[-1]

    @property
    def expressible(self) -> tuple[float, float]:
        ends = self.support[[0, -1]].double()
        low, high = (ends if self.transform is None else self.transform.inverse(ends)).tolist()
        return low, high

    def set_bounds(self, low: float, high: float) -> None:
        """Move the atoms, in place, to even steps around two returns; an end that was given as a number stays.

        Outputs keep their places among the atoms, so their meaning changes: ``training.support`` fits them again.
        """
        wanted = torch.tensor([low, high], dtype=torch.float64)
        wanted = wanted if self.transform is None else self.transform.forward(wanted)
        pairs = zip(self.has_auto_bounds, wanted.tolist(), self.support[[0, -1]].tolist(), strict=True)
        first, last = (new if is_auto else old for is_auto, new, old in pairs)
        pad = (last - first) * self.padding / (1 - self.padding * sum(self.has_auto_bounds))
        first, last = first - pad * self.has_auto_bounds[0], last + pad * self.has_auto_bounds[1]
        self.support.copy_(torch.linspace(first, last, self.num_outputs))

    def law(self, prediction: Prediction) -> Law:
        probs = prediction.out.softmax(-1)
        return Law(self.support.to(probs.dtype).expand_as(probs), probs)

    def value(self, prediction: Prediction) -> Tensor:
        if self.transform is not None:
            return super().value(prediction)
        return prediction.out.softmax(-1) @ self.support.to(prediction.out.dtype)

    def project(self, law: Law) -> Tensor:
        return categorical_projection(law, *self.ends, self.num_outputs)

    def loss(self, prediction: Prediction, target: Tensor) -> tuple[Tensor, Tensor]:
        support = self.support.to(target.dtype)
        td_error = (target - prediction.out.softmax(-1)) @ support
        return categorical_cross_entropy(prediction.out, target), td_error
