"""The DQN loss as a module: documented layouts in, the pure loss of ``q_learning`` inside."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Literal, cast

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from qframe.data.action_space import encoder
from qframe.data.keys import NestedKey
from qframe.data.specs import TensorSpec
from qframe.modules import NoisyLinear
from qframe.modules.heads import Head
from qframe.modules.networks.adapters import agreed_layout, as_network
from qframe.modules.q_value import QValueModule
from qframe.objectives.estimators import ValueEstimators
from qframe.objectives.joint import JOINT
from qframe.objectives.q_learning import Batch, JointAction, Noise, OneAction, dqn_loss
from qframe.objectives.value_loss import ValueLoss


class DQNLoss(ValueLoss):
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
        reduction: ``mean``, ``sum`` or ``none``; importance weights under ``priority_weight`` multiply first.
        priority: what feeds priorities: ``td_error``, or ``loss`` (Rainbow), then written under ``priority``.
        joint: how a joint action is trained: ``sum``, its value the sum of its branches', or ``branching``, every
            branch valuing the whole action (Tavakoli et al., 2018); a plain action has no branches.
        gamma: γ, for batches without ``("next", "discount")``.
        seed: of the generator that draws quantile levels.

    Raises:
        ValueError: Double DQN without a target network, an action space that differs from the network's or that this
            loss does not train on, the sum of categorical laws, an unknown option.

    >>> import torch
    >>> from tensordict import TensorDict
    >>> from qframe.modules import MLP, QValueActor
    >>> from qframe.data import OneHotDiscreteTensorSpec
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
    >>> from qframe.data import OneHotDiscreteTensorSpec
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

    def __init__(
        self,
        value_network: nn.Module,
        *,
        loss_function: str | None = None,
        delay_value: bool = False,
        double_dqn: bool = False,
        action_space: str | TensorSpec | None = None,
        reduction: Literal["mean", "sum", "none"] = "mean",
        priority: Literal["td_error", "loss"] = "td_error",
        joint: Literal["sum", "branching"] = "sum",
        gamma: float = 0.99,
        seed: int = 0,
    ) -> None:
        super().__init__(gamma=gamma)
        if double_dqn and not delay_value:
            raise ValueError("expected delay_value=True with double_dqn=True, got False: it needs a target network")
        _check_option("reduction", reduction, ("mean", "sum", "none"))
        _check_option("priority", priority, ("td_error", "loss"))
        _check_option("joint", joint, tuple(JOINT))
        layout = agreed_layout(action_space, value_network)
        self.value_network = value_network
        self.target_value_network = _frozen_copy(value_network) if delay_value else value_network
        self._networks = tuple(
            as_network(network, loss_function=loss_function, layout=layout)
            for network in (value_network, self.target_value_network)
        )
        if self._networks[0] is not value_network:
            self.adapter_head = self._networks[0].head  # its buffers move with the loss
        self.delay_value, self.double_dqn = delay_value, double_dqn
        self.reduction, self.priority = reduction, priority
        self.action_space = layout.name
        self._branches = self._networks[0].branches
        self._is_joint = layout.var_nums is not None
        self._joint = _joint_action(joint, self.head) if self._is_joint else OneAction()
        q_value: QValueModule | None = getattr(self._networks[0], "q_value", None)
        self._takes_mask = q_value is not None and q_value.action_mask_key is not None
        if q_value is not None and q_value.action_mask_key is not None:
            self.set_keys(action_mask=q_value.action_mask_key)
        self._encode = encoder(layout)
        self._noisy = [layer for layer in self.modules() if hasattr(layer, "reset_noise")]
        self.generator = torch.Generator().manual_seed(seed)
        self.make_value_estimator(ValueEstimators.TD0)

    @property
    def head(self) -> Head[Any]:
        """The head that interprets the network's predictions."""
        return self._networks[0].head

    @property
    def priority_key(self) -> NestedKey:
        """Where the loss writes what feeds priorities."""
        return self.keys.priority if self.priority == "td_error" else "priority"

    def forward(self, tensordict: TensorDictBase | None = None, **keywords: Tensor) -> TensorDictBase | Tensor:
        """The loss of a batch of transitions; see the class.

        Raises:
            KeyError: a required entry is missing.
            ValueError: a flat batch for an estimator over time, or entries whose shapes disagree.
        """
        if tensordict is None:
            return self._evaluate(self._read(_from_keywords(keywords)))[0]
        ordered, restore = _time_last(tensordict)
        batch = self._read(ordered)
        loss, per_transition, td_error = self._evaluate(batch)
        size = self._joint.mean(td_error.abs())
        tensordict.set(self.keys.priority, restore(size).unsqueeze(-1))
        if self.priority == "loss":
            tensordict.set("priority", restore(per_transition).unsqueeze(-1))
        return TensorDict({"loss": restore(loss) if loss.dim() else loss, "td_error_mean": size.mean()})

    def _read(self, tensordict: TensorDictBase) -> Batch:
        """The loss's door: a documented tensordict layout in, plain tensors ``[*B]`` out."""
        keys, next_keys, requires = self.keys, self.next_keys, self.estimator.requires
        index = self._encode(tensordict[keys.action])  # [*B], or [*B, D]
        shape = index.shape[:-1] if self._is_joint else index.shape
        reward = _squeeze(tensordict[next_keys.reward].to(self._dtype), shape, next_keys.reward)
        discount, done = self._discount_and_done(tensordict, reward)
        batch = Batch(
            observation=self._networks[0].observe(tensordict),
            action=self._branches.in_front(index),
            reward=reward,
            discount=discount,
            next_observation=self._networks[0].observe(tensordict["next"]),
            done=done,
            mask=self._branches.legal(tensordict.get(keys.action_mask, None), shape),
            next_mask=self._branches.legal(self._next_mask(tensordict), shape),
            priority_weight=_optional(tensordict, keys.priority_weight, shape),
            action_probability=_optional(tensordict, "action_probability", shape),
        )
        if "behaviour_probability" in requires and batch.action_probability is None:
            raise KeyError(f"expected 'action_probability' in the batch for {type(self.estimator).__name__}")
        if "time" in requires and reward.dim() < 2 and "time" not in tensordict.names:
            raise ValueError(
                f"expected a batch with a time dimension ([B, T], or one named 'time') for "
                f"{type(self.estimator).__name__}, got a flat one of shape {[*reward.shape]}; sample slices, or use TD0"
            )
        return batch

    @property
    def _dtype(self) -> torch.dtype:
        """What targets are computed in, whatever type the rewards have: the dtype of the network's parameters."""
        dtypes = (parameter.dtype for parameter in self.value_network.parameters())
        return next((dtype for dtype in dtypes if dtype.is_floating_point), torch.get_default_dtype())

    def _next_mask(self, tensordict: TensorDictBase) -> Tensor | None:
        key = self.next_keys.action_mask
        return tensordict[key] if self._takes_mask else tensordict.get(key, None)

    def _discount_and_done(self, tensordict: TensorDictBase, reward: Tensor) -> tuple[Tensor, Tensor]:
        """γᵏ, 0 where the episode terminated, as the replay wrote it or computed; and where an episode ended."""
        next_keys, shape = self.next_keys, reward.shape
        discount = _optional(tensordict, ("next", "discount"), shape)
        done = _optional(tensordict, next_keys.done, shape)
        terminated = _optional(tensordict, next_keys.terminated, shape)
        if terminated is None:
            terminated = done
        if terminated is None:
            raise KeyError(f"expected {next_keys.terminated} or {next_keys.done} in the batch, found neither")
        if done is None:
            truncated = _optional(tensordict, next_keys.truncated, shape)
            done = terminated if truncated is None else (terminated != 0) | (truncated != 0)
        if discount is None:
            steps = _optional(tensordict, "steps_to_next_obs", shape)
            power = torch.full_like(reward, self.gamma) if steps is None else self.gamma ** steps.to(reward.dtype)
            discount = torch.where(terminated != 0, 0.0, power)
        return discount.to(reward.dtype), done != 0

    def _evaluate(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The reduced loss, the unweighted loss ``[*B]`` and the signed td_error ``[*B]``, the latter two detached."""
        for layer in self._noisy:
            cast(NoisyLinear, layer).reset_noise()
        online, target = self._networks
        loss, td_error = dqn_loss(
            self.head, online.predict, target.predict, batch, self._draw_noise(batch), self.estimator,
            double=self.double_dqn, joint=self._joint,
        )
        weighted = loss if batch.priority_weight is None else batch.priority_weight * loss
        reduced = {"mean": Tensor.mean, "sum": Tensor.sum, "none": lambda x: x}[self.reduction](weighted)
        return reduced, loss.detach(), td_error

    def _draw_noise(self, batch: Batch) -> Noise:
        """Quantile levels for each pass, the same on every device."""
        if not self.head.takes_taus:
            return Noise()
        shape = batch.reward.shape
        return Noise(*(self.head.draw_taus(shape, self.generator).to(batch.reward) for _ in Noise._fields))


def _frozen_copy(network: nn.Module) -> nn.Module:
    return deepcopy(network).requires_grad_(False)


def _joint_action(name: str, head: Head[Any]) -> JointAction:
    if name == "sum" and not head.supports_sum:
        raise ValueError(
            f"expected joint=branching for {type(head).__name__}, got sum: the law of a sum is a convolution, which it "
            "does not have"
        )
    return JOINT[name]()


def _from_keywords(keywords: dict[str, Tensor]) -> TensorDict:
    tensordict = TensorDict({"next": TensorDict({})})
    for name, value in keywords.items():
        tensordict.set(("next", name.removeprefix("next_")) if name.startswith("next_") else name, value)
    return tensordict


def _check_option(name: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise ValueError(f"expected {name} to be one of {', '.join(options)}, got {value!r}")


def _time_last(tensordict: TensorDictBase) -> tuple[TensorDictBase, Callable[[Tensor], Tensor]]:
    """The tensordict with a dimension named ``time`` moved last, and what moves a tensor ``[*B]`` back."""
    names: list[str | None] = list(tensordict.names)
    if "time" not in names or names[-1] == "time":
        return tensordict, lambda x: x
    time, last = names.index("time"), len(names) - 1
    return tensordict.transpose(time, last), lambda x: x.transpose(time, last)


def _optional(tensordict: TensorDictBase, key: NestedKey, batch: torch.Size) -> Tensor | None:
    value = tensordict.get(key, None)
    return None if value is None else _squeeze(value, batch, key)


def _squeeze(value: Tensor, batch: torch.Size, key: NestedKey) -> Tensor:
    if value.shape == batch:
        return value
    if value.shape == (*batch, 1):
        return value.squeeze(-1)
    raise ValueError(f"expected {key} of shape {[*batch]} or {[*batch, 1]} like the actions, got {[*value.shape]}")
