"""A policy and a value in one module, with or without a common trunk. All getters share the parameters."""

from tensordict.nn import TensorDictModuleBase

from qframe.modules.safe import SafeSequential


class _CommonTrunk(SafeSequential):
    """A common operator, and a policy and a value that read its outputs."""

    def __init__(
        self,
        common_operator: TensorDictModuleBase,
        policy_operator: TensorDictModuleBase,
        value_operator: TensorDictModuleBase,
    ) -> None:
        super().__init__(common_operator, policy_operator, value_operator)

    def get_policy_operator(self) -> SafeSequential:
        """The policy from an observation: common operator and policy head."""
        common, policy, _ = self.children_in_order()
        return SafeSequential(common, policy)

    def get_value_operator(self) -> SafeSequential:
        """The value from an observation: common operator and value head."""
        common, _, value = self.children_in_order()
        return SafeSequential(common, value)

    def get_policy_head(self) -> SafeSequential:
        """The policy from the hidden variable."""
        return SafeSequential(self.children_in_order()[1])

    def get_value_head(self) -> SafeSequential:
        """The value from the hidden variable."""
        return SafeSequential(self.children_in_order()[2])


class ActorValueOperator(_CommonTrunk):
    """An actor and a state value that share an embedding of the observation.

    See ``ActorCriticOperator`` for a value of state and action, ``ActorCriticWrapper`` for no common embedding.

    Args:
        common_operator: observation → hidden.
        policy_operator: hidden → action.
        value_operator: hidden → state value.

    >>> import torch
    >>> from tensordict import TensorDict
    >>> from tensordict.nn import TensorDictModule
    >>> from torch import nn
    >>> from qframe.modules import ProbabilisticActor, SafeModule
    >>> from qframe.modules import ValueOperator, TanhNormal, ActorValueOperator, NormalParamExtractor
    >>> module_hidden = torch.nn.Linear(4, 4)
    >>> td_module_hidden = SafeModule(
    ...    module=module_hidden,
    ...    in_keys=["observation"],
    ...    out_keys=["hidden"],
    ...    )
    >>> module_action = TensorDictModule(
    ...     nn.Sequential(torch.nn.Linear(4, 8), NormalParamExtractor()),
    ...     in_keys=["hidden"],
    ...     out_keys=["loc", "scale"],
    ...     )
    >>> td_module_action = ProbabilisticActor(
    ...    module=module_action,
    ...    in_keys=["loc", "scale"],
    ...    out_keys=["action"],
    ...    distribution_class=TanhNormal,
    ...    return_log_prob=True,
    ...    )
    >>> module_value = torch.nn.Linear(4, 1)
    >>> td_module_value = ValueOperator(
    ...    module=module_value,
    ...    in_keys=["hidden"],
    ...    )
    >>> td_module = ActorValueOperator(td_module_hidden, td_module_action, td_module_value)
    >>> td = TensorDict({"observation": torch.randn(3, 4)}, [3,])
    >>> td_clone = td_module(td.clone())
    >>> print(td_clone)
    TensorDict(batch_size=[3], fields={
        action: f32[4],
        hidden: f32[4],
        loc: f32[4],
        observation: f32[4],
        sample_log_prob: f32[],
        scale: f32[4],
        state_value: f32[1]})
    >>> td_clone = td_module.get_policy_operator()(td.clone())
    >>> print(td_clone)  # no value
    TensorDict(batch_size=[3], fields={
        action: f32[4],
        hidden: f32[4],
        loc: f32[4],
        observation: f32[4],
        sample_log_prob: f32[],
        scale: f32[4]})
    >>> td_clone = td_module.get_value_operator()(td.clone())
    >>> print(td_clone)  # no action
    TensorDict(batch_size=[3], fields={
        hidden: f32[4],
        observation: f32[4],
        state_value: f32[1]})
    """


class ActorCriticOperator(_CommonTrunk):
    """An actor and a value of state and action that share an embedding of the observation.

    Args:
        common_operator: observation → hidden.
        policy_operator: hidden → action.
        value_operator: hidden, action → state-action value.

    >>> from torch import nn
    >>> from qframe.modules import Actor, SafeModule, ValueOperator
    >>> common = SafeModule(nn.Linear(4, 8), in_keys=["observation"], out_keys=["hidden"])
    >>> actor, critic = Actor(nn.Linear(8, 2), ["hidden"]), ValueOperator(nn.Bilinear(8, 2, 1), ["hidden", "action"])
    >>> operator = ActorCriticOperator(common, actor, critic)
    >>> operator.out_keys, operator.get_value_operator().in_keys
    (['hidden', 'action', 'state_action_value'], ['observation', 'action'])
    """

    def get_critic_operator(self) -> "ActorCriticOperator":
        """The value of the policy's own action from an observation; ``get_value_operator`` reads the action given."""
        return self


class ActorCriticWrapper(SafeSequential):
    """An actor and a value that share no parameters.

    Args:
        policy_operator: observation → action.
        value_operator: observation → state value.

    >>> from torch import nn
    >>> from qframe.modules import Actor, ValueOperator
    >>> wrapper = ActorCriticWrapper(Actor(nn.Linear(4, 2)), ValueOperator(nn.Linear(4, 1)))
    >>> wrapper.get_value_operator().out_keys
    ['state_value']
    """

    def __init__(self, policy_operator: TensorDictModuleBase, value_operator: TensorDictModuleBase) -> None:
        super().__init__(policy_operator, value_operator)

    def get_policy_operator(self) -> SafeSequential:
        """The policy."""
        return SafeSequential(self.children_in_order()[0])

    def get_value_operator(self) -> SafeSequential:
        """The value."""
        return SafeSequential(self.children_in_order()[1])

    def get_policy_head(self) -> SafeSequential:
        """The policy: without a common trunk, the head is all of it."""
        return self.get_policy_operator()

    def get_value_head(self) -> SafeSequential:
        """The value: without a common trunk, the head is all of it."""
        return self.get_value_operator()
