"""The base of every Q-value head: the last layer of a network, and the meaning of its outputs.

To add a head, write one file with a subclass of ``Head`` and one YAML that names it. Shapes: ``*B`` any batch
dimensions (time, branches and ensemble members included), ``A`` actions, ``N`` outputs per action, ``K`` bootstraps.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from qframe.functional.backup import Backup, LambdaBackup, Law, apply, mix
from qframe.functional.rescaling import TRANSFORMS
from qframe.functional.returns import lambda_horizons

TargetT = TypeVar("TargetT")


class Prediction(NamedTuple):
    """The raw outputs of a head, and their quantile levels if the head takes levels.

    Only the head interprets the last dimension; other code moves, takes and adds up whole vectors of it.
    """

    out: Tensor  # [*B, A, N]; [*B, N] once an action is taken
    taus: Tensor | None = None  # [*B, 1, N]; [*B, N] once an action is taken

    @property
    def levels(self) -> Tensor | None:
        """The quantile levels ``[*B, N]`` at which another head gives outputs that match these."""
        return None if self.taus is None else self.taus.squeeze(-2)


class Head(nn.Module, ABC, Generic[TargetT]):
    """A Q-value head: it owns the last layer (width ``A·N``) and says what the outputs mean.

    A subclass defines ``law``, ``project`` and ``loss``; the rest follows. Only the head interprets the target that
    ``project`` returns. With a transform, outputs, targets, losses and td_errors are in units of the transformed
    return; ``value`` is in units of the return.

    Args:
        features: size of the features that the network emits. None: no layer, the head only interprets the outputs
            of a network that has its own.
        num_actions: A; 1 for the state-value stream of a shared trunk.
        num_outputs: N, outputs per action.
        width: of the last layer; None is ``A·N``.
        transform: of the returns that the head learns: ``h`` (Pohlen et al., 2018) or ``none``.

    Raises:
        ValueError: a size below 1, or an unknown transform.
    """

    needs_state_value: bool = False
    """True where the order of dueling advantages alone is not the order of the action values."""
    supports_lambda: ClassVar[bool] = True
    """False where the head has no λ-target; an estimator over time is then refused when it is built."""
    supports_sum: ClassVar[bool] = True
    """False where outputs of several branches cannot be added up to those of their sum."""
    targets_mean: ClassVar[bool] = False
    """True where the target is the mean return alone, so that any estimate of the mean will do."""
    update_cost: ClassVar[int] = 1
    """The time of an update, as a rough multiple of one with a scalar head; ``compile=auto`` reads it."""
    has_auto_bounds: tuple[bool, bool] = (False, False)
    """Whether the lowest and the highest expressible return follow those of training, through ``set_bounds``."""
    has_levels: ClassVar[bool] = False
    """True if the quantile levels of a prediction are its own, so that its outputs mean nothing without them."""
    takes_taus: ClassVar[bool] = False
    """True if the head predicts at given quantile levels, which ``draw_taus`` draws."""

    def __init__(
        self,
        features: int | None,
        num_actions: int,
        *,
        num_outputs: int,
        width: int | None = None,
        transform: str = "none",
    ) -> None:
        super().__init__()
        for name, size in (("features", features), ("num_actions", num_actions), ("num_outputs", num_outputs)):
            if size is not None and size < 1:
                raise ValueError(f"expected {name} of at least 1, got {size}")
        self.num_actions, self.num_outputs = num_actions, num_outputs
        if transform not in TRANSFORMS:
            raise ValueError(f"expected transform to be one of {', '.join(TRANSFORMS)}, got {transform!r}")
        self.transform = TRANSFORMS[transform]
        if self.transform is not None and not self.targets_mean:
            self.needs_state_value = True  # the mean of h⁻¹(V + A) is not ordered by A
        width = num_actions * num_outputs if width is None else width
        self.layer: nn.Module = nn.Identity() if features is None else nn.Linear(features, width)

    @property
    def expressible(self) -> tuple[float, float] | None:
        """The lowest and the highest return that the head can express; None: any."""
        return None

    def set_bounds(self, low: float, high: float) -> None:
        """Express returns between these, for a head with ``has_auto_bounds``."""
        raise NotImplementedError(f"{type(self).__name__} has no bounds to set")

    def set_initial_mean(self, mean: float) -> None:
        """Start from predictions of about this mean return, for a head whose bounds would decide them otherwise."""

    def prediction(self, features: Tensor, taus: Tensor | None = None) -> Prediction:
        """The outputs for every action, ``[*B, H]`` → ``[*B, A, N]``.

        ``taus`` are quantile levels ``[*B, N]`` for heads that take any; None means their fixed ones.
        """
        layer = self.precise if torch._C._is_any_autocast_enabled() else self.layer
        return Prediction(layer(features).unflatten(-1, (self.num_actions, self.num_outputs)))  # [*B, A, N]

    def precise(self, features: Tensor) -> Tensor:
        """The last layer under autocast: not in bfloat16, whose 8 bits are coarser than differences between actions."""
        with torch.autocast(features.device.type, enabled=False):
            return self.layer(features.to(torch.promote_types(features.dtype, torch.float32)))

    def draw_taus(self, batch: torch.Size, generator: torch.Generator, *, is_target: bool = False) -> Tensor:
        """Random quantile levels ``[*batch, N]`` for one forward pass, on the CPU, for a head that takes them.

        ``is_target``: whether the pass makes targets; such passes may take another number of levels.
        """
        return torch.rand(*batch, self.num_outputs, generator=generator)

    def as_follower(self) -> Self:
        """This head, evaluated at another head's levels: for the state value of a dueling network, or a prior."""
        return self

    @abstractmethod
    def law(self, prediction: Prediction) -> Law:
        """The distribution of (transformed) returns that the outputs represent, ``[*B, A, N]`` or ``[*B, N]``."""

    @abstractmethod
    def project(self, law: Law) -> TargetT:
        """The target of this head for a distribution like its own, ``[*B, M]``."""

    @abstractmethod
    def loss(self, prediction: Prediction, target: TargetT) -> tuple[Tensor, Tensor]:
        """The loss ``[*B]`` of the taken action's prediction, and its signed td_error ``[*B]``.

        For a joint action predictions come ``[D, *B, N]``, with one target for all branches: it broadcasts.

        The td_error is ``mean(target) − mean(prediction)`` for every head, so that priorities are comparable.
        """

    def value(self, prediction: Prediction) -> Tensor:
        """The action values: the mean of each return distribution, ``[*B, A, N]`` → ``[*B, A]``."""
        return self.returns(prediction).mean

    def target(self, bootstrap: Prediction, backup: Backup) -> TargetT:
        """The target ``Σ_k weight_k · law(reward_k + discount_k · z_k)``, transformed if returns are.

        Args:
            bootstrap: the target network's prediction, ``[*B, N]`` for one bootstrap, ``[*B, K, N]`` for K.
            backup: rewards, discounts and weights, ``[*B]`` or ``[*B, K]``.
        """
        return self._project_returns(apply(backup, self.returns(bootstrap)))

    def lambda_target(self, bootstrap: Prediction, backup: LambdaBackup) -> TargetT:
        """The λ-target as an explicit mixture over horizons, exact for every distribution.

        A recursion per quantile would narrow it, and projecting a categorical one at every step would widen it.

        Args:
            bootstrap: prediction for the state after each step, ``[*B, T, N]`` for one bootstrap a step,
                ``[*B, T, K, N]`` for K.
            backup: rewards, discounts and traces ``[*B, T]``; for K bootstraps their weights ``[*B, T, K]``.
        """
        *horizons, weight = backup
        law = self.returns(bootstrap)
        if weight is not None:
            law = mix(weight, law)  # [*B, T, K·N]
        steps = law.location.shape[-2]
        every_horizon = Law(*(x.unsqueeze(-3).expand(*x.shape[:-1], steps, x.shape[-1]) for x in law))  # [*B, T, T, N]
        return self._project_returns(apply(lambda_horizons(*horizons), every_horizon))

    def returns(self, prediction: Prediction) -> Law:
        """The return distribution of a prediction; ``h⁻¹(z)`` if the outputs are transformed returns."""
        law = self.law(prediction)
        return law if self.transform is None else law._replace(location=self.transform.inverse(law.location))

    def _project_returns(self, law: Law) -> TargetT:
        """The target for a return distribution: of ``h(z)``, or of ``h(E z)`` if only the mean is learnt."""
        if self.transform is None:
            return self.project(law)
        if self.targets_mean:
            law = Law(law.mean.unsqueeze(-1), torch.ones_like(law.location[..., :1]))
        return self.project(law._replace(location=self.transform.forward(law.location)))
