"""The DQN loss as a module: documented layouts in, the pure loss of ``q_learning`` inside."""

from copy import deepcopy
from typing import Any, Literal, cast

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from qframe.data.action_space import SPECS as TRAINED
from qframe.data.action_space import encode_action
from qframe.data.specs import TensorSpec, find_action_space
from qframe.modules import NoisyLinear
from qframe.modules.heads import Head
from qframe.modules.networks.adapters import as_network
from qframe.objectives.batch import Batch, BatchKeys, NestedKey, next_key, read_batch, time_last
from qframe.objectives.estimators import ValueEstimator, ValueEstimators, make_estimator
from qframe.objectives.q_learning import Noise, dqn_loss


class DQNLoss(nn.Module):
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
        gamma: γ, for batches without ``("next", "discount")``.
        seed: of the generator that draws quantile levels.

    Raises:
        ValueError: Double DQN without a target network, an action space that differs from the network's or that this
            loss does not train on yet, an unknown option.

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
        gamma: float = 0.99,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if double_dqn and not delay_value:
            raise ValueError("expected delay_value=True with double_dqn=True, got False: it needs a target network")
        _check_option("reduction", reduction, ("mean", "sum", "none"))
        _check_option("priority", priority, ("td_error", "loss"))
        self.value_network = value_network
        self.target_value_network = _frozen_copy(value_network) if delay_value else value_network
        self._networks = tuple(
            as_network(network, loss_function=loss_function) for network in (value_network, self.target_value_network)
        )
        if self._networks[0] is not value_network:
            self.adapter_head = self._networks[0].head  # its buffers move with the loss
        self.delay_value, self.double_dqn = delay_value, double_dqn
        self.reduction, self.priority = reduction, priority
        self.action_space = _agreed_action_space(action_space, self._networks[0].action_space)
        self.keys = BatchKeys()
        self._noisy = [layer for layer in self.modules() if hasattr(layer, "reset_noise")]
        self.generator = torch.Generator().manual_seed(seed)
        self.gamma = _checked_gamma(gamma)
        self._hyperparams: dict[str, Any] = {}
        self.make_value_estimator(ValueEstimators.TD0)

    @property
    def head(self) -> Head[Any]:
        """The head that interprets the network's predictions."""
        return self._networks[0].head

    @property
    def in_keys(self) -> list[NestedKey]:
        """The keywords of a call, in fixed order, as tensordict keys."""
        keys = self.keys
        names: list[NestedKey] = ["observation", "observation", keys.action, keys.reward, keys.done, keys.terminated]
        return [names[0], next_key(names[1]), names[2], *(next_key(key) for key in names[3:])]

    @property
    def priority_key(self) -> NestedKey:
        """Where the loss writes what feeds priorities."""
        return self.keys.priority if self.priority == "td_error" else "priority"

    def set_keys(self, **keys: NestedKey) -> None:
        """Read and write under other names; those of ``BatchKeys``.

        Raises:
            ValueError: a name that the loss does not have.
        """
        unknown = set(keys) - set(BatchKeys._fields)
        if unknown:
            raise ValueError(f"expected keys among {', '.join(BatchKeys._fields)}, got {', '.join(sorted(unknown))}")
        self.keys = self.keys._replace(**keys)

    def make_value_estimator(
        self, value_type: ValueEstimators | str | ValueEstimator | type | None = None, **hyperparams: Any
    ) -> None:
        """Choose the value estimator; hyperparameters that are not repeated are kept, γ among them.

        Args:
            value_type: a ``ValueEstimators`` member or its name, an estimator's class, or an estimator. None keeps the
                present one.
            **hyperparams: ``gamma``, and what the estimator's constructor takes.

        Raises:
            ValueError: an estimator or a hyperparameter that this loss cannot use.

        >>> from qframe.objectives import DQNLoss, ValueEstimators
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
        if "time" in estimator.requires and not self.head.supports_lambda:
            raise ValueError(
                f"expected an estimator without a time dimension for {type(self.head).__name__}, "
                f"got {type(estimator).__name__}; use TD0"
            )
        self.gamma, self.estimator, self.value_type = gamma, estimator, value_type
        self._hyperparams |= hyperparams

    def forward(self, tensordict: TensorDictBase | None = None, **keywords: Tensor) -> TensorDictBase | Tensor:
        """The loss of a batch of transitions; see the class.

        Raises:
            KeyError: a required entry is missing.
            ValueError: a flat batch for an estimator over time, or entries whose shapes disagree.
        """
        if tensordict is None:
            return self._evaluate(self._read(_from_keywords(keywords)))[0]
        ordered, restore = time_last(tensordict)
        batch = self._read(ordered)
        loss, per_transition, td_error = self._evaluate(batch)
        size = td_error.abs()
        tensordict.set(self.keys.priority, restore(size).unsqueeze(-1))
        if self.priority == "loss":
            tensordict.set("priority", restore(per_transition).unsqueeze(-1))
        return TensorDict({"loss": loss, "td_error_mean": size.mean()})

    def _read(self, tensordict: TensorDictBase) -> Batch:
        batch = read_batch(
            tensordict,
            observe=self._networks[0].observe,
            encode=lambda action: encode_action(self.action_space, action),
            keys=self.keys,
            gamma=self.gamma,
        )
        if "time" in self.estimator.requires and batch.reward.dim() < 2 and "time" not in tensordict.names:
            raise ValueError(
                f"expected a batch with a time dimension ([B, T], or one named 'time') for "
                f"{type(self.estimator).__name__}, got a flat one of shape {[*batch.reward.shape]}; "
                "sample slices, or use TD0"
            )
        return batch

    def _evaluate(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The reduced loss, the unweighted loss ``[*B]`` and the signed td_error ``[*B]``, the latter two detached."""
        for layer in self._noisy:
            cast(NoisyLinear, layer).reset_noise()
        online, target = self._networks
        loss, td_error = dqn_loss(
            self.head, online.predict, target.predict, batch, self._draw_noise(batch), self.estimator,
            double=self.double_dqn,
        )
        weighted = loss if batch.priority_weight is None else batch.priority_weight * loss
        reduced = {"mean": Tensor.mean, "sum": Tensor.sum, "none": lambda x: x}[self.reduction](weighted)
        return reduced, loss.detach(), td_error

    def _draw_noise(self, batch: Batch) -> Noise:
        """Quantile levels for each pass, the same on every device."""
        drawn = (self.head.draw_taus(batch.reward.shape, self.generator) for _ in Noise._fields)
        return Noise(*(None if taus is None else taus.to(batch.reward) for taus in drawn))


def _frozen_copy(network: nn.Module) -> nn.Module:
    return deepcopy(network).requires_grad_(False)


def _agreed_action_space(given: str | TensorSpec | None, networks: str | None) -> str:
    name = find_action_space(given).name if given is not None else networks
    if name is None:
        raise ValueError("expected an action_space (a name or a spec), got none and the network does not say its own")
    if name not in TRAINED:
        raise ValueError(f"expected an action space with one index per action ({', '.join(TRAINED)}), got {name!r}")
    if networks is not None and name != networks:
        raise ValueError(f"expected the network's action space {networks!r}, got {name!r}; give both the same one")
    return name


def _from_keywords(keywords: dict[str, Tensor]) -> TensorDict:
    tensordict = TensorDict({"next": TensorDict({})})
    for name, value in keywords.items():
        tensordict.set(("next", name.removeprefix("next_")) if name.startswith("next_") else name, value)
    return tensordict


def _check_option(name: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise ValueError(f"expected {name} to be one of {', '.join(options)}, got {value!r}")


def _checked_gamma(gamma: float) -> float:
    if not 0 <= gamma <= 1:
        raise ValueError(f"expected gamma between 0 and 1, got {gamma}")
    return gamma
