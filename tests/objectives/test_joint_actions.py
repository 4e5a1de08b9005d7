"""Joint actions in the loss: against literal numbers, and against plain loops in NumPy."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import nn

from qframe.actions import MultiCategorical, MultiOneHot
from qframe.heads import CategoricalHead, QuantileHead, ScalarHead
from qframe.networks import MLPTrunk, QNet, SharedTrunk
from qframe.objectives import DQNLoss


class Fixed(nn.Module):
    """Action values [1, 5 | 2, 0, 3] now (observation 0), [10, 20 | 30, 50, 40] next (observation 1)."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.tensor([[1.0, 5, 2, 0, 3], [10, 20, 30, 50, 40]]))

    def forward(self, observation):
        return self.table[observation.squeeze(-1).long()]


def one_transition(action, **more):
    flags = {"terminated": torch.zeros(1, 1, dtype=torch.bool), "done": torch.zeros(1, 1, dtype=torch.bool)}
    following = {"observation": torch.ones(1, 1), "reward": torch.tensor([[7.0]]), **flags}
    return TensorDict(
        {"observation": torch.zeros(1, 1), "action": action, "next": following | more.pop("next", {}), **more}, [1]
    )


ACTION = torch.tensor([[1, 2]])  # worth 5 and 3


def test_the_sum_of_branches_is_regressed_on_the_sum_of_their_best():
    loss = DQNLoss(Fixed(), action_space=MultiCategorical([2, 3]), gamma=0.5)
    batch = one_transition(ACTION)
    assert loss(batch)["loss"].item() == (7 + 0.5 * (20 + 50) - (5 + 3)) ** 2
    assert batch["td_error"].item() == 34


def test_every_branch_is_regressed_on_the_mean_of_their_best():
    loss = DQNLoss(Fixed(), action_space=MultiCategorical([2, 3]), joint="branching", gamma=0.5)
    batch = one_transition(ACTION)
    target = 7 + 0.5 * (20 + 50) / 2
    assert loss(batch)["loss"].item() == pytest.approx(((target - 5) ** 2 + (target - 3) ** 2) / 2)
    assert batch["td_error"].item() == pytest.approx((abs(target - 5) + abs(target - 3)) / 2)


@pytest.mark.parametrize("joint", ["sum", "branching"])
def test_one_hot_vectors_train_as_indices_do(joint):
    vector = torch.tensor([[0, 1, 0, 0, 1]])
    by_index = DQNLoss(Fixed(), action_space=MultiCategorical([2, 3]), joint=joint)(one_transition(ACTION))
    by_vector = DQNLoss(Fixed(), action_space=MultiOneHot([2, 3]), joint=joint)(one_transition(vector))
    assert by_index["loss"].item() == by_vector["loss"].item()


def test_an_illegal_choice_of_a_branch_is_not_bootstrapped_on():
    mask = torch.tensor([[True, False, True, False, True]])
    loss = DQNLoss(Fixed(), action_space=MultiCategorical([2, 3]), gamma=0.5)
    batch = one_transition(ACTION, next={"action_mask": mask})
    assert loss(batch)["loss"].item() == (7 + 0.5 * (10 + 40) - 8) ** 2


def test_keywords_give_the_same_loss():
    loss = DQNLoss(Fixed(), action_space=MultiCategorical([2, 3]), joint="branching")
    flat = one_transition(ACTION).flatten_keys("_").to_dict()
    assert loss(**flat).item() == loss(one_transition(ACTION))["loss"].item()


def test_the_sum_of_categorical_laws_is_refused():
    network = QNet(MLPTrunk((1,), num_cells=[4]), CategoricalHead, action_space=MultiCategorical([2, 2]))
    with pytest.raises(ValueError, match="CategoricalHead cannot represent .* of a sum, .*; set joint=branching"):
        DQNLoss(network)
    transformed = QNet(
        MLPTrunk((1,), num_cells=[4]), lambda *size: QuantileHead(*size, transform="h"),
        action_space=MultiCategorical([2, 2]),
    )
    with pytest.raises(ValueError, match="QuantileHead with a transform of returns cannot add up branches"):
        DQNLoss(transformed)
    with pytest.raises(ValueError, match="expected joint to be one of branching, sum, mean, got 'product'"):
        DQNLoss(network, joint="product")  # pyright: ignore


def make_network(network, head, sizes):
    torch.manual_seed(1)
    return network(MLPTrunk((4,), num_cells=[16]), head, action_space=MultiCategorical(sizes)).double()


def random_batch(sizes, shape):
    generator = torch.Generator().manual_seed(3)
    draw = lambda *size: torch.rand(*shape, *size, generator=generator, dtype=torch.float64)  # noqa: E731
    mask = draw(sum(sizes)) < 0.6
    start = 0
    for size in sizes:
        mask[..., start] = True
        start += size
    terminated = draw(1) < 0.3
    following = {"observation": draw(4), "reward": draw(1), "terminated": terminated, "action_mask": mask}
    following["done"] = terminated | (draw(1) < 0.2)
    action = torch.stack([(draw() * n).long() for n in sizes], -1)
    return TensorDict({"observation": draw(4), "action": action, "next": following}, shape)


def atoms(net, observation, sizes):
    """Outputs of each branch, ``[D][B, A_d, N]``, in NumPy, from the network's own layers."""
    hidden = net.trunk(observation)
    out = net.head.prediction(hidden).out
    parts = out.split(sizes, -2)
    if hasattr(net, "state_head"):
        value = net.state_head.prediction(hidden).out
        parts = [value + part - part.mean(-2, keepdim=True) for part in parts]
    return [part.detach().numpy() for part in parts]


def quantile_huber(theta, taus, targets, masses):
    total = 0.0
    for quantile, tau in zip(theta, taus, strict=True):
        for z, mass in zip(targets, masses, strict=True):
            error = z - quantile
            size = 0.5 * error**2 if abs(error) <= 1 else abs(error) - 0.5
            total += mass * abs(tau - (error < 0)) * size
    return total


@pytest.mark.parametrize("network", [QNet, SharedTrunk])
@pytest.mark.parametrize("sizes", [(2, 2), (2, 3), (1, 4, 2)])
@pytest.mark.parametrize("joint", ["sum", "branching"])
@pytest.mark.parametrize("double", [False, True])
def test_quantiles_of_joint_actions_agree_with_loops(network, sizes, joint, double):
    net = make_network(network, lambda *size: QuantileHead(*size, num_quantiles=5), sizes)
    loss = DQNLoss(net, joint=joint, delay_value=True, double_dqn=double, gamma=0.9, reduction="none")
    with torch.no_grad():
        for parameter in loss.target_value_network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, dtype=torch.float64))
    batch = random_batch(sizes, (6,))
    now, later = batch["observation"], batch["next", "observation"]
    online, target = atoms(net, now, sizes), atoms(loss.target_value_network, later, sizes)
    selector = atoms(net, later, sizes) if double else target
    taus, start = [(i + 0.5) / 5 for i in range(5)], np.cumsum([0, *sizes])
    legal = batch["next", "action_mask"].numpy()
    expected = []
    for b in range(6):
        discount = 0.0 if batch["next", "terminated"][b].item() else 0.9
        chosen = []
        for d in range(len(sizes)):
            mean = selector[d][b].mean(-1)
            mean[~legal[b, start[d] : start[d + 1]]] = -np.inf
            chosen.append(target[d][b, mean.argmax()])
        taken = [online[d][b, batch["action"][b, d]] for d in range(len(sizes))]
        reward = batch["next", "reward"][b].item()
        if joint == "sum":
            atoms_of_target = reward + discount * np.sum(chosen, 0)
            expected.append(quantile_huber(np.sum(taken, 0), taus, atoms_of_target, [0.2] * 5))
        else:
            mixture = reward + discount * np.concatenate(chosen)
            masses = [0.2 / len(sizes)] * len(mixture)
            expected.append(np.mean([quantile_huber(theta, taus, mixture, masses) for theta in taken]))
    assert loss(batch)["loss"].detach().numpy() == pytest.approx(np.array(expected))


@pytest.mark.parametrize("head", [ScalarHead, CategoricalHead, QuantileHead])
@pytest.mark.parametrize("sizes", [(2, 2), (2, 3)])
def test_along_time_a_lambda_of_0_is_one_step(head, sizes):
    net = make_network(QNet, head, sizes)
    batch = random_batch(sizes, (3, 5))
    one_step = DQNLoss(net, joint="branching", reduction="none")
    along_time = DQNLoss(net, joint="branching", reduction="none")
    along_time.make_value_estimator("td_lambda", lambda_=0.0)
    assert along_time(batch)["loss"].flatten().tolist() == pytest.approx(one_step(batch)["loss"].flatten().tolist())


def test_a_joint_lambda_return_is_that_of_the_branches_mean():
    sizes = (2, 3)
    net = make_network(QNet, ScalarHead, sizes)
    loss = DQNLoss(net, joint="branching", reduction="none", gamma=0.9)
    loss.make_value_estimator("td_lambda", lambda_=0.7)
    batch = random_batch(sizes, (1, 4))
    legal, start = batch["next", "action_mask"][0].numpy(), np.cumsum([0, *sizes])
    later, online = atoms(net, batch["next", "observation"][0], sizes), atoms(net, batch["observation"][0], sizes)
    best = np.array([
        np.mean([later[d][t, :, 0][legal[t, start[d] : start[d + 1]]].max() for d in range(2)]) for t in range(4)
    ])
    following, expected = best[-1], np.zeros(4)
    for t in reversed(range(4)):
        done, terminated = (batch["next", key][0, t].item() for key in ("done", "terminated"))
        mixed = best[t] if done or t == 3 else 0.3 * best[t] + 0.7 * following
        following = batch["next", "reward"][0, t].item() + (0 if terminated else 0.9) * mixed
        taken = [online[d][t, batch["action"][0, t, d], 0] for d in range(2)]
        expected[t] = np.mean([(following - q) ** 2 for q in taken])
    assert loss(batch)["loss"][0].detach().numpy() == pytest.approx(expected)


@pytest.mark.parametrize("head", [ScalarHead, CategoricalHead, QuantileHead])
@pytest.mark.parametrize("sizes", [(2, 2), (2, 3)])
def test_a_soft_target_of_zero_temperature_is_the_greedy_one(head, sizes):
    net, batch = make_network(QNet, head, sizes), random_batch(sizes, (6,))
    greedy = DQNLoss(net, joint="branching", reduction="none")
    soft = DQNLoss(net, joint="branching", reduction="none")
    soft.make_value_estimator("soft_td0", temperature=1e-6)
    assert soft(batch)["loss"].tolist() == pytest.approx(greedy(batch)["loss"].tolist(), rel=1e-4)


def test_watkins_cuts_the_trace_where_any_branch_is_not_greedy():
    class Table(nn.Module):
        def forward(self, observation):  # greedy is (0, 1) everywhere, worth the observation
            return observation * torch.tensor([1.0, 0.0, 0.0, 1.0])

    loss = DQNLoss(Table(), action_space=MultiCategorical([2, 2]), joint="branching", gamma=1.0, reduction="none")
    loss.make_value_estimator("watkins", lambda_=1.0)
    flags = {"terminated": torch.zeros(1, 3, 1, dtype=torch.bool), "done": torch.zeros(1, 3, 1, dtype=torch.bool)}
    following = {"observation": torch.tensor([[[10.0], [20.0], [40.0]]]), "reward": torch.ones(1, 3, 1), **flags}

    def returns(second, third):
        action = torch.tensor([[[1, 0], second, third]])  # worth nothing at observation 0
        batch = TensorDict({"observation": torch.zeros(1, 3, 1), "action": action, "next": following}, [1, 3])
        return loss(batch)["loss"][0].sqrt().tolist()

    assert returns([0, 1], [0, 1]) == [43, 42, 41]
    assert returns([0, 1], [0, 0]) == [22, 21, 41]
    assert returns([1, 1], [0, 1]) == [11, 42, 41]


def test_estimators_that_do_not_fit_joint_actions_are_refused():
    network = QNet(MLPTrunk((1,), num_cells=[4]), ScalarHead, action_space=MultiCategorical([2, 2]))
    for name in ("soft_td0", "munchausen"):
        with pytest.raises(ValueError, match="weighs every combination of branches; use joint=branching"):
            DQNLoss(network, joint="sum").make_value_estimator(name)
        DQNLoss(network, joint="branching").make_value_estimator(name)
    for joint in ("sum", "branching"):
        loss = DQNLoss(network, joint=joint)
        loss.make_value_estimator("retrace")
        with pytest.raises(ValueError, match="Retrace cannot be used for the joint actions"):
            loss.make_value_estimator("retrace", temperature=0.1)
