"""The DQN loss as a module: networks, options and a value estimator around the pure loss of ``q_learning``."""

import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import Any, ClassVar, Literal, Self

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from qframe.actions import ActionSpace, TensorSpec
from qframe.estimators.factory import ValueEstimators, make_estimator
from qframe.estimators.protocol import Batch, ValueEstimator
from qframe.heads import Head, Prediction
from qframe.keys import NestedKey
from qframe.modules.adapters import agreed_action_space, as_network
from qframe.networks.modes import in_mode, set_acting_mode, with_modes
from qframe.networks.noise import NO_NOISE, random_passes
from qframe.networks.recurrent_trunk import Remembered, recurrent_trunk
from qframe.objectives.batch import BatchKeys, BatchReader, from_keywords, time_last
from qframe.objectives.joint_actions import JOINT
from qframe.objectives.q_learning import JointAction, Noise, OneAction, dqn_loss
from qframe.objectives.sequences import Side, Sides, memory_metrics, remembered_batch, unrolled_by

NO_TARGET_UPDATE = (
    "No target network updater has been associated with this loss module, so its target network stays as it is; build "
    "SoftUpdate or HardUpdate on the loss, or set loss.has_target_update = True if you update the target yourself"
)
_REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"mean": Tensor.mean, "sum": Tensor.sum, "none": lambda x: x}


class DQNLoss(nn.Module):
    """The DQN loss of a value network, for scalar and distributional heads, with any value estimator.

    The target is ``r + γⁿ · (1 − terminated) · V(s′)``: ``truncated`` never cuts the bootstrap, and the cut is a
    select, so that NaN or inf in a terminal next state does no harm.

    Called with a tensordict it returns one with ``loss`` and detached metrics, and writes ``td_error``
    ``|E target − E prediction|``, ``[*B, 1]``, into its input (the reference library writes a squared error for scalar
    and the loss for distributional networks; here it is absolute for every head). Called with keywords
    (``observation, action, next_observation, next_reward, next_done``, optionally ``next_terminated``, …) it returns
    only the loss.

    Args:
        value_network: a ``QNet``, a ``SharedTrunk``, a ``QValueActor``, a ``DistributionalQValueActor``, or a plain
            module observation → action values ``[*B, A]``.
        loss_function: ``l2``, ``l1`` or ``smooth_l1``, for a scalar network without a head of its own; None is ``l2``.
        delay_value: whether to keep a target network; update it with ``HardUpdate`` or ``SoftUpdate``.
        double_dqn: whether the online network selects next actions; needs ``delay_value``.
        action_space: a name, a spec or an ``ActionSpace``; None takes the network's.
        reduction: ``mean``, ``sum`` or ``none``; None is ``mean``. Weights under ``priority_weight`` multiply first.
        priority: the source of priorities: ``td_error``, or ``loss`` (Rainbow), then written under ``priority``.
        joint: how joint actions are trained: ``sum`` or ``mean``, where their value is that over branches, or
            ``branching``, where every branch values the whole action (Tavakoli et al., 2018). Other actions have no
            branches.
        burn_in: steps at the beginning of every sequence that only bring a network's memory into its state, without
            gradient; they have no loss.
        gamma: γ, for batches without ``("next", "discount")``.
        seed: of the generator that draws quantile levels and the noise of noisy layers.

    Only the forward pass of the gradient is in training mode (dropout, batch normalisation); see
    ``qframe.networks.modes``.

    Raises:
        ValueError: Double DQN without a target network, a shared trunk whose state value gets no gradient, an action
            space that differs from the network's or that this loss does not support, ``sum`` for a categorical head, an
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

    default_keys: ClassVar[BatchKeys] = BatchKeys()
    """The keys under which a loss reads and writes unless ``set_keys`` names others."""
    learns_state_value: ClassVar[bool] = False
    """Whether a state-value stream outside Q gets a gradient."""
    has_target_update: bool
    """Whether something moves the target network; a target update sets it. Without, a call of the loss warns."""
    checks_actions: bool = True
    """Whether a batch's actions are compared with the action space. A run, whose replay holds only actions of its
    space, sets it to False: on a GPU to look at them is to wait for the device."""
    refused_words: ClassVar[dict[str, str]] = {}
    """Entries of an estimator's ``requires`` that this loss cannot serve, with the reasons."""

    def __init__(
        self,
        value_network: nn.Module,
        *,
        loss_function: str | None = None,
        delay_value: bool = False,
        double_dqn: bool = False,
        action_space: str | TensorSpec | ActionSpace | None = None,
        reduction: Literal["mean", "sum", "none"] | None = "mean",
        priority: Literal["td_error", "loss"] = "td_error",
        joint: Literal["sum", "mean", "branching"] = "sum",
        burn_in: int = 0,
        gamma: float = 0.99,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.gamma = _checked_gamma(gamma)
        if double_dqn and not delay_value:
            raise ValueError("double_dqn=True needs a target network; set delay_value=True")
        if not getattr(value_network, "dueling", True) and not self.learns_state_value:
            raise ValueError(
                "loss=dqn gives no gradient to the value stream of a shared trunk with dueling=false; set "
                "network.dueling=true or choose network=q_net or loss=dqv"
            )
        reduction = "mean" if reduction is None else reduction
        _check_option("reduction", reduction, tuple(_REDUCTIONS))
        _check_option("priority", priority, ("td_error", "loss"))
        _check_option("joint", joint, tuple(JOINT))
        self.action_space = agreed_action_space(action_space, value_network)
        self.value_network = value_network
        self.target_value_network = _frozen_copy(value_network) if delay_value else value_network
        self._networks = (
            as_network(value_network, self.action_space, loss_function=loss_function),
            as_network(self.target_value_network, self.action_space, loss_function=loss_function),
        )
        if self._networks[0] is not value_network:
            self.adapter_head = self._networks[0].head  # its buffers move with the loss
        self.delay_value, self.double_dqn = delay_value, double_dqn
        self.reduction, self.priority = reduction, priority
        members = getattr(self._networks[0], "members", None)
        self._joint = _joint_action(joint, self.head) if self.action_space.is_joint else members or OneAction()
        self._trunks = recurrent_trunk(value_network), recurrent_trunk(self.target_value_network)
        self.has_memory = self._trunks[0] is not None
        """Whether the network has a memory, which learns from sequences."""
        if burn_in and not self.has_memory:
            raise ValueError(f"burn_in={burn_in} has no effect on a network without a memory; leave it at 0")
        self.burn_in = burn_in
        if self.has_memory:
            online, target = self._networks
            self._plain = online, target
            self._networks = Side(online, is_target=False), Side(target, is_target=True)
        self._reader = BatchReader(self._networks[0], value_network, self.action_space)
        self.has_target_update = not delay_value
        self._modes = with_modes(value_network), with_modes(self.target_value_network)
        self._random = random_passes(self._networks, (value_network, self.target_value_network))
        self.generator = torch.Generator().manual_seed(seed)
        self.share: tuple[int, int] | None = None
        """The place of this process's batches, and the number of equal parts, if each is one part of a whole batch. All
        of its noise is drawn, so that the generator stays that of a loss of the whole batch."""
        self.over_shares: Callable[[Tensor], Tensor] | None = None
        """The mean of a tensor over those parts."""
        self.value_type: Any = ValueEstimators.TD0
        self._hyperparams: dict[str, Any] = {}
        self.make_value_estimator()

    @property
    def head(self) -> Head[Any]:
        """The head that interprets the network's predictions."""
        return self._networks[0].head

    @property
    def value_network_params(self) -> TensorDict:
        """The parameters and buffers of the value network, as they are now."""
        return TensorDict.from_module(self.value_network)  # pyright: ignore[reportReturnType]

    @property
    def target_value_network_params(self) -> TensorDict:
        """The parameters and buffers of the target network, detached; without one, of the value network."""
        return TensorDict.from_module(self.target_value_network).data  # pyright: ignore[reportReturnType]

    @property
    def in_keys(self) -> list[NestedKey]:
        """The keywords of a call, in fixed order, as tensordict keys."""
        following = self._reader.next_keys
        next_entries = [following.reward, following.done, following.terminated]
        return ["observation", ("next", "observation"), self._reader.keys.action, *next_entries]

    @property
    def priority_key(self) -> NestedKey:
        """The key under which the loss writes the source of priorities."""
        return self._reader.keys.priority if self.priority == "td_error" else "priority"

    def check_action(self, batch: TensorDictBase) -> None:
        """Check that the actions of a batch are of the action space, unless ``checks_actions`` is False.

        Raises:
            ValueError: they are not.
        """
        if self.checks_actions:
            self._reader.check_action(batch)

    @property
    def tensor_keys(self) -> BatchKeys:
        """The keys under which the loss reads and writes, as ``set_keys`` left them."""
        return self._reader.keys

    def reset_parameters_recursive(self) -> None:
        """Draw the parameters of the value network again, and copy them to the target network."""
        for module in self.value_network.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
        if self.delay_value:
            self.target_value_network.load_state_dict(self.value_network.state_dict())

    def set_keys(self, **keys: NestedKey) -> None:
        """Read and write under other names, given for the fields of ``BatchKeys``.

        Raises:
            ValueError: a name that the loss does not have.
        """
        self._reader.set_keys(keys)

    def make_value_estimator(
        self, value_type: ValueEstimators | str | ValueEstimator | type | None = None, **hyperparams: Any
    ) -> None:
        """Choose the value estimator; hyperparameters that are not given again are kept, γ among them.

        Args:
            value_type: a ``ValueEstimators`` member or its name, an estimator's class, or an estimator. None keeps the
                current one.
            **hyperparams: ``gamma``, and arguments of the estimator's constructor.

        Raises:
            ValueError: an estimator or a hyperparameter that this loss cannot use.

        >>> import torch
        >>> from qframe.estimators import ValueEstimators
        >>> from qframe.objectives import DQNLoss
        >>> # initialize the DQN loss
        >>> actor = torch.nn.Linear(3, 4)
        >>> dqn_loss = DQNLoss(actor, action_space="one-hot")
        >>> # updating the parameters of the default value estimator
        >>> dqn_loss.make_value_estimator(gamma=0.9)
        >>> dqn_loss.make_value_estimator(
        ...     ValueEstimators.TD1,
        ...     gamma=0.9)
        >>> # if we want to change the gamma value
        >>> dqn_loss.make_value_estimator(dqn_loss.value_type, gamma=0.9)
        """
        gamma = _checked_gamma(hyperparams.pop("gamma", self.gamma))
        value_type = self.value_type if value_type is None else value_type
        estimator = make_estimator(value_type, hyperparams, self._hyperparams)
        self._check_estimator(estimator)
        self.gamma, self.estimator, self.value_type = gamma, estimator, value_type
        self._hyperparams |= hyperparams

    def _check_estimator(self, estimator: ValueEstimator) -> None:
        name, head, requires = type(estimator).__name__, type(self.head).__name__, estimator.requires
        if "time" in requires and not self.head.supports_lambda:
            raise ValueError(f"{head} has no target over time, which {name} needs; use TD0")
        if "target_policy" in requires and self.double_dqn:
            raise ValueError(
                f"{name} takes its policy from the target network, so double_dqn=True has no effect; use loss=dqn"
            )
        for word in sorted(requires & self.refused_words.keys()):
            raise ValueError(f"{name} cannot be used with this loss: {self.refused_words[word]}")
        if "mean_target" in requires and not self.head.targets_mean:
            raise ValueError(
                f"{name} with a soft policy gives a mixture with negative weights, which {head} cannot learn; use "
                "temperature=null (the greedy policy) or a scalar head"
            )
        for word, reason in self._joint.refused.items():
            if word in requires:
                raise ValueError(f"{name} cannot be used for the joint actions of this loss: {reason}")

    def forward(
        self, tensordict: TensorDictBase | None = None, *, noise: Noise | None = None, **keywords: Tensor
    ) -> TensorDictBase | Tensor:
        """The loss of a batch of transitions, a tensordict or keywords.

        Args:
            tensordict: the batch; None if it comes in keywords.
            noise: from ``draw_noise``; None draws it. A compiled call needs it, as a graph holds no generator.
            **keywords: the batch's entries, those of the next step as ``next_…``.

        Raises:
            KeyError: a required entry is missing.
            ValueError: a flat batch for an estimator over time, or entries whose shapes disagree.
        """
        if not (self.has_target_update or torch.compiler.is_compiling()):
            warnings.warn(NO_TARGET_UPDATE, UserWarning, stacklevel=4)  # of the caller of Module.__call__
        ordered, restore = time_last(from_keywords(keywords) if tensordict is None else tensordict)
        sequence = ordered
        if self.burn_in:
            ordered, restore = ordered[..., self.burn_in :], _padded(self.burn_in, restore)
        is_checked = not self.checks_actions or self._reader.check_action(ordered)
        batch = self._read(ordered)
        metrics: dict[str, Tensor] = {}
        noise = self._draw_noise(batch.discount.shape) if noise is None else noise
        if self.has_memory:
            batch = self._remember(sequence, batch, noise)
        try:
            loss, td_error = self._losses(batch, noise)
        finally:
            if not is_checked:  # the prediction has shown the number of actions
                self._reader.check_action(ordered)
        weighted, size = loss if batch.priority_weight is None else batch.priority_weight * loss, td_error.abs()
        size = self._joint.mean(size)
        mean_size = size.mean()
        if batch.loss_mask is None:
            reduced = _REDUCTIONS[self.reduction](weighted)
        else:
            loss, weighted, size = (torch.where(batch.loss_mask, x, 0.0) for x in (loss, weighted, size))
            share = batch.loss_mask.to(size.dtype).mean()
            share = share if self.over_shares is None else self.over_shares(share)
            reduced, mean_size = _REDUCTIONS[self.reduction](weighted), size.mean() / share
            reduced = reduced / share if self.reduction == "mean" else reduced
            metrics["masked"] = 1 - share
        if tensordict is None:
            return reduced
        tensordict.set(self._reader.keys.priority, restore(size).unsqueeze(-1))
        if self.priority == "loss":
            tensordict.set("priority", restore(loss.detach()).unsqueeze(-1))
        loss = restore(reduced) if reduced.dim() else reduced
        return TensorDict({"loss": loss, "td_error_mean": mean_size, **metrics}, [])

    def _read(self, tensordict: TensorDictBase) -> Batch:
        return self._reader.read(tensordict, self.estimator, self.gamma)

    def _remember(
        self, sequence: TensorDictBase, batch: Batch, noise: Noise
    ) -> Batch:
        """The batch as both networks remember it."""
        trunk, target_trunk = self._trunks
        assert trunk is not None
        assert target_trunk is not None
        passes: Any = self._random or (NO_NOISE, NO_NOISE)
        unroll = in_mode(unrolled_by, self._modes[0], training=True)
        with passes[0].installed(noise.online):
            online = unroll(trunk, sequence, self.burn_in)
        if target_trunk is trunk:
            return remembered_batch(batch, online, online)
        with torch.no_grad(), passes[1].installed(noise.target):
            target = in_mode(unrolled_by, self._modes[1], training=False)(target_trunk, sequence, self.burn_in)
        return remembered_batch(batch, online, target)

    @torch.no_grad()
    def memory_metrics(self, sequence: TensorDictBase) -> dict[str, Tensor]:
        """How the memory does on sequences ``[*B, T]``; see ``qframe.objectives.sequences``. Empty without a memory."""
        trunk = self._trunks[0]
        if trunk is None:
            return {}
        unroll = in_mode(unrolled_by, self._modes[0], training=False)
        return memory_metrics(self._plain[0], unroll(trunk, sequence, self.burn_in, compares=True))

    def _losses(self, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor]:
        """The loss and the signed, detached td_error of every transition, ``[*B]``."""
        online, target = self._random or self._networks
        learning, following, selector = online.predict, target.predict, online.predict
        if any(self._modes):
            selector = in_mode(selector, self._modes[0], training=False)
            learning, following = self._in_modes(learning, following)
        return dqn_loss(
            self.head, learning, following, batch, noise, self.estimator, double=self.double_dqn,
            selector=selector, joint=self._joint,
        )  # fmt: skip

    @torch.no_grad()
    def predict_next(self, transitions: TensorDictBase) -> Tensor:
        """The outputs for the next observations, from which targets bootstrap if a batch has them.

        They stand in a batch under ``("next", "prediction")``: its target network's forward pass is then left out.

        Args:
            transitions: ``[B]``.

        Returns:
            ``[B, A, N]``; with branches or members ``[B, D, A, N]``.
        """
        noise = self._draw_noise(transitions.batch_size).target
        remember = self._remember_next if self.has_memory else self._observe_next
        observation = remember(transitions, noise)
        out = in_mode(self._predict_next, self._modes[1], training=False)(observation, noise).out
        return out if out.dim() == transitions.batch_dims + 2 else out.movedim(0, transitions.batch_dims)

    def _observe_next(self, transitions: TensorDictBase, noise: Any) -> Any:
        return self._networks[1].observe(transitions["next"])

    def _remember_next(self, transitions: TensorDictBase, noise: Any) -> Sides:
        """The next observations as the target network remembers them from the states stored with the transitions."""
        trunk, steps = self._trunks[1], transitions.unsqueeze(-1)  # [*B, 1]
        assert trunk is not None
        passes: Any = self._random or (NO_NOISE, NO_NOISE)
        with passes[1].installed(noise):
            unrolled = in_mode(unrolled_by, self._modes[1], training=False)(trunk, steps, 0)
        following = Remembered(unrolled.following.features.squeeze(-2))
        return Sides(following, following)

    def _predict_next(self, observation: Any, noise: Any) -> Prediction:
        return (self._random or self._networks)[1].predict(observation, noise)

    def _in_modes(self, online: Callable[..., Any], target: Callable[..., Any]) -> tuple[Callable[..., Any], ...]:
        """The forward pass of the gradient in training mode, and that of the target in evaluation mode."""
        learning, following = self._modes
        return in_mode(online, learning, training=True), in_mode(target, following, training=False)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the value network; the target network stays in evaluation mode, but for its noise."""
        super().train(mode)
        if self.delay_value and mode:
            set_acting_mode(self.target_value_network)
        return self

    def draw_noise(self, batch: torch.Size) -> Noise:
        """Draw everything random in one evaluation of the loss, for each forward pass; equal on every device.

        Args:
            batch: ``*B`` of the loss's input, time last, with the burn-in.
        """
        return self._draw_noise(torch.Size((*batch[:-1], batch[-1] - self.burn_in)) if self.burn_in else batch)

    def _draw_noise(self, batch: torch.Size) -> Noise:
        """Draw the noise of steps ``*B`` that have a loss."""
        if self._random is None:
            return Noise()
        (online, target), like = self._random, self._reader.like
        whole = batch if self.share is None else torch.Size((batch[0] * self.share[1], *batch[1:]))
        passes = (
            online.draw(whole, self.generator, like),
            target.draw(whole, self.generator, like, is_target=True),
            online.draw(whole, self.generator, like, is_target=True),
        )
        return Noise(*(passes if self.share is None else (noise.of_share(*self.share) for noise in passes)))


def _frozen_copy(network: nn.Module) -> nn.Module:
    if any(is_lazy(parameter) for parameter in network.parameters()):
        raise ValueError("delay_value=True cannot copy a lazy network; call the network once first")
    copied = deepcopy(network).requires_grad_(False)
    set_acting_mode(copied)
    return copied


def _joint_action(name: str, head: Head[Any]) -> JointAction:
    if name != "branching" and not head.supports_sum:
        raise ValueError(
            f"{type(head).__name__} cannot represent the return distribution of a {name}, which is a convolution; set "
            "joint=branching"
        )
    if name != "branching" and head.transform is not None and not head.targets_mean:
        raise ValueError(
            f"{type(head).__name__} with a transform of returns cannot add up branches: the mean of the sum is not the "
            "sum of the means; set joint=branching"
        )
    return JOINT[name]()


def _padded(burn_in: int, restore: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Restores the place of time in a tensor that lacks the steps of the burn-in, where it is 0."""
    return lambda x: restore(nn.functional.pad(x, (burn_in, 0)))


def _check_option(name: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise ValueError(f"expected {name} to be one of {', '.join(options)}, got {value!r}")


def _checked_gamma(gamma: float) -> float:
    if not 0 <= gamma <= 1:
        raise ValueError(f"expected gamma between 0 and 1, got {gamma}")
    return gamma
