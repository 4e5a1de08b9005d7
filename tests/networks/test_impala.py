"""IMPALA's trunk: shapes, what its blocks compute, and spectral normalisation."""

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from qframe.actions import Categorical
from qframe.heads import QuantileHead
from qframe.networks import ImpalaTrunk, SharedTrunk
from qframe.objectives import DQNLoss, HardUpdate


def trunk(shape=(2, 20, 15), **options):
    torch.manual_seed(0)
    return ImpalaTrunk(shape, **{"channels": [3, 4], "num_features": 5} | options)


@pytest.mark.parametrize("pooled_size", [None, 2])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
def test_features_have_any_batch_dimensions(batch, pooled_size):
    images = torch.randint(256, (*batch, 2, 20, 15), dtype=torch.uint8)
    assert trunk(pooled_size=pooled_size)(images).shape == (*batch, 5)


@pytest.mark.parametrize(("pooled_size", "inputs"), [(None, 4 * 5 * 4), (2, 4 * 2 * 2)])
def test_each_stage_halves_the_image_and_pooling_fixes_its_size(pooled_size, inputs):
    assert trunk(pooled_size=pooled_size).linear[0].in_features == inputs  # 20 × 15 → 10 × 8 → 5 × 4


def test_bytes_are_scaled_to_one_and_floats_are_not():
    images = torch.randint(256, (2, 2, 20, 15), dtype=torch.uint8)
    torch.testing.assert_close(trunk()(images), trunk()(images.float() / 255))


def test_channels_are_multiplied():
    assert [m.out_channels for m in trunk(width_scale=2).modules() if isinstance(m, nn.Conv2d)][::5] == [6, 8]


def test_convolutions_of_residual_blocks_have_a_largest_singular_value_of_one():
    network = trunk(spectral=True)
    for _ in range(50):  # the power iteration converges
        network(torch.rand(1, 2, 20, 15))
    normalised = filter(nn.utils.parametrize.is_parametrized, network.modules())
    weights = [layer.weight for layer in normalised]
    assert len(weights) == 8
    for weight in weights:
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1.0, abs=1e-3)


def test_a_residual_block_of_zero_weights_is_the_identity():
    block = trunk().convolutions[0][2]
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    image = torch.randn(1, 3, 4, 4)
    assert torch.equal(block(image), image)


def test_an_image_network_with_spectral_normalisation_trains_with_a_target_network():
    network = SharedTrunk(trunk(spectral=True, pooled_size=2), QuantileHead, action_space=Categorical(3), noisy=True)
    loss = DQNLoss(network, delay_value=True)
    loss.make_value_estimator("munchausen")
    images = torch.randint(256, (2, 6, 2, 20, 15), dtype=torch.uint8)
    batch = TensorDict(
        {
            "observation": images[0], "action": torch.randint(3, (6,)),
            "next": {"observation": images[1], "reward": torch.ones(6, 1), "terminated": torch.zeros(6, 1).bool()},
        },
        [6],
    )  # fmt: skip
    value = loss(batch)["loss"]
    value.backward()
    assert value.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.trunk.parameters())
    HardUpdate(loss, value_network_update_interval=1).step()
    online, target = (n.trunk.state_dict() for n in (loss.value_network, loss.target_value_network))
    assert all(torch.equal(online[key], target[key]) for key in online)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (4,)}, r"images of shape \(C, H, W\), got \(4,\); use an MLPTrunk"),
        ({"channels": []}, "expected channels of at least 1, got 0"),
        ({"width_scale": 0}, "expected width_scale of at least 1, got 0"),
        ({"pooled_size": 0}, "expected pooled_size of at least 1, got 0"),
    ],
)
def test_arguments_out_of_range_raise(options, message):
    with pytest.raises(ValueError, match=message):
        trunk(**options)
