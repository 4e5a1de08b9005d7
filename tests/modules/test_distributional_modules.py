import pytest
import torch
from tensordict import TensorDict, set_printoptions
from torch import nn

from qframe.actions import Binary, Categorical, MultiCategorical, MultiOneHot, OneHot
from qframe.modules import DistributionalDQNnet, DistributionalQValueActor, DistributionalQValueModule

LOWEST = torch.finfo(torch.float32).min
SUPPORT = torch.tensor([-1.0, 0.0, 2.0])
SPACES = [Categorical(4), OneHot(4), MultiOneHot([1, 3]), MultiCategorical([2, 2]), Binary(4)]


def log_probs(*batch: int, num_actions: int = 4, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*batch, 3, num_actions, generator=generator).log_softmax(-2).to(dtype)


def test_the_greatest_expected_value_is_chosen():
    value = torch.tensor([[0.5, 0.25], [0.5, 0.25], [0.0, 0.5]]).log()  # means −0.5 and 0.75
    module = DistributionalQValueModule("categorical", SUPPORT, out_keys=["action", "action_value", "chosen"])
    action, same, chosen = module(value)
    assert action.item() == 1
    assert torch.equal(same, value)
    assert chosen.tolist() == [0.75]


def test_page_example_prints_what_it_shows():
    value = torch.full((3, 4), -100)
    value[0, 0] = value[1, 1] = value[2, 2] = 0
    support = torch.tensor([-1, 0.0, 1.0])
    module = DistributionalQValueModule("categorical", support=support, action_value_key="my_action_value")
    with set_printoptions(compact=False):
        assert str(module(TensorDict({"my_action_value": value}, []))) == (
            "TensorDict(\n"
            "    fields={\n"
            "        action: Tensor(shape=torch.Size([]), device=cpu, dtype=torch.int64, is_shared=False),\n"
            "        my_action_value: Tensor(shape=torch.Size([3, 4]), device=cpu, dtype=torch.int64, "
            "is_shared=False)},\n"
            "    batch_size=torch.Size([]),\n"
            "    device=None,\n"
            "    is_shared=False)"
        )


@pytest.mark.parametrize("spec", SPACES, ids=str)
def test_every_action_space_with_masks_and_batches(spec):
    module = DistributionalQValueModule(spec=spec, support=SUPPORT, action_mask_key="mask", safe=True)
    value, mask = log_probs(2, 5), torch.tensor([True, True, False, True])
    action, written = module(value, mask)
    assert spec.is_in(action)
    assert action.shape == (2, 5, *spec.shape)
    assert (written[..., 2] == LOWEST).all()
    assert torch.equal(written[..., [0, 1, 3]], value[..., [0, 1, 3]])
    td = module(TensorDict({"action_value": value, "mask": mask.expand(2, 5, 4)}, [2, 5]))
    assert torch.equal(td["action"], action)
    assert torch.equal(td["action_value"], written)
    again = module(written, mask)
    assert torch.equal(again[0], action)


def test_every_component_may_have_its_own_support():
    certain = torch.tensor([[0.0, 0.0, 0.0, -torch.inf], [-torch.inf, -torch.inf, -torch.inf, 0.0]])  # atoms 0 0 0 1
    support = torch.tensor([[1.0, 5.0], [4.0, -3.0]])
    keys = ["action", "action_value", "chosen"]
    module = DistributionalQValueModule("mult-one-hot", support, out_keys=keys, var_nums=2)
    action, _, chosen = module(certain)
    assert (action.tolist(), chosen.tolist()) == ([1, 0, 1, 0], [5.0])
    bits = DistributionalQValueModule("binary", torch.tensor([[1.0, 5], [-1, 5], [2, 5], [5, -1]]), out_keys=keys)
    action, _, chosen = bits(certain)
    assert (action.tolist(), chosen.tolist()) == ([1, 0, 1, 0], [3.0])
    with pytest.raises(ValueError, match="a support for each of 4 components, got 2"):
        DistributionalQValueModule("binary", support)(certain)


@pytest.mark.parametrize(
    ("space", "support"),
    [
        ("categorical", None), ("categorical", torch.zeros(2, 3)), ("binary", torch.tensor(1.0)),
        ("one-hot", torch.zeros(0)), ("categorical", [0.0, 1.0]),
    ],
)
def test_a_support_of_a_wrong_shape_is_refused(space, support):
    with pytest.raises(ValueError, match="expected support to be a tensor"):
        DistributionalQValueModule(space, support)


def test_values_of_a_wrong_shape_are_refused():
    module = DistributionalQValueModule("categorical", SUPPORT)
    for value in (torch.zeros(2, 4), torch.zeros(3)):
        with pytest.raises(ValueError, match=r"N = 3 atoms at dimension -2, got shape"):
            module(value)


def test_a_positive_entry_raises_where_it_can_be_seen():
    module = DistributionalQValueModule("categorical", SUPPORT)
    value = torch.zeros(2, 3, 4)
    value[1, 0, 0] = 0.5
    with pytest.raises(ValueError, match=r"all ≤ 0, got a greatest entry of 0\.5; apply log_softmax"):
        module(value)
    assert torch.vmap(module)(value)[0].shape == (2,)
    assert torch.compile(module, fullgraph=True, backend="eager")(value)[0].shape == (2,)
    assert module.to("meta")(value.to("meta"))[0].is_meta


@pytest.mark.parametrize("spec", SPACES, ids=str)
def test_compiles_in_one_graph_and_maps(spec):
    torch.compiler.reset()
    module = DistributionalQValueModule(spec=spec, support=SUPPORT, action_mask_key="mask", safe=True)
    value, mask = log_probs(6), torch.rand(6, 4, generator=torch.Generator().manual_seed(1)) < 0.7
    expected = module(value, mask)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    for got in (compiled(value, mask), torch.vmap(module)(value, mask)):
        assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))
    td = TensorDict({"action_value": value, "mask": mask}, [6])
    assert torch.equal(compiled(td)["action"], expected[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_float_dtypes_are_kept(dtype):
    module = DistributionalQValueModule("categorical", SUPPORT, out_keys=["action", "action_value", "chosen"])
    action, value, chosen = module(log_probs(5, dtype=dtype))
    assert (action.dtype, value.dtype, chosen.dtype) == (torch.int64, dtype, dtype)


def test_nan_and_minus_infinity():
    module = DistributionalQValueModule("one-hot", SUPPORT, out_keys=["action", "action_value", "chosen"])
    value = log_probs(2)
    value[0, 1, 2] = torch.nan
    value[1, :, 0] = torch.tensor([-torch.inf, -torch.inf, 0.0])
    action, _, chosen = module(value)
    assert OneHot(4).is_in(action)
    assert chosen[0].isnan()
    assert chosen[1].item() == 2.0


def test_a_row_with_no_legal_action_and_an_empty_batch():
    keys = ["action", "action_value", "chosen"]
    module = DistributionalQValueModule("categorical", SUPPORT, action_mask_key="mask", out_keys=keys)
    action, _, chosen = module(log_probs(2), torch.zeros(4, dtype=torch.bool))
    assert (action.tolist(), chosen.tolist()) == ([0, 0], [[LOWEST], [LOWEST]])
    assert module(log_probs(0), torch.ones(0, 4, dtype=torch.bool))[2].shape == (0, 1)
    with pytest.raises(KeyError, match="mask"):
        module(log_probs(2))
    with pytest.raises(TypeError, match="boolean"):
        module(log_probs(2), torch.ones(4))


def test_safe_projects_in_both_call_forms():
    keys = ["action", "action_value", "chosen"]
    module = DistributionalQValueModule(spec=Categorical(2), support=SUPPORT, safe=True, out_keys=keys)
    value = torch.zeros(3, 4).log_softmax(-2)
    value[:, 3] = torch.tensor([-torch.inf, -torch.inf, 0.0])
    assert module(value)[0].item() == 1
    td = module(TensorDict({"action_value": value}, []))
    assert td["action"].item() == 1
    torch.testing.assert_close(td["chosen"], torch.tensor([1 / 3]))


def test_log_probabilities_from_a_network():
    net = DistributionalDQNnet(nn.Unflatten(-1, (3, 4)))
    assert net.in_keys == ["observation"]
    torch.testing.assert_close(net(torch.randn(2, 12)).exp().sum(-2), torch.ones(2, 4))
    td = DistributionalDQNnet(in_keys=["q"], out_keys=["q"])(TensorDict({"q": torch.zeros(2, 3, 4)}, [2]))
    torch.testing.assert_close(td["q"].exp(), torch.full((2, 3, 4), 1 / 3))
    with pytest.raises(ValueError, match=r"atoms at dimension -2, got shape \[3\]"):
        DistributionalDQNnet()(torch.zeros(3))


@pytest.mark.parametrize("make_log_softmax", [True, False])
def test_actor(make_log_softmax):
    layers = [nn.Linear(5, 12), nn.Unflatten(-1, (3, 4))] + ([] if make_log_softmax else [nn.LogSoftmax(-2)])
    actor = DistributionalQValueActor(
        nn.Sequential(*layers), support=SUPPORT, spec=OneHot(4), action_mask_key="mask", action_value_key="q",
        make_log_softmax=make_log_softmax,
    )
    mask = torch.tensor([[True, True, False, True]] * 2)
    td = actor(TensorDict({"observation": torch.randn(2, 5), "mask": mask}, [2]))
    assert (td["q"] <= 0).all()
    assert OneHot(4).is_in(td["action"])
    assert (actor.action_space, actor.action_value_key, actor.var_nums) == ("one-hot", "q", None)
    assert torch.equal(actor.support, SUPPORT)
    meta = actor.to("meta")(TensorDict({"observation": torch.randn(2, 5), "mask": mask}, [2]).to("meta"))
    assert meta["action"].is_meta
    assert actor.support.is_meta
