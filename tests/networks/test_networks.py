import copy

import pytest
import torch
from torch import nn

from qframe.modules import DuelingCnnDQNet, DuelingMlpDQNet
from qframe.networks import MLP, ConvNet, NoisyLinear


def test_mlp_layers_in_order():
    layers = [type(layer).__name__ for layer in MLP(4, 2, 8, 2, activation_class=nn.Tanh, activate_last_layer=True)]
    assert layers == ["Linear", "Tanh"] * 3
    assert [type(layer) for layer in MLP(4, 2, num_cells=[], layer_class=NoisyLinear)] == [NoisyLinear]
    assert [layer.bias for layer in MLP(4, 2, depth=0, bias=False)] == [None]
    assert len(MLP(4, 2)) == 5


def test_mlp_normalises_and_drops_out_after_hidden_layers_alone():
    norm = {"norm_class": nn.LayerNorm, "norm_kwargs": {"normalized_shape": 8}}
    layers = [type(layer).__name__ for layer in MLP(4, 2, [8], dropout=0.5, **norm)]
    assert layers == ["Linear", "Dropout", "LayerNorm", "ReLU", "Linear"]


def test_the_last_layer_has_a_bias_of_its_own_kind():
    assert MLP(4, 2, [8], bias_last_layer=False)[-1].bias is None
    assert MLP(4, 2, [8], bias=False, bias_last_layer=True)[-1].bias.shape == (2,)
    single = MLP(4, 2, [8], single_bias_last_layer=True)
    with torch.no_grad():
        single[-1].bias.fill_(3.0)
        single[-2].weight.zero_()
    assert single[-2].bias is None
    assert single(torch.ones(4)).tolist() == [3.0, 3.0]


def test_sizes_of_inputs_may_come_with_the_first_call():
    assert MLP(None, 2)(torch.zeros(3, 5)).shape == (3, 2)
    assert MLP(None, 2, num_cells=[])(torch.zeros(3, 5)).shape == (3, 2)
    assert ConvNet(None, [4], 3, 1)(torch.zeros(2, 6, 5, 5)).shape == (2, 36)
    with pytest.raises(ValueError, match=r"only nn.Linear can infer"):
        MLP(None, 2, layer_class=NoisyLinear)
    with pytest.raises(ValueError, match=r"only nn.Conv2d can infer"):
        ConvNet(None, layer_class=nn.LazyConv2d)


def test_mlp_shapes():
    assert MLP(4, (3, 2))(torch.zeros(5, 1, 4)).shape == (5, 1, 3, 2)
    assert MLP(4, 2)(torch.zeros(0, 4)).shape == (0, 2)
    assert MLP(4, 2)(torch.zeros(5, 3), torch.zeros(5, 1)).shape == (5, 2)
    assert MLP(4, 2, dtype=torch.float64)(torch.zeros(4, dtype=torch.float64)).dtype == torch.float64
    assert MLP(4, 2, device="meta")(torch.zeros(5, 4, device="meta")).is_meta


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_cells": [8, 8], "depth": 3}, "expected depth to be the length"),
        ({"depth": -1}, "depth ≥ 0, got -1"),
        ({"num_cells": [0]}, r"at least 1 feature, got the sizes \[4, 0, 2\]"),
    ],
)
def test_mlp_refuses_sizes_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        MLP(4, 2, **options)


def test_conv_net_keeps_batch_dimensions_and_knows_its_size():
    net = ConvNet(3, [4, 5], 3, [2, 1], 1)
    assert net.out_features(10, 8) == 5 * 5 * 4
    for batch in ((), (2,), (2, 3), (0,)):
        assert net(torch.zeros(*batch, 3, 10, 8)).shape == (*batch, 100)
    assert ConvNet(3, [4], 3, 1, flatten=False)(torch.zeros(2, 3, 5, 5)).shape == (2, 4, 3, 3)
    assert net.to("meta")(torch.zeros(2, 3, 10, 8, device="meta")).is_meta
    with pytest.raises(ValueError, match="strides to have one entry for each of the 3 layers"):
        ConvNet(3, strides=[1])
    with pytest.raises(ValueError, match="got 4 × 84 pixels"):
        ConvNet(3).out_features(4, 84)


@pytest.mark.parametrize(
    ("net", "shape"),
    [(DuelingMlpDQNet(4, 3, stream_cells=[]), (4,)), (DuelingCnnDQNet((1, 40, 40), 3, stream_cells=[8]), (1, 40, 40))],
    ids=["mlp", "cnn"],
)
def test_dueling_networks_subtract_the_mean_advantage(net, shape):
    x = torch.randn(5, 2, *shape)
    value, hidden = net(x), net.features(x)
    assert value.shape == (5, 2, 3)
    torch.testing.assert_close(value.mean(-1, keepdim=True), net.value(hidden))
    torch.testing.assert_close(value.argmax(-1), net.advantage(hidden).argmax(-1))
    assert copy.deepcopy(net).to("meta")(x.to("meta")).is_meta


def test_dueling_mlp_needs_a_common_layer():
    with pytest.raises(ValueError, match="at least one hidden layer"):
        DuelingMlpDQNet(4, 2, num_cells=[])


def noisy(**options) -> NoisyLinear:
    return NoisyLinear(6, 5, seed=0, **options)


def test_noisy_layer_is_the_equation_of_the_paper():
    layer, x = noisy(), torch.randn(3, 6)
    layer.reset_noise(torch.Generator().manual_seed(7))
    number = torch.randn(11, generator=torch.Generator().manual_seed(7))
    f = number.sign() * number.abs().sqrt()
    weight = layer.weight_mu + layer.weight_sigma * f[6:, None] * f[None, :6]
    torch.testing.assert_close(layer(x), x @ weight.T + layer.bias_mu + layer.bias_sigma * f[6:])
    torch.testing.assert_close(layer.weight_sigma, torch.full((5, 6), 0.5 / 6**0.5))
    assert layer.weight_mu.abs().max() <= 6**-0.5


def test_noise_is_redrawn_by_reset_alone_and_absent_in_evaluation():
    layer, x = noisy(), torch.randn(3, 6)
    first = layer(x)
    assert torch.equal(layer(x), first)
    layer.reset_noise()
    assert not torch.equal(layer(x), first)
    torch.testing.assert_close(layer.eval()(x), x @ layer.weight_mu.T + layer.bias_mu)
    assert noisy(bias=False)(x).shape == (3, 5)


def test_noise_is_in_no_state_dict_and_no_buffer():
    layer = noisy()
    before = layer(torch.ones(6))
    assert sorted(layer.state_dict()) == ["bias_mu", "bias_sigma", "weight_mu", "weight_sigma"]
    assert not list(layer.buffers())
    other = NoisyLinear(6, 5, seed=1)
    other.load_state_dict(layer.state_dict())
    assert not torch.equal(other(torch.ones(6)), before)


def test_copies_draw_their_own_noise_and_leave_the_original_alone():
    layer, twin, x = noisy(), noisy(), torch.ones(6)
    twin.load_state_dict(layer.state_dict())
    copies = [copy.deepcopy(layer), copy.deepcopy(layer), copy.deepcopy(copy.deepcopy(layer))]
    for _ in range(3):
        outputs = [net(x) for net in (layer, *copies)]
        assert all(not torch.equal(a, b) for i, a in enumerate(outputs) for b in outputs[:i])
        assert torch.equal(twin(x), outputs[0])
        for net in (layer, twin, *copies):
            net.reset_noise()


def test_noise_of_a_copy_is_reproducible():
    first, second = (copy.deepcopy(noisy()) for _ in range(2))
    assert torch.equal(first.stream.noise, second.stream.noise)


def test_noise_follows_device_and_dtype():
    layer = noisy().to(torch.float64)
    assert layer(torch.ones(6, dtype=torch.float64)).dtype == torch.float64
    assert layer.to("meta")(torch.ones(6, dtype=torch.float64, device="meta")).is_meta
    layer.to_empty(device="cpu")
    assert layer.stream.noise.device.type == "cpu"
    assert NoisyLinear(6, 5, device="meta")(torch.ones(6, device="meta")).is_meta


def test_gradients_reach_mean_and_scale_in_a_compiled_graph_too():
    layer, x = noisy(), torch.randn(3, 6)
    torch.compile(layer, fullgraph=True, backend="aot_eager")(x).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())
    first = layer(x)
    layer.reset_noise()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))
    assert not torch.equal(compiled(x), first)
