"""An ensemble of Q-values on one trunk, for exploration by sampling a member."""

from copy import deepcopy
from functools import partial
from typing import Any

from torch import Tensor

from qframe.actions import AnyActionSpace
from qframe.functional.dueling import dueling as combine
from qframe.heads import Head, Prediction
from qframe.networks.member_memories import MemberMemories, scaled_gradient
from qframe.networks.members import Members
from qframe.networks.noisy import make_noisy
from qframe.networks.q_net import GreedyNetwork, MakeHead
from qframe.networks.recurrent_trunk import MakeMemory, with_memory
from qframe.networks.trunks import Trunk


class EnsembleQNet(GreedyNetwork):
    """K estimates of the action values on one trunk, with any head; ``exploration=bootstrapped`` acts by one of them.

    See "Deep Exploration via Bootstrapped DQN", Osband et al., 2016, section 3. With ``prior_scale`` every member adds
    a fixed random function of its own, ``q_k + β · p_k``, on a copy of the trunk that is not trained: "Randomized Prior
    Functions for Deep Reinforcement Learning", Osband et al., 2018, section 3. It is added to the raw outputs, which
    are the logits of a categorical head.

    Called with a tensordict it writes the mean over members as ``action_value`` ``[*B, A]``, and the action that is
    greedy for it; that is how it is evaluated.

    Args:
        trunk: observation → features ``[*B, H]``.
        make_head: a head's class, or anything that builds one from ``(features, num_actions)``; called with K·A.
        action_space: a single choice, or the action's spec.
        make_memory: a memory's class, or anything that builds one from ``(num_features, num_actions)``: every member
            has one of its own. None: values depend on the current observation alone.
        num_members: K ≥ 2.
        prior_scale: β ≥ 0; 0 is no prior.
        scale_gradients: whether every member learns from the whole of its own loss and the trunk from the mean of all,
            as the 2016 paper has it; else both learn from the mean.
        dueling: whether each member is a state value plus advantages.
        noisy: whether linear layers of the trunk and the head are noisy (``NoisyLinear``).
        noisy_std: σ₀ of noisy layers.
        normalize_observation: whether observations are normalised by the mean and variance of those collected, for the
            prior as well.

    Raises:
        ValueError: a joint action, fewer than two members, a negative β, or a prior beside a memory.

    >>> import torch
    >>> from qframe.actions import Categorical
    >>> from qframe.heads import ScalarHead
    >>> from qframe.networks import MLPTrunk
    >>> network = EnsembleQNet(MLPTrunk((4,), num_cells=[16]), ScalarHead, action_space=Categorical(2), num_members=5)
    >>> network.predict(torch.zeros(3, 4)).out.shape
    torch.Size([5, 3, 2, 1])
    """

    def __init__(
        self,
        trunk: Trunk,
        make_head: MakeHead,
        *,
        action_space: AnyActionSpace,
        make_memory: MakeMemory | None = None,
        num_members: int = 10,
        prior_scale: float = 0.0,
        scale_gradients: bool = True,
        dueling: bool = False,
        noisy: bool = False,
        noisy_std: float = 0.5,
        normalize_observation: bool = False,
    ) -> None:
        super().__init__(action_space)
        num_actions = self.action_space.num_actions
        if self.action_space.is_joint:
            raise ValueError(f"an ensemble takes no joint actions, got {action_space}; use action_space=enumerated")
        if not prior_scale >= 0:
            raise ValueError(f"expected prior_scale of at least 0, got {prior_scale}")
        if prior_scale and make_memory is not None:
            raise ValueError("a prior sees one observation, which is not kept beside a memory; set prior_scale=0")
        self.members = self.branches = Members(num_members)
        self.num_members, self.prior_scale, self.scale_gradients = num_members, prior_scale, scale_gradients
        self._has_memory, self._trunk_scale = make_memory is not None, 1 / num_members if scale_gradients else 1.0
        if make_memory is not None:
            make_memory = partial(MemberMemories, make_memory, num_members, gradient_scale=self._trunk_scale)
        self.trunk = with_memory(trunk, make_memory, self.action_space, normalize_observation=normalize_observation)
        num_features = self.trunk.num_features // (num_members if self._has_memory else 1)
        self.head = make_head(num_features, num_members * num_actions)
        self.state_head = make_head(num_features, num_members).as_follower() if dueling else None
        self.prior_trunk, self.prior_head = None, None
        if prior_scale:
            self.prior_trunk = deepcopy(self.trunk).requires_grad_(False)
            prior = make_head(trunk.num_features, num_members * num_actions)
            self.prior_head = prior.as_follower().requires_grad_(False)
        if noisy:
            make_noisy(trunk, self.head, *([] if self.state_head is None else [self.state_head]), std_init=noisy_std)

    @property
    def level_heads(self) -> list[Head[Any]]:
        return [self.head if self.state_head is None else self.state_head]

    def predict(self, observation: Any, taus: Tensor | None = None) -> Prediction:
        """The prediction of every member for every action, ``[*B, …]`` → ``[K, *B, A, N]``."""
        features = self.trunk(observation)
        if self._has_memory:
            features = features.unflatten(-1, (self.num_members, -1)).movedim(-2, 0)  # [K, *B, M]
        else:
            features = scaled_gradient(features, self._trunk_scale)
        prediction = self.head.prediction(features, taus)
        out = self._split(prediction.out)
        if self.state_head is not None:
            state = self.state_head.prediction(features, prediction.levels).out
            out = combine(self._split(state).squeeze(-2), out)  # [K, *B, A, N]
        out = scaled_gradient(out, self.num_members if self.scale_gradients else 1)
        if self.prior_trunk is not None and self.prior_head is not None:
            prior = self.prior_head.prediction(self.prior_trunk(observation), prediction.levels).out
            out = out + self.prior_scale * self.members.split(prior)
        return prediction._replace(out=out)

    def _split(self, out: Tensor) -> Tensor:
        """The outputs of every member ``[K, *B, A, N]``: with a memory, those that it makes of its own features."""
        out = self.members.split(out)
        return out.diagonal(dim1=0, dim2=1).movedim(-1, 0) if self._has_memory else out
