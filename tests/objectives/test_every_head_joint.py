"""Every head on joint actions: one target for all branches."""

import numpy as np
import pytest
import torch

from qframe.actions import MultiCategorical
from qframe.networks import MLPTrunk, QNet
from qframe.objectives import DQNLoss
from tests.heads.common import HEADS
from tests.heads.head_oracle import GAMMA, NETWORKS, B, Oracle, T, batch_of, chosen, predicted


def joint_batch(*shape):
    data = batch_of(*shape).exclude(("next", "action_mask"))
    g = torch.Generator().manual_seed(2)
    data["action"] = torch.stack([torch.randint(n, shape, generator=g) for n in (2, 3)], -1)
    mask = torch.rand(*shape, 5, generator=g) < 0.6
    mask[..., 0] |= ~mask[..., :2].any(-1)
    mask[..., 2] |= ~mask[..., 2:].any(-1)
    data["next", "action_mask"] = mask
    return data


@pytest.mark.parametrize("head", HEADS)
def test_the_branches_of_a_joint_action_share_a_mixed_target(head):
    torch.manual_seed(0)
    net = QNet(MLPTrunk((2,), num_cells=[8]), HEADS[head], action_space=MultiCategorical([2, 3]))
    loss = DQNLoss(net, delay_value=True, gamma=GAMMA, joint="branching").double()
    oracle, data = Oracle(head, "none"), joint_batch(B).double()
    data["action"] = data["action"].long()
    for key in ("terminated", "done", "action_mask"):
        data["next", key] = data["next", key].bool()
    noise = loss.draw_noise(torch.Size([B]))
    now, now_taus = predicted(net, data["observation"], noise.online)  # [D, B, A, N]
    with torch.no_grad():
        then, taus = predicted(loss.target_value_network, data["next", "observation"], noise.target)
    losses, errors = [], []
    for i in range(B):
        atoms, masses = [], []
        for d, part in enumerate((slice(0, 2), slice(2, 5))):
            mask = data["next", "action_mask"][i, part].numpy()
            a = chosen(oracle.value(then[d, i, : len(mask)], taus[i]), mask)
            location, mass = oracle.law(then[d, i, a], taus[i])
            alive = not data["next", "terminated"][i].item()
            atoms.append(data["next", "reward"][i].item() + (GAMMA * location if alive else 0 * location))
            masses.append(mass / 2)
        target = np.concatenate(atoms), np.concatenate(masses)
        pairs = [oracle.loss(now[d, i, data["action"][i, d]], now_taus[i], *target) for d in range(2)]
        losses.append(np.mean([one for one, _ in pairs]))
        errors.append(np.mean([abs(error) for _, error in pairs]))
    assert loss(data, noise=noise)["loss"].item() == pytest.approx(np.mean(losses), rel=1e-6)
    np.testing.assert_allclose(data["td_error"].squeeze(-1), errors, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("joint", ["branching", "sum"])
@pytest.mark.parametrize("estimator", ["TD0", "TDLambda", "WatkinsQLambda", "SoftTD0", "Munchausen"])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("head", HEADS)
def test_joint_actions_train_every_parameter_or_are_refused(head, network, estimator, joint):
    transform = "h" if joint == "branching" else "none"  # the sum of transformed laws is refused
    trunk, spec = MLPTrunk((2,), num_cells=[8]), MultiCategorical([2, 3])
    net = NETWORKS[network](trunk, lambda f, a: HEADS[head](f, a, transform=transform), action_space=spec)
    if joint == "sum" and (head in ("categorical", "hl_gauss") or estimator in ("SoftTD0", "Munchausen")):
        with pytest.raises(ValueError, match="joint=branching"):
            DQNLoss(net, delay_value=True, joint=joint).make_value_estimator(estimator)
        return
    loss = DQNLoss(net, delay_value=True, joint=joint)
    loss.make_value_estimator(estimator)
    data = joint_batch(B, T)
    loss(data)["loss"].backward()
    assert data["td_error"].shape == (B, T, 1)
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in net.parameters())
