import copy

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn

from qframe.actions import Binary, Bounded, Categorical, Composite, MultiCategorical, MultiOneHot, OneHot
from qframe.modules import Actor, DistributionalQValueHook, QValueActor, QValueHook, QValueModule

LOWEST = torch.finfo(torch.float32).min
VALUE = torch.tensor([[1.0, 9.0, 2.0, 0.0], [3.0, 3.0, -1.0, 3.0]])
MASK = torch.tensor([[True, False, True, True], [True, True, True, True]])
SPACES = [Categorical(4), OneHot(4), MultiOneHot([1, 3]), MultiCategorical([2, 2]), Binary(4)]


def test_a_tensordict_gets_action_values_and_chosen_value():
    td = QValueModule("categorical")(TensorDict({"action_value": VALUE.clone()}, [2]))
    assert td["action"].tolist() == [1, 0]
    assert td["chosen_action_value"].tolist() == [[9.0], [3.0]]
    assert torch.equal(td["action_value"], VALUE)


@pytest.mark.parametrize("spec", SPACES, ids=str)
def test_every_call_form_gives_the_same(spec):
    module = QValueModule(spec=spec, action_mask_key="mask")
    td = module(TensorDict({"action_value": VALUE, "mask": MASK}, [2]))
    for outputs in (module(VALUE, MASK), module(action_value=VALUE, mask=MASK), module(VALUE, mask=MASK)):
        assert all(torch.equal(td[key], out) for key, out in zip(module.out_keys, outputs, strict=True))
    assert spec.is_in(td["action"])
    assert td["chosen_action_value"].shape == (2, 1)


def test_masked_values_are_written_back_as_the_lowest_number():
    td = QValueModule("one_hot", action_mask_key="mask")(TensorDict({"action_value": VALUE, "mask": MASK}, [2]))
    assert td["action_value"].tolist() == [[1.0, LOWEST, 2.0, 0.0], [3.0, 3.0, -1.0, 3.0]]
    assert td["action"].tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
    assert td["chosen_action_value"].tolist() == [[2.0], [3.0]]


def test_keys_may_be_nested_and_chosen():
    module = QValueModule("categorical", ("agent", "value"), ("agent", "mask"), action_key=("agent", "action"))
    td = module(TensorDict({"agent": {"value": VALUE, "mask": MASK}}, [2]))
    assert td["agent", "action"].tolist() == [2, 0]
    assert module.out_keys == [("agent", "action"), ("agent", "value"), "chosen_action_value"]
    assert module(agent_value=VALUE, agent_mask=MASK)[0].tolist() == [2, 0]
    assert QValueModule("categorical", out_keys=["a", "action_value"])(VALUE)[0].tolist() == [1, 0]


def test_missing_entries_are_named():
    module = QValueModule("categorical", "q", ("agent", "mask"))
    with pytest.raises(KeyError, match=r"action mask under \('agent', 'mask'\)"):
        module(TensorDict({"q": VALUE}, [2]))
    with pytest.raises(KeyError, match="agent"):
        module(VALUE)
    with pytest.raises(KeyError, match="action values under 'q'"):
        module(TensorDict({"agent": {"mask": MASK}}, [2]))


def test_a_mask_that_is_not_boolean_is_refused():
    with pytest.raises(TypeError, match="boolean action mask"):
        QValueModule("categorical", action_mask_key="mask")(VALUE, MASK.int())


@pytest.mark.parametrize("safe", [False, True])
def test_safe_projects_the_action_and_the_chosen_value_follows(safe):
    value = torch.tensor([[0.0, 1.0, 2.0, 9.0]])
    for module in (QValueModule(spec=Categorical(3), safe=safe), QValueModule(Categorical(3), safe=safe)):
        td = module(TensorDict({"action_value": value}, [1]))
        for action, chosen in ((td["action"], td["chosen_action_value"]), module(value)[::2]):
            assert action.tolist() == ([2] if safe else [3])
            assert chosen.tolist() == ([[2.0]] if safe else [[9.0]])


def test_safe_needs_a_spec():
    with pytest.raises(ValueError, match="safe=True needs a spec"):
        QValueModule("categorical", safe=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "expected action_space"),
        ({"action_space": "discrete"}, "got 'discrete'"),
        ({"action_space": "categorical", "spec": OneHot(4)}, r"'categorical' and OneHot\(4\)"),
        ({"action_space": "mult-one-hot"}, "mult-one-hot needs var_nums"),
        ({"spec": Bounded(0.0, 1.0)}, "discrete action"),
        ({"action_space": "categorical", "out_keys": []}, "1 to 3 out_keys"),
        ({"action_space": "categorical", "out_keys": ["a"], "action_key": "b"}, "'b' and 'a'"),
    ],
)
def test_arguments_that_disagree_are_refused(options, message):
    for make in (QValueModule, lambda **options: QValueActor(nn.Linear(4, 4), **options)):
        with pytest.raises(ValueError, match=message):
            make(**options)


def test_actor_from_a_plain_module():
    actor = QValueActor(nn.Linear(3, 4), spec=Composite(action=OneHot(4)), action_mask_key="mask")
    td = actor(TensorDict({"observation": torch.randn(2, 3), "mask": MASK}, [2]))
    assert OneHot(4).is_in(td["action"])
    assert td["action_value"][0, 1] == LOWEST
    assert actor.in_keys == ["observation", "mask"]
    assert (actor.action_space, actor.var_nums, actor.action_value_key) == ("one-hot", None, "action_value")
    assert len(actor(torch.randn(2, 3), MASK)) == 3


def test_actor_from_a_tensordict_module():
    network = TensorDictModule(nn.Linear(3, 4), in_keys=["pixels"], out_keys=["q"])
    assert QValueActor(network, spec=Categorical(4), action_value_key="q")(torch.zeros(2, 3))[0].shape == (2,)
    with pytest.raises(ValueError, match=r"under 'action_value', only under \['q'\]"):
        QValueActor(network, spec=Categorical(4))


@pytest.mark.parametrize("spec", SPACES, ids=str)
def test_meta_device(spec):
    actor = QValueActor(nn.Linear(3, 4), spec=spec, safe=True, action_mask_key="mask").to("meta")
    td = TensorDict({"observation": torch.zeros(2, 3), "mask": MASK}, [2]).to("meta")
    assert all(entry.is_meta for entry in actor(td).values())


def test_compiles_in_one_graph_and_maps():
    module = QValueModule(spec=MultiOneHot([1, 3]), action_mask_key="mask", safe=True)
    expected = module(VALUE, MASK)
    for got in (torch.compile(module, fullgraph=True, backend="eager")(VALUE, MASK), torch.vmap(module)(VALUE, MASK)):
        assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))


class MaskedNetwork(nn.Module):
    def forward(self, observation, action_mask):
        return observation


def test_hook_on_a_plain_module_gives_three_outputs():
    network = nn.Identity()
    network.register_forward_hook(QValueHook("one-hot"))
    action, value, chosen = network(VALUE)
    assert action.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert torch.equal(value, VALUE)
    assert chosen.tolist() == [[9.0], [3.0]]


def test_hook_inside_an_actor_drops_the_surplus_output():
    network = nn.Linear(3, 4)
    network.register_forward_hook(QValueHook(OneHot(4)))
    for keys in (["action"], ["action", "action_value"], ["action", "action_value", "chosen"]):
        td = Actor(module=network, spec=OneHot(4), out_keys=keys)(TensorDict({"observation": torch.ones(5, 3)}, [5]))
        assert sorted(td.keys()) == sorted([*keys, "observation"])
        assert OneHot(4).is_in(td["action"])


def test_hook_reads_the_mask_from_the_inputs_of_the_call():
    hook = QValueHook("categorical", action_mask_key=("agent", "action_mask"))
    network = MaskedNetwork()
    handle = network.register_forward_hook(hook)
    action, value, chosen = network(VALUE, MASK)
    assert (action.tolist(), chosen.tolist()) == ([2, 0], [[2.0], [3.0]])
    assert value[0, 1] == LOWEST
    actor = Actor(network, in_keys=["observation", "action_mask"], out_keys=["action", "action_value"])
    assert actor(TensorDict({"observation": VALUE, "action_mask": MASK}, [2]))["action"].tolist() == [2, 0]
    assert copy.deepcopy(network)(VALUE, MASK)[0].tolist() == [2, 0]
    handle.remove()
    network.register_forward_hook(hook, with_kwargs=True)
    assert network(VALUE, action_mask=MASK)[0].tolist() == [2, 0]
    with pytest.raises(TypeError, match="boolean"):
        network(VALUE, MASK.int())


def test_hook_without_its_mask_names_it():
    network = nn.Identity()
    network.register_forward_hook(QValueHook("categorical", action_mask_key="action_mask"))
    with pytest.raises(KeyError, match="action mask 'action_mask' among the inputs of Identity"):
        network(VALUE)


def test_hook_on_a_tensordict_module_writes_under_its_keys():
    network = TensorDictModule(nn.Identity(), in_keys=["observation"], out_keys=["q"])
    network.register_forward_hook(QValueHook("categorical", None, "q", "mask", ["a", "q", "best"]))
    td = network(TensorDict({"observation": VALUE, "mask": MASK}, [2]))
    assert (td["a"].tolist(), td["best"].tolist()) == ([2, 0], [[2.0], [3.0]])
    assert td["q"][0, 1] == LOWEST


def test_hook_takes_component_sizes():
    network = nn.Identity()
    network.register_forward_hook(QValueHook("mult_one_hot", var_nums=2))
    assert network(VALUE)[0].tolist() == [[0, 1, 1, 0], [1, 0, 0, 1]]


def test_distributional_hook():
    network = nn.LogSoftmax(-2)
    hook = DistributionalQValueHook(
        "categorical", torch.tensor([0.0, 1.0]), action_mask_key="mask", out_keys=["action", "action_value", "chosen"]
    )
    network.register_forward_hook(hook, with_kwargs=True)
    with pytest.raises(KeyError, match="mask"):
        network(torch.zeros(2, 3))

    class Masked(nn.Module):
        def forward(self, logits, mask):
            return logits.log_softmax(-2)

    masked = Masked()
    masked.register_forward_hook(hook, with_kwargs=True)
    logits = torch.tensor([[0.0, 0.0, 0.0], [1.0, 5.0, 3.0]])
    action, value, chosen = masked(logits, mask=torch.tensor([True, False, True]))
    assert action.item() == 2
    assert (value[:, 1] == LOWEST).all()
    torch.testing.assert_close(chosen, torch.sigmoid(torch.tensor([3.0])))


def test_a_hook_may_be_called_by_hand_with_the_values_as_a_keyword():
    action, value, chosen = QValueHook("one_hot")(net=None, observation=None, values=torch.tensor([1.0, 9.0]))
    assert (action.tolist(), value.tolist(), chosen.tolist()) == ([0, 1], [1.0, 9.0], [9.0])
    log_probs = torch.tensor([[0.5, 0.1], [0.5, 0.9]]).log()
    answer = DistributionalQValueHook("categorical", torch.tensor([0.0, 1.0]))(None, None, values=log_probs)
    assert len(answer) == 2
    assert answer[0].item() == 1
