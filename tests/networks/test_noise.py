"""Noisy layers in a network: where they are put, and whose noise is whose."""

import copy
import pickle

import pytest
import torch
from torch import nn

from qframe.actions import Categorical
from qframe.heads import CategoricalHead, QuantileHead, ScalarHead
from qframe.networks import ConvTrunk, MLPTrunk, NoisyLinear, QNet, SharedTrunk
from qframe.networks.noise import RandomPass, noisy_layers, random_passes
from qframe.networks.noisy import make_noisy

HEADS = [ScalarHead, CategoricalHead, QuantileHead]


def network(kind=QNet, head=ScalarHead, **options):
    torch.manual_seed(0)
    return kind(MLPTrunk((4,), num_cells=[8, 6]), head, action_space=Categorical(3), noisy=True, **options)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("kind", "layers"), [(QNet, 3), (SharedTrunk, 4)])
def test_every_linear_layer_of_trunk_and_heads_is_noisy(kind, layers, head):
    built = network(kind, head, noisy_std=0.3)
    assert not [module for module in built.modules() if isinstance(module, nn.Linear)]
    assert [layer.std_init for layer in noisy_layers(built)] == [0.3] * layers


def test_convolutions_stay_and_the_linear_layer_after_them_is_noisy():
    trunk = ConvTrunk((1, 36, 36), num_features=9)
    make_noisy(trunk, std_init=0.5)
    kinds = [type(module).__name__ for module in trunk.modules() if not list(module.children())]
    assert kinds == ["Conv2d", "ReLU"] * 3 + ["NoisyLinear", "ReLU"]


def test_the_mean_of_a_noisy_layer_starts_as_the_weights_it_replaces():
    net = nn.Sequential(nn.Linear(4, 2), nn.Sequential(nn.Linear(2, 1, bias=False)))
    weights = [net[0].weight.clone(), net[0].bias.clone(), net[1][0].weight.clone()]
    make_noisy(net, std_init=0.5)
    assert torch.equal(net[0].weight_mu, weights[0])
    assert torch.equal(net[0].bias_mu, weights[1])
    assert torch.equal(net[1][0].weight_mu, weights[2])
    assert net[1][0].bias_mu is None


def test_the_networks_seed_decides_its_noise():
    x = torch.ones(4)
    first, second = network(), network()
    assert torch.equal(first.predict(x).out, second.predict(x).out)
    torch.manual_seed(1)
    other = QNet(MLPTrunk((4,), num_cells=[8, 6]), ScalarHead, action_space=Categorical(3), noisy=True)
    assert not torch.equal(other.trunk[0].stream.noise, first.trunk[0].stream.noise)


def test_a_pass_has_the_noise_it_is_given_and_leaves_the_layers_theirs():
    built, x = network(), torch.ones(4)
    random, generator = RandomPass(built, built), torch.Generator().manual_seed(0)
    own = built.predict(x).out
    first, second = (random.draw(torch.Size(), generator, like=x) for _ in range(2))
    assert first.weights.shape == (4 + 8 + 8 + 6 + 6 + 3,)
    outputs = [random.predict(x, noise).out for noise in (first, second, first)]
    assert torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], outputs[1])
    assert torch.equal(built.predict(x).out, own)


def test_a_layer_gets_its_part_of_the_noise_of_a_pass():
    built, x = network(), torch.ones(4)
    noise = RandomPass(built, built).draw(torch.Size(), torch.Generator().manual_seed(3), like=x)
    for layer, part in zip(noisy_layers(built), noise.weights.split([12, 14, 9]), strict=True):
        layer.stream.noise = part
    assert torch.equal(built.predict(x).out, RandomPass(built, built).predict(x, noise).out)


def test_a_layer_has_its_own_noise_again_after_a_pass_that_failed():
    built = network()
    random, own = RandomPass(built, built), built.trunk[0].stream.noise
    noise = random.draw(torch.Size(), torch.Generator(), like=own)
    with pytest.raises(RuntimeError):
        random.predict(torch.ones(5), noise)
    assert built.trunk[0].stream.noise is own


def test_in_evaluation_the_mean_weights_are_used_whatever_the_noise():
    built, x = network().eval(), torch.ones(4)
    random, generator = RandomPass(built, built), torch.Generator().manual_seed(0)
    outputs = [random.predict(x, random.draw(torch.Size(), generator, like=x)).out for _ in range(2)]
    assert torch.equal(outputs[0], outputs[1])


def test_a_network_without_anything_random_has_no_passes_of_its_own():
    plain = QNet(MLPTrunk((4,), num_cells=[8]), ScalarHead, action_space=Categorical(3))
    assert random_passes((plain, plain), (plain, plain)) is None
    assert noisy_layers(plain) == []
    assert noisy_layers("no module") == []


def test_noise_can_be_mapped_over():
    built, x = network(), torch.randn(5, 4)
    random = RandomPass(built, built)
    noise = [random.draw(torch.Size(), torch.Generator().manual_seed(i), like=x) for i in range(5)]
    weights = torch.stack([one.weights for one in noise])
    mapped = torch.vmap(lambda x, w: random.predict(x, noise[0]._replace(weights=w)).out)(x, weights)
    for i in range(5):
        torch.testing.assert_close(mapped[i], random.predict(x[i], noise[i]).out)
    assert not torch._C._functorch.is_batchedtensor(built.trunk[0].stream.noise)


def test_a_noisy_network_can_be_copied_and_pickled():
    built, x = network().eval(), torch.ones(4)
    assert torch.equal(copy.deepcopy(built).predict(x).out, built.predict(x).out)
    assert torch.equal(pickle.loads(pickle.dumps(built)).predict(x).out, built.predict(x).out)
    assert isinstance(copy.deepcopy(built).trunk[0], NoisyLinear)
