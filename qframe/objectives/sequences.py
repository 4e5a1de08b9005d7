"""Sequences in the loss: networks with a memory, unrolled once and then read like observations."""

from typing import Any, NamedTuple

import torch
from tensordict import TensorDictBase
from torch import Tensor

from qframe.estimators.protocol import Batch
from qframe.heads import Head, Prediction
from qframe.networks.protocol import Network
from qframe.networks.recurrent_trunk import RecurrentTrunk, Remembered, Unrolled


class Sides(NamedTuple):
    """The same steps as the online and as the target network remember them."""

    online: Remembered
    target: Remembered


class Side:
    """A network with a memory as the loss calls it: it predicts from its own side of what was unrolled.

    Args:
        network: the network.
        is_target: which side is its own.
    """

    def __init__(self, network: Network, *, is_target: bool) -> None:
        self._network, self._side = network, int(is_target)
        self.head: Head[Any] = network.head
        self.branches, self.members = network.branches, getattr(network, "members", None)
        self.observe = network.observe

    def predict(self, observation: Any, taus: Tensor | None = None) -> Prediction:
        return self._network.predict(observation[self._side], taus)


def remembered_batch(batch: Batch, online: Unrolled, target: Unrolled) -> Batch:
    """A batch whose observations are what both networks remember of them."""
    return batch._replace(
        observation=Sides(online.now, target.now), next_observation=Sides(online.following, target.following)
    )


@torch.no_grad()
def memory_metrics(network: Network, unrolled: Unrolled) -> dict[str, Tensor]:
    """The size of a memory's state, and how far action values move if it is computed again.

    ``delta_q`` is ``‖q(ĥ) − q(h)‖₂ / max |q(ĥ)|``, ĥ the state that the sequence leads to and h the one stored when the
    environment was there, at the first step after the burn-in and at the last one. See "Recurrent Experience Replay in
    Distributed Reinforcement Learning", Kapturowski et al., 2019, section 3.

    Args:
        network: gives the values.
        unrolled: with the features from stored states, if states are stored.
    """
    metrics = {"state_norm": unrolled.state.norm(dim=-1).mean()}
    if unrolled.stored is None:
        return metrics
    ends = Remembered(unrolled.now.features[..., [0, -1], :])
    again, stored = (
        network.branches.join(network.head.value(network.predict(x))) for x in (ends, unrolled.stored)
    )  # [*B, 2, A]
    change = (again - stored).norm(dim=-1) / again.abs().amax().clamp(min=1e-8)
    first, last = change.unbind(-1)
    return metrics | {"delta_q_first": first.mean(), "delta_q_last": last.mean()}


def unrolled_by(
    trunk: RecurrentTrunk, sequence: TensorDictBase, burn_in: int, *, compares: bool = False
) -> Unrolled:
    """A sequence as a network's memory sees it.

    Raises:
        ValueError: a flat batch, or one that lacks what a memory takes.
    """
    name = type(trunk.memory).__name__
    if "time" not in sequence.names and sequence.batch_dims < 2:
        raise ValueError(
            f"{name} learns from sequences: expected a batch with a time dimension ([B, T], or one named 'time'), got "
            f"a flat one of shape {[*sequence.batch_size]}; sample slices"
        )
    if burn_in >= sequence.batch_size[-1]:
        raise ValueError(
            f"expected sequences of more than burn_in={burn_in} steps, got {sequence.batch_size[-1]}; nothing is left "
            "to learn from"
        )
    return trunk.unroll(sequence, burn_in, compares=compares)
