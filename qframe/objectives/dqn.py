"""The DQN loss as a module: what it is set up with. What it does with a batch is in ``transition_loss``."""

from copy import deepcopy
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from qframe.actions.action_space import encoder
from qframe.actions.branches import make_branches
from qframe.actions.specs.base import TensorSpec
from qframe.estimators.factory import ValueEstimators
from qframe.heads import Head
from qframe.modules.adapters import agreed_layout, as_network
from qframe.modules.q_value import QValueModule
from qframe.networks.noise import random_passes
from qframe.objectives.batch import TransitionLoss, place_of_floats
from qframe.objectives.joint_actions import JOINT
from qframe.objectives.q_learning import JointAction, OneAction


class DQNLoss(TransitionLoss):
    """The DQN loss of a value network, for scalar and distributional heads, with any value estimator.

    The target is ``r + γⁿ · (1 − terminated) · V(s′)``: ``truncated`` never cuts the bootstrap, and the cut is a
    select, so that NaN or inf in a terminal next state does no harm.

    Called with a tensordict it returns one with ``loss`` and detached metrics, and writes ``td_error``
    ``|E target − E prediction|``, ``[*B, 1]``, into its input (the seed library writes a squared error for scalar and
    the loss for distributional networks; here it is absolute for every head). Called with keywords
    (``observation, action, next_observation, next_reward, next_done``, further ``next_terminated``, …) it returns the
    loss alone.

    Args:
        value_network: a ``QNet``, a ``SharedTrunk``, a ``QValueActor``, a ``DistributionalQValueActor``, or a plain
            module observation → action values ``[*B, A]``.
        loss_function: ``l2``, ``l1`` or ``smooth_l1``, for a scalar network without a head of its own; None is ``l2``.
        delay_value: whether to keep a target network; update it with ``HardUpdate`` or ``SoftUpdate``.
        double_dqn: whether the online network selects next actions; needs ``delay_value``.
        action_space: a name or a spec; None takes the network's.
        reduction: ``mean``, ``sum`` or ``none``; None is ``mean``. Weights under ``priority_weight`` multiply first.
        priority: what feeds priorities: ``td_error``, or ``loss`` (Rainbow), then written under ``priority``.
        joint: how a joint action is trained: ``sum``, its value the sum of its branches', or ``branching``, every
            branch valuing the whole action (Tavakoli et al., 2018); a plain action has no branches.
        gamma: γ, for batches without ``("next", "discount")``.
        seed: of the generator that draws quantile levels and the noise of noisy layers.

    Raises:
        ValueError: Double DQN without a target network, a shared trunk whose state value nothing learns, an action
            space that differs from the network's or that this loss does not train on, the sum of categorical laws, an
            unknown option.

    >>> import torch
    >>> from tensordict import TensorDict
    >>> from qframe.modules import QValueActor
    >>> from qframe.networks import MLP
    >>> from qframe.actions import OneHotDiscreteTensorSpec
    >>> n_obs, n_act = 4, 3
    >>> value_net = MLP(in_features=n_obs, out_features=n_act)
    >>> spec = OneHotDiscreteTensorSpec(n_act)
    >>> actor = QValueActor(value_net, in_keys=["observation"], action_space=spec)
    >>> loss = DQNLoss(actor, action_space=spec)
    >>> batch = [10,]
    >>> data = TensorDict({
    ...     "observation": torch.randn(*batch, n_obs),
    ...     "action": spec.rand(batch),
    ...     ("next", "observation"): torch.randn(*batch, n_obs),
    ...     ("next", "done"): torch.zeros(*batch, 1, dtype=torch.bool),
    ...     ("next", "reward"): torch.randn(*batch, 1)
    ... }, batch)
    >>> loss(data)
    TensorDict(batch_size=[], fields={loss: f32[], td_error_mean: f32[]})

    Without a tensordict:

    >>> from qframe.objectives import DQNLoss
    >>> from qframe.actions import OneHotDiscreteTensorSpec
    >>> from torch import nn
    >>> import torch
    >>> n_obs = 3
    >>> n_action = 4
    >>> action_spec = OneHotDiscreteTensorSpec(n_action)
    >>> value_network = nn.Linear(n_obs, n_action) # a simple value model
    >>> dqn_loss = DQNLoss(value_network, action_space=action_spec)
    >>> # define data
    >>> observation = torch.randn(n_obs)
    >>> next_observation = torch.randn(n_obs)
    >>> action = action_spec.rand()
    >>> next_reward = torch.randn(1)
    >>> next_done = torch.zeros(1, dtype=torch.bool)
    >>> loss_val = dqn_loss(
    ...     observation=observation,
    ...     next_observation=next_observation,
    ...     next_reward=next_reward,
    ...     next_done=next_done,
    ...     action=action)
    >>> loss_val.shape
    torch.Size([])
    """

    learns_state_value: ClassVar[bool] = False
    """Whether a state-value stream that is no part of Q gets a gradient."""

    def __init__(
        self,
        value_network: nn.Module,
        *,
        loss_function: str | None = None,
        delay_value: bool = False,
        double_dqn: bool = False,
        action_space: str | TensorSpec | None = None,
        reduction: Literal["mean", "sum", "none"] | None = "mean",
        priority: Literal["td_error", "loss"] = "td_error",
        joint: Literal["sum", "branching"] = "sum",
        gamma: float = 0.99,
        seed: int = 0,
    ) -> None:
        super().__init__(gamma=gamma)
        if double_dqn and not delay_value:
            raise ValueError("expected delay_value=True with double_dqn=True, got False: it needs a target network")
        if not getattr(value_network, "dueling", True) and not self.learns_state_value:
            raise ValueError(
                "expected dueling=true for a shared trunk under loss=dqn, got false: the value stream would get no "
                "gradient; set network.dueling=true or choose network=q_net or loss=dqv"
            )
        reduction = "mean" if reduction is None else reduction
        _check_option("reduction", reduction, ("mean", "sum", "none"))
        _check_option("priority", priority, ("td_error", "loss"))
        _check_option("joint", joint, tuple(JOINT))
        layout = agreed_layout(action_space, value_network)
        branches = make_branches(layout)
        self.value_network = value_network
        self.target_value_network = _frozen_copy(value_network) if delay_value else value_network
        self._networks = (
            as_network(value_network, loss_function=loss_function, branches=branches),
            as_network(self.target_value_network, loss_function=loss_function, branches=branches),
        )
        if self._networks[0] is not value_network:
            self.adapter_head = self._networks[0].head  # its buffers move with the loss
        self._branches = self._networks[0].branches
        self.delay_value, self.double_dqn = delay_value, double_dqn
        self.reduction, self.priority = reduction, priority
        self.action_space = layout.name
        self._is_joint = layout.var_nums is not None
        members = getattr(self._networks[0], "members", None)
        self._has_members = members is not None
        self._joint = _joint_action(joint, self.head) if self._is_joint else members or OneAction()
        q_value: QValueModule | None = getattr(self._networks[0], "q_value", None)
        self._takes_mask = q_value is not None and q_value.action_mask_key is not None
        if q_value is not None and q_value.action_mask_key is not None:
            self.set_keys(action_mask=q_value.action_mask_key)
        self._encode = encoder(layout)
        modules = value_network, self.target_value_network
        self._random, self._place = random_passes(self._networks, modules), place_of_floats(value_network)
        self.generator = torch.Generator().manual_seed(seed)
        self.make_value_estimator(ValueEstimators.TD0)


def _frozen_copy(network: nn.Module) -> nn.Module:
    if any(is_lazy(parameter) for parameter in network.parameters()):
        raise ValueError("expected a network of known sizes for delay_value=True, got a lazy one; call it once before")
    return deepcopy(network).requires_grad_(False)


def _joint_action(name: str, head: Head[Any]) -> JointAction:
    if name == "sum" and not head.supports_sum:
        raise ValueError(
            f"expected joint=branching for {type(head).__name__}, got sum: the law of a sum is a convolution, which it "
            "does not have"
        )
    if name == "sum" and head.transform is not None and not head.targets_mean:
        raise ValueError(
            f"expected joint=branching for {type(head).__name__} with a transform of returns, got sum: the mean of a "
            "sum of transformed laws is not that of its branches"
        )
    return JOINT[name]()


def _check_option(name: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise ValueError(f"expected {name} to be one of {', '.join(options)}, got {value!r}")
