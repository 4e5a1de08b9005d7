"""Ensembles, joint actions and DQV as one graph, with every head: the same numbers as eager."""

import pytest
import torch

from qframe.actions import Categorical, MultiCategorical
from qframe.networks import EnsembleQNet, MLPTrunk, QNet, SharedTrunk
from qframe.objectives import DQNLoss, DQVLoss
from tests.compiled.test_every_head import ACTIONS, BACKEND, B, batch_of, fresh_graphs  # noqa: F401
from tests.heads.common import HEADS
from tests.objectives.test_every_head_joint import joint_batch


def built(kind, head):
    torch.manual_seed(0)
    trunk = MLPTrunk((2,), num_cells=[8])
    if kind == "ensemble":
        options = {"num_members": 3, "prior_scale": 0.5, "dueling": True}
        net = EnsembleQNet(trunk, HEADS[head], action_space=Categorical(ACTIONS), **options)
        return DQNLoss(net, delay_value=True, double_dqn=True), batch_of(B)
    if kind == "dqv":
        net = SharedTrunk(trunk, HEADS[head], action_space=Categorical(ACTIONS), dueling=False)
        return DQVLoss(net, delay_value=True), batch_of(B)
    net = QNet(trunk, HEADS[head], action_space=MultiCategorical([2, 3]))
    return DQNLoss(net, delay_value=True, joint=kind), joint_batch(B)


@pytest.mark.parametrize("kind", ["ensemble", "dqv", "branching"])
@pytest.mark.parametrize("head", HEADS)
def test_the_pure_loss_of_the_family_is_one_graph(head, kind):
    loss, data = built(kind, head)
    batch, noise = loss._read(data), loss.draw_noise(data.shape)
    compiled = torch.compile(loss._losses, fullgraph=True, backend=BACKEND)
    found = []
    for function in (loss._losses, compiled):
        value, td_error = function(batch, noise)
        loss.zero_grad()
        value.mean().backward()
        gradients = [p.grad.clone() for p in loss.value_network.parameters() if p.grad is not None]
        found.append((value.detach(), td_error, gradients))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)
    assert found[0][2]
