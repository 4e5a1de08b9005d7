import copy

import pytest
import torch
from tensordict import TensorDict, set_printoptions
from tensordict.nn import TensorDictModule
from torch import nn

from qframe.actions import Bounded, Composite, OneHot, Unbounded
from qframe.exploration import ExplorationType, set_exploration_type
from qframe.modules import (
    Actor,
    ActorCriticOperator,
    ActorCriticWrapper,
    ActorValueOperator,
    NormalParamExtractor,
    ProbabilisticActor,
    QValueHook,
    SafeModule,
    SafeSequential,
    TanhNormal,
    ValueOperator,
)


def printed(td):
    with set_printoptions(compact=False):
        return str(td)


def detailed(fields: dict[str, str], batch: int) -> str:
    lines = [
        f"        {key}: Tensor(shape=torch.Size([{shape}]), device=cpu, dtype=torch.{dtype}, is_shared=False)"
        for key, (shape, dtype) in fields.items()
    ]
    tail = [f"    batch_size=torch.Size([{batch}])", "    device=None", "    is_shared=False)"]
    return "TensorDict(\n    fields={\n" + ",\n".join(lines) + "},\n" + ",\n".join(tail)


def stochastic_actor(**options):
    parameters = TensorDictModule(
        nn.Sequential(nn.Linear(4, 8), NormalParamExtractor()), in_keys=["hidden"], out_keys=["loc", "scale"]
    )
    return ProbabilisticActor(
        module=parameters, in_keys=["loc", "scale"], out_keys=["action"], distribution_class=TanhNormal, **options
    )


def actor_value():
    common = SafeModule(nn.Linear(4, 4), in_keys=["observation"], out_keys=["hidden"])
    value = ValueOperator(nn.Linear(4, 1), ["hidden"])
    return ActorValueOperator(common, stochastic_actor(return_log_prob=True), value)


def test_page_example_of_the_hook_prints_what_it_shows():
    network = nn.Linear(4, 4)
    network.register_forward_hook(QValueHook("one_hot"))
    actor = Actor(module=network, spec=OneHot(4), out_keys=["action", "action_value"])
    td = actor(TensorDict({"observation": torch.randn(5, 4)}, [5]))
    fields = {"action": ("5, 4", "int64"), "action_value": ("5, 4", "float32"), "observation": ("5, 4", "float32")}
    assert printed(td) == detailed(fields, 5)


def test_page_example_of_the_operator_prints_what_it_shows():
    operator = actor_value()
    td = TensorDict({"observation": torch.randn(3, 4)}, [3])
    wide = ("3, 4", "float32")
    policy = dict.fromkeys(["action", "hidden", "loc", "observation"], wide) | {
        "sample_log_prob": ("3", "float32"), "scale": wide,
    }
    value = {"state_value": ("3, 1", "float32")}
    assert printed(operator(td.clone())) == detailed(policy | value, 3)
    assert printed(operator.get_policy_operator()(td.clone())) == detailed(policy, 3)
    expected = {"hidden": wide, "observation": wide} | value
    assert printed(operator.get_value_operator()(td.clone())) == detailed(expected, 3)


def test_the_four_getters_share_parameters():
    operator = actor_value()
    parameters = set(map(id, operator.parameters()))
    getters = [
        operator.get_policy_operator(), operator.get_value_operator(), operator.get_policy_head(),
        operator.get_value_head(),
    ]
    assert all(isinstance(part, SafeSequential) for part in getters)
    assert all({id(p) for p in part.parameters()} <= parameters for part in getters)
    assert [part.in_keys for part in getters] == [["observation"], ["observation"], ["hidden"], ["hidden"]]
    td = operator(TensorDict({"observation": torch.randn(3, 4)}, [3]))
    assert torch.equal(getters[3](TensorDict({"hidden": td["hidden"]}, [3]))["state_value"], td["state_value"])
    assert torch.equal(getters[2](TensorDict({"hidden": td["hidden"]}, [3]))["action"], td["action"])


def test_operators_run_on_the_meta_device():
    td = TensorDict({"observation": torch.randn(3, 4)}, [3]).to("meta")
    operator = actor_value().to("meta")
    with set_exploration_type(ExplorationType.RANDOM):
        assert all(entry.is_meta for entry in operator(td.clone()).values())
    assert all(entry.is_meta for entry in operator(td).values())


def test_actor_critic_operator_values_state_and_action():
    common = SafeModule(nn.Linear(4, 8), in_keys=["observation"], out_keys=["hidden"])
    operator = ActorCriticOperator(
        common, Actor(nn.Linear(8, 2), ["hidden"]), ValueOperator(nn.Bilinear(8, 2, 1), ["hidden", "action"])
    )
    td = operator(TensorDict({"observation": torch.randn(3, 4)}, [3]))
    assert td["state_action_value"].shape == (3, 1)
    critic = operator.get_value_operator()
    assert critic.in_keys == ["observation", "action"]
    assert torch.equal(critic(td.select("observation", "action"))["state_action_value"], td["state_action_value"])
    assert operator.get_value_head().in_keys == ["hidden", "action"]
    of_the_policy = operator.get_critic_operator()(td.select("observation"))
    assert torch.equal(of_the_policy["state_action_value"], td["state_action_value"])
    assert operator.get_policy_operator().out_keys == [*operator.get_policy_head().in_keys, "action"]


def test_actor_critic_wrapper_has_nothing_in_common():
    wrapper = ActorCriticWrapper(Actor(nn.Linear(4, 2)), ValueOperator(nn.Linear(4, 1)))
    td = TensorDict({"observation": torch.randn(3, 4)}, [3])
    assert "state_value" not in wrapper.get_policy_operator()(td.clone())
    assert "action" not in wrapper.get_value_head()(td.clone())
    assert wrapper(td)["state_value"].shape == (3, 1)
    assert len(list(wrapper.get_policy_head().parameters())) == 2


@pytest.mark.parametrize("spec", [Bounded(-1.0, 1.0), Composite(action=Bounded(-1.0, 1.0), other=None)])
def test_safe_modules_project_in_both_call_forms(spec):
    x = torch.tensor([3.0, -0.5])
    plain = SafeModule(nn.Identity(), ["observation"], ["action"], spec=spec, safe=True)
    for module in (Actor(nn.Identity(), spec=spec, safe=True), plain):
        assert module(x).tolist() == [1.0, -0.5]
        assert module(observation=x).tolist() == [1.0, -0.5]
        assert module(TensorDict({"observation": x}, [2]))["action"].tolist() == [1.0, -0.5]
    assert Actor(nn.Identity(), spec=spec)(x).tolist() == [3.0, -0.5]


def test_safe_modules_project_one_of_several_outputs_and_nested_keys():
    def both(x):
        return x, 2 * x

    spec = Composite({"agent": {"action": Bounded(-1.0, 1.0)}})
    module = SafeModule(both, ["x"], [("agent", "raw"), ("agent", "action")], spec=spec, safe=True)
    assert [out.tolist() for out in module(torch.tensor([2.0]))] == [[2.0], [1.0]]
    assert SafeSequential(module).spec == spec
    assert SafeSequential(Actor(both, ["x"], [("a", "b"), "c"], spec=Unbounded((1,)))).spec["a", "b"] == Unbounded((1,))


def test_safe_without_a_spec_is_refused():
    for spec in (None, Composite(other=OneHot(2))):
        with pytest.raises(ValueError, match=r"safe=True needs a spec of at least one of the outputs \['action'\]"):
            Actor(nn.Identity(), spec=spec, safe=True)


def test_stochastic_actor_projects_and_writes_its_log_prob():
    actor = stochastic_actor(return_log_prob=True, spec=Bounded(-0.01, 0.01, (4,)), safe=True)
    td = actor(TensorDict({"hidden": 10 * torch.ones(3, 4)}, [3]))
    assert (td["action"].abs() <= 0.01).all()
    assert td["sample_log_prob"].shape == (3,)
    assert actor.out_keys == ["loc", "scale", "action", "sample_log_prob"]
    assert stochastic_actor(return_log_prob=True, log_prob_key=None).out_keys == actor.out_keys


def test_exploration_type_chooses_between_sample_and_mode():
    generator = torch.Generator().manual_seed(0)
    actor = stochastic_actor(generator=generator)
    td = TensorDict({"hidden": torch.ones(3, 4)}, [3])
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        torch.testing.assert_close(actor(td.clone())["action"], actor(td.clone())["loc"].tanh())
    with set_exploration_type(ExplorationType.RANDOM):
        assert not torch.equal(actor(td.clone())["action"], actor(td.clone())["action"])


def test_tanh_normal_density_adds_up_to_one():
    policy = TanhNormal(torch.tensor([0.3]), torch.tensor([0.5]), low=-2.0, high=4.0)
    action = torch.linspace(-2, 4, 20_001)[:, None]
    assert policy.log_prob(action).exp().mean().item() * 6 == pytest.approx(1, abs=1e-3)
    assert policy.log_prob(torch.tensor([4.0])).isfinite()
    assert policy.mode.item() == pytest.approx(1 + 3 * 0.29131261)
    samples = policy.rsample((1000,))
    assert ((samples > -2) & (samples < 4)).all()
    with pytest.raises(ValueError, match="low < high"):
        TanhNormal(torch.zeros(1), torch.ones(1), low=1.0, high=1.0)


def test_tanh_normal_has_bounds_for_each_entry():
    low, high = torch.tensor([-2.0, 0.0]), torch.tensor([4.0, 1.0])
    policy = TanhNormal(torch.tensor([0.3, -0.2]), torch.tensor([0.5, 0.7]), low=low, high=high)
    first = TanhNormal(torch.tensor([0.3]), torch.tensor([0.5]), low=-2.0, high=4.0)
    second = TanhNormal(torch.tensor([-0.2]), torch.tensor([0.7]), low=0.0, high=1.0)
    torch.testing.assert_close(policy.mode, torch.cat([first.mode, second.mode]))
    action = torch.tensor([1.0, 0.25])
    torch.testing.assert_close(policy.log_prob(action), first.log_prob(action[:1]) + second.log_prob(action[1:]))
    assert policy.log_prob(high).isfinite()
    with pytest.raises(ValueError, match="low < high"):
        TanhNormal(torch.zeros(2), torch.ones(2), low=low, high=torch.tensor([4.0, 0.0]))


def test_normal_parameters():
    loc, scale = NormalParamExtractor()(torch.tensor([1.0, 2.0, 0.0, -100.0]))
    assert loc.tolist() == [1.0, 2.0]
    assert scale.tolist() == pytest.approx([1.0, 0.01])
    assert NormalParamExtractor(scale_min=0.5)(torch.tensor([0.0, -100.0]))[1].item() == 0.5
    assert NormalParamExtractor()(torch.zeros(2), torch.ones(1))[2].item() == 1
    with pytest.raises(ValueError, match="even number of features"):
        NormalParamExtractor()(torch.zeros(3))


def test_value_operator_names_its_output_by_what_it_reads():
    assert ValueOperator(nn.Linear(4, 1)).out_keys == ["state_value"]
    assert ValueOperator(nn.Linear(4, 1), ["observation", "action"]).out_keys == ["state_action_value"]
    assert ValueOperator(nn.Linear(4, 1), out_keys=["v"]).out_keys == ["v"]


def test_operators_can_be_copied():
    operator = actor_value()
    td = TensorDict({"observation": torch.randn(3, 4)}, [3])
    assert torch.equal(copy.deepcopy(operator)(td.clone())["state_value"], operator(td.clone())["state_value"])
