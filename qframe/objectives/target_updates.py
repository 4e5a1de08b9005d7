"""Target updates: copy the online network at intervals, or move towards it a little at every update."""

import warnings
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from qframe.functional.compiling import stored
from qframe.optimizer.flat_vector import FlatVector


class DelayedLoss(Protocol):
    """A loss with a target network of its own (``delay_value=True``)."""

    value_network: nn.Module
    target_value_network: nn.Module
    has_target_update: bool


class TargetUpdate:
    """The base of target updates: pairs of (target, online) tensors, buffers included.

    All trainable parameters form one pair of vectors. Vectors and buffers are looked up at every call, as a module may
    bind new tensors; ``.to(device)`` does.

    Args:
        loss: a loss built with ``delay_value=True``.

    Raises:
        ValueError: the loss has no target network.
    """

    def __init__(self, loss: DelayedLoss) -> None:
        if loss.target_value_network is loss.value_network:
            raise ValueError(
                f"{type(self).__name__} needs a loss with a target network; build it with delay_value=True"
            )
        networks = loss.target_value_network, loss.value_network
        self._pairs = list(zip(*(network.parameters() for network in networks), strict=True))
        self._vectors, self._tensors = _flattened(self._pairs)
        self._buffers = list(zip(*map(_buffer_slots, networks), strict=True))
        self.calls = 0
        loss.has_target_update = True

    @torch.no_grad()
    def _copy(self) -> None:
        for target, online in (*zip(*self._parameters(), strict=True), *self._buffer_pairs()):
            target.copy_(online)

    def _parameters(self) -> tuple[list[Tensor], list[Tensor]]:
        """The parameters of the target and of the online network, trainable ones as one vector each."""
        if not all(map(FlatVector.follow, self._vectors)):
            self._vectors, self._tensors = _flattened(self._pairs)
        return self._tensors

    def _buffer_pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        for (target, name), (online, _) in self._buffers:
            yield target.get_buffer(name), online.get_buffer(name)

    def state_dict(self) -> dict[str, int]:
        """The number of calls of ``step``."""
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume from ``state``."""
        self.calls = state["calls"]


class HardUpdate(TargetUpdate):
    """Copy the online network into the target network at calls N, 2N, … of ``step``.

    See "Human-level control through deep reinforcement learning", Mnih et al., 2015, Methods. The reference
    library copies at call 1 already; here the first copy is at call N.

    Args:
        loss: a loss built with ``delay_value=True``.
        value_network_update_interval: N, updates between copies.

    Raises:
        ValueError: an interval below 1, or a loss without a target network.
    """

    def __init__(self, loss: DelayedLoss, *, value_network_update_interval: int) -> None:
        if value_network_update_interval < 1:
            raise ValueError(
                f"expected value_network_update_interval of at least 1 update, got {value_network_update_interval}"
            )
        super().__init__(loss)
        self.value_network_update_interval = value_network_update_interval

    def step(self) -> None:
        """Count one update, and copy when N have passed."""
        self.calls += 1
        if self.calls % self.value_network_update_interval == 0:
            self._copy()

    def mix(self, target: Tensor, online: Tensor, calls: Tensor) -> Tensor:
        """A target tensor after the call of this number ``[]``, as a pure function."""
        return torch.where(stored(calls % self.value_network_update_interval == 0), online, target)

    @torch.no_grad()
    def count(self, updates: int) -> None:
        """Count updates that have already moved the parameters, and move the buffers."""
        rounds = [calls // self.value_network_update_interval for calls in (self.calls, self.calls + updates)]
        self.calls += updates
        for target, online in self._buffer_pairs() if rounds[0] < rounds[1] else ():
            target.copy_(online)


class SoftUpdate(TargetUpdate):
    """Move the target network towards the online network at every call: ``θ⁻ ← θ⁻ + τ · (θ − θ⁻)``.

    See "Continuous control with deep reinforcement learning", Lillicrap et al., 2016, section 3. Integer buffers
    are copied.

    Args:
        loss: a loss built with ``delay_value=True``.
        tau: τ in (0, 1], the share of the online network.
        eps: 1 − τ; give one of the two.

    Raises:
        ValueError: both or neither given, or τ outside (0, 1].
    """

    def __init__(self, loss: DelayedLoss, *, tau: float | None = None, eps: float | None = None) -> None:
        if (tau is None) == (eps is None):
            raise ValueError(f"expected one of tau and eps = 1 - tau, got tau={tau} and eps={eps}")
        self.tau = 1.0 - eps if eps is not None else tau or 0.0
        if not 0 < self.tau <= 1:
            raise ValueError(f"expected tau in (0, 1], got {self.tau}")
        if eps is not None and eps < 0.5:
            warnings.warn(
                f"eps={eps:g} below 0.5 is unexpected: the online network's share would be {self.tau:g}; if eps was "
                f"meant to be that share, set tau={eps:g}", UserWarning, stacklevel=2,
            )  # fmt: skip
        super().__init__(loss)

    @torch.no_grad()
    def step(self) -> None:
        """Move the target network by one update."""
        self.calls += 1
        if self._pairs:
            torch._foreach_lerp_(*self._parameters(), self.tau)  # pyright: ignore[reportPrivateImportUsage]
        if self._buffers:
            self._mix_buffers()

    def mix(self, target: Tensor, online: Tensor, calls: Tensor) -> Tensor:
        """A target tensor after one call, as a pure function."""
        return target.lerp(online, self.tau)

    @torch.no_grad()
    def count(self, updates: int) -> None:
        """Count updates that have already moved the parameters, and move the buffers."""
        self.calls += updates
        for _ in range(updates):
            self._mix_buffers()

    def _mix_buffers(self) -> None:
        for target, online in self._buffer_pairs():
            target.lerp_(online, self.tau) if target.is_floating_point() else target.copy_(online)


class NoUpdate:
    """No target network: for a loss that bootstraps on its online network.

    Args:
        loss: a loss built with ``delay_value=False``.

    Raises:
        ValueError: the loss has a target network, which would never move.
    """

    calls = 0

    def __init__(self, loss: DelayedLoss) -> None:
        if loss.target_value_network is not loss.value_network:
            raise ValueError(
                "NoUpdate would never move the target network of this loss; choose target=hard or target=soft, or set "
                "loss.delay_value=false"
            )

    def step(self) -> None:
        """Do nothing."""

    def mix(self, target: Tensor, online: Tensor, calls: Tensor) -> Tensor:
        """The target, unchanged."""
        return target

    def count(self, updates: int) -> None:
        """Do nothing."""

    def state_dict(self) -> dict[str, int]:
        """Empty."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Do nothing."""


def _flattened(
    pairs: list[tuple[nn.Parameter, nn.Parameter]],
) -> tuple[list[FlatVector], tuple[list[Tensor], list[Tensor]]]:
    """The vectors of trainable parameters, if dtypes and devices agree; and all parameters of target and online."""
    learning, others = ([pair for pair in pairs if pair[1].requires_grad is learns] for learns in (True, False))
    sides = [[pair[side] for pair in learning] for side in (0, 1)]
    vectors = [FlatVector(side) for side in sides] if all(map(FlatVector.fits, sides)) else []
    target, online = [[vector.vector] for vector in vectors] if vectors else sides
    return vectors, ([*target, *(t for t, _ in others)], [*online, *(o for _, o in others)])


def _buffer_slots(network: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """The module that holds each buffer, and the buffer's name there."""
    for path, _ in network.named_buffers():
        owner, _, name = path.rpartition(".")
        yield network.get_submodule(owner), name
