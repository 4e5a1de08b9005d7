"""The dueling network as a shared trunk with two streams."""

import pytest
import torch
from tensordict import TensorDict

from qframe.actions import Categorical, OneHot
from qframe.functional.dueling import dueling
from qframe.heads import CategoricalHead, QuantileHead, ScalarHead
from qframe.modules import ActorValueOperator
from qframe.networks import MLPTrunk, QNet, SharedTrunk
from qframe.objectives import DQNLoss

HEADS = {
    "scalar": ScalarHead,
    "categorical": lambda features, actions: CategoricalHead(features, actions, num_atoms=5, v_min=-1, v_max=1),
    "quantile": lambda features, actions: QuantileHead(features, actions, num_quantiles=7),
}


@pytest.fixture(params=HEADS)
def network(request):
    torch.manual_seed(0)
    return SharedTrunk(MLPTrunk((4,), num_cells=[16]), HEADS[request.param], action_space=Categorical(3))


def observations():
    return TensorDict({"observation": torch.randn(64, 4)}, [64])


def test_it_writes_all_five_keys_and_has_the_getters_of_an_actor_value_operator(network):
    out = network(observations())
    for getter in ("get_policy_operator", "get_value_operator", "get_policy_head", "get_value_head"):
        assert hasattr(ActorValueOperator, getter)
        assert callable(getattr(network, getter))
    assert {"hidden", "action", "action_value", "chosen_action_value", "state_value"} <= set(out.keys())
    assert out["state_value"].shape == (64, network.head.num_outputs)


def test_raw_outputs_are_state_value_plus_centred_advantage(network):
    x = torch.randn(8, 4)
    hidden = network.trunk(x)
    state = network.state_head.prediction(hidden).out.squeeze(-2)
    expected = dueling(state, network.head.prediction(hidden).out)
    torch.testing.assert_close(network.predict(x).out, expected)


def test_the_policy_operator_is_greedy_for_the_whole_network(network):
    data = observations()
    assert network.get_policy_operator()(data.clone())["action"].tolist() == network(data)["action"].tolist()


def test_the_policy_operator_acts_alone_where_advantages_order_the_actions(network):
    data = observations()
    before = network.get_policy_operator()(data.clone())["action"]
    with torch.no_grad():
        for parameter in network.state_head.parameters():
            parameter.normal_(std=10.0)
    after = network.get_policy_operator()(data.clone())["action"]
    assert torch.equal(before, after) != network.head.needs_state_value


def test_the_value_operator_gives_the_value_stream(network):
    data = observations()
    value = network.get_value_operator()(data.clone())
    assert "action" not in value
    torch.testing.assert_close(value["state_value"], network(data)["state_value"])


def test_a_value_stream_without_a_gradient_is_refused():
    network = SharedTrunk(MLPTrunk((4,), num_cells=[8]), ScalarHead, action_space=Categorical(3), dueling=False)
    with pytest.raises(ValueError, match="gives no gradient to the value stream"):
        DQNLoss(network)


@pytest.mark.parametrize("head", HEADS)
def test_without_dueling_the_value_stream_is_no_part_of_the_action_values(head):
    network = SharedTrunk(MLPTrunk((4,), num_cells=[8]), HEADS[head], action_space=Categorical(3), dueling=False)
    observation = torch.randn(5, 4)
    data = TensorDict({"observation": observation}, [5])
    before = network(data)["action_value"]
    torch.testing.assert_close(before, network.head.value(network.predict(observation)))
    with torch.no_grad():
        for parameter in network.state_head.parameters():
            parameter.add_(1.0)
    torch.testing.assert_close(network(data)["action_value"], before)
    torch.testing.assert_close(network.get_policy_operator()(data.clone())["action_value"], before)


@pytest.mark.parametrize("head", HEADS)
def test_a_q_net_is_a_tensordict_module_in_the_layout_of_its_spec(head):
    network = QNet(MLPTrunk((4,), num_cells=[8]), HEADS[head], action_space=OneHot(3))
    out = network(observations())
    assert out["action"].shape == out["action_value"].shape == (64, 3)
    assert network.action_space.encoding == "one-hot"
    chosen = (out["action"] * out["action_value"]).sum(-1, keepdim=True)
    torch.testing.assert_close(out["chosen_action_value"], chosen)


def test_conv_and_mlp_trunks_say_what_they_need():
    from qframe.networks import ConvTrunk, ImpalaTrunk

    with pytest.raises(ValueError, match=r"images of shape \(C, H, W\), got \(4,\)"):
        ConvTrunk((4,))
    with pytest.raises(ValueError, match=r"too small for kernels \[8, 4, 3\] .* use trunk=auto"):
        ConvTrunk((4, 8, 8))
    for shape in ((10, 10, 4), (10, 10, 7), (210, 160, 3), (12, 10, 1)):
        for trunk in (ConvTrunk, ImpalaTrunk):
            with pytest.raises(ValueError, match=rf"got \({shape[0]}, .*, the channels last; .*qframe.envs.Ch"):
                trunk(shape)
    for shape in ((21, 7, 7), (4, 10, 10), (10, 10, 10), (3, 210, 160)):
        ConvTrunk(shape, channels=[2], kernels=[3], strides=[1], num_features=2)
    with pytest.raises(ValueError, match="as many kernels and strides"):
        ConvTrunk((4, 84, 84), kernels=[8])
    with pytest.raises(ValueError, match="at least one positive size"):
        MLPTrunk((4,), num_cells=[])
    assert MLPTrunk((2, 3), num_cells=[5])(torch.zeros(7, 2, 2, 3)).shape == (7, 2, 5)
    assert ConvTrunk((1, 36, 36), num_features=9)(torch.zeros(2, 3, 1, 36, 36)).shape == (2, 3, 9)


def test_a_layer_norm_makes_every_layer_of_an_image_one_of_mean_0_and_variance_1():
    from qframe.networks import ConvTrunk

    trunk, seen = ConvTrunk((2, 12, 12), channels=[4, 3], kernels=[3, 3], strides=[2, 1], layer_norm=True), []
    norms = [layer for layer in trunk.modules() if isinstance(layer, torch.nn.LayerNorm)]
    for norm in norms:
        norm.register_forward_hook(lambda layer, inputs, output: seen.append(output.detach()))
    trunk(torch.rand(5, 2, 12, 12))
    assert [tuple(output.shape) for output in seen] == [(5, 4, 5, 5), (5, 3, 3, 3), (5, 512)]
    for output in seen:
        torch.testing.assert_close(output.flatten(1).mean(1), torch.zeros(5), atol=1e-5, rtol=0)
        torch.testing.assert_close(output.flatten(1).var(1, correction=0), torch.ones(5), atol=1e-2, rtol=0)
    assert not any(isinstance(layer, torch.nn.LayerNorm) for layer in ConvTrunk((2, 84, 84)).modules())
