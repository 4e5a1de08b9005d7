"""Networks with effects that compiled code would lack run uncompiled, with a warning and with the right result."""

import pytest
import torch
from torch import nn

from qframe.compiled.update import CompiledUpdate
from qframe.heads import ScalarHead
from qframe.networks import QNet
from qframe.objectives import DQNLoss, SoftUpdate
from qframe.optimizer import Optimizer
from tests.networks.test_modes import SPACE, Own, batch


def trained(layer, *, is_compiled):
    torch.manual_seed(0)
    loss = DQNLoss(QNet(Own(layer()), ScalarHead, action_space=SPACE), delay_value=True, double_dqn=True, gamma=0.9)
    optimizer, target = Optimizer(loss.value_network.parameters(), torch.optim.SGD, lr=0.1), SoftUpdate(loss, tau=0.1)
    update = CompiledUpdate(loss, optimizer, target) if is_compiled else None
    torch.manual_seed(1)
    for _ in range(3):
        rows = batch().set("index", torch.arange(16))
        if update is not None:
            update(rows, 1, {})
        else:
            optimizer.minimize(loss(rows)["loss"])
            target.step()
    return update, dict(loss.named_parameters()) | dict(loss.named_buffers())


@pytest.mark.parametrize(
    ("layer", "warning"),
    [
        (lambda: nn.BatchNorm1d(8), "changes the statistics of batch normalisation; it runs uncompiled"),
        (lambda: nn.Dropout(0.5), "draws from torch's global generator, as dropout does; it runs uncompiled"),
    ],
)
def test_an_uncompiled_update_keeps_the_effects_of_training_mode(layer, warning):
    _, expected = trained(layer, is_compiled=False)
    with pytest.warns(UserWarning, match=warning):
        update, found = trained(layer, is_compiled=True)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)
    assert update is not None
    assert update.holds_rounds is (layer().__class__ is nn.Dropout)
