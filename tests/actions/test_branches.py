"""Branches: side by side to in front and back, padding, masks, and the networks that use them."""

import pytest
import torch
from tensordict import TensorDict

from qframe.actions import ActionSpace, MultiOneHot
from qframe.functional.action import greedy
from qframe.functional.dueling import dueling
from qframe.heads import CategoricalHead, QuantileHead, ScalarHead
from qframe.networks import MLPTrunk, QNet, SharedTrunk

CPU = torch.device("cpu")
FLAT = torch.tensor([[0.0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14, 15]])


def branches_of(sizes):
    return ActionSpace("multi-categorical", tuple(sizes))


def test_a_plain_action_stays_as_it_is():
    branches = ActionSpace("one-hot", 6)
    for stays in (branches.split, branches.join, branches.split_index):
        assert stays(FLAT) is FLAT
    mask = FLAT > 2
    assert branches.split_mask(mask, (2,), CPU) is mask
    assert branches.split_mask(None, (2,), CPU) is None


def test_equal_branches_come_in_front():
    split = branches_of([3, 3]).split(FLAT.unsqueeze(-1)).squeeze(-1)
    assert split.tolist() == [[[0, 1, 2], [10, 11, 12]], [[3, 4, 5], [13, 14, 15]]]


def test_unequal_branches_are_padded_by_their_first_value():
    split = branches_of([1, 2, 3]).split(FLAT.unsqueeze(-1)).squeeze(-1)
    assert split[:, 0].tolist() == [[0, 0, 0], [1, 2, 1], [3, 4, 5]]


@pytest.mark.parametrize("sizes", [[3, 3], [1, 2, 3], [4, 2], [2, 2, 2], [6]])
def test_joining_undoes_splitting(sizes):
    branches = branches_of(sizes)
    assert branches.join(branches.split(FLAT.unsqueeze(-1)).squeeze(-1)).equal(FLAT)


@pytest.mark.parametrize("sizes", [[3, 3], [1, 2, 3], [4, 2]])
def test_the_greedy_index_is_that_of_each_component(sizes):
    generator = torch.Generator().manual_seed(0)
    value, mask = torch.randn(500, 6, generator=generator), torch.rand(500, 6, generator=generator) < 0.6
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    for start in starts:
        mask[:, start] |= True
    branches = branches_of(sizes)
    index = branches.greedy_index(value, mask)
    split = branches.split_mask(mask, (500,), CPU)
    in_front = branches.split(value.unsqueeze(-1)).squeeze(-1)
    assert torch.equal(branches.split_index(index), greedy(in_front, split))
    for row in range(500):
        for branch, (start, size) in enumerate(zip(starts, sizes, strict=True)):
            legal = [(value[row, start + i].item(), -i) for i in range(size) if mask[row, start + i]]
            assert index[row, branch] == -max(legal)[1]


def test_padding_is_never_legal_and_never_chosen():
    branches = branches_of([1, 3])
    assert branches.split_mask(None, (2,), CPU).tolist() == [[[True, False, False]], [[True, True, True]]]
    mask = torch.tensor([True, False, True, True])
    split = branches.split_mask(mask, (2,), CPU)
    assert split.tolist() == [[[True, False, False]] * 2, [[False, True, True]] * 2]
    value = branches.split(torch.tensor([[-5.0], [-1.0], [-2.0], [-3.0]])).squeeze(-1)
    assert greedy(value, branches.split_mask(None, (), CPU)).tolist() == [0, 0]


def test_a_mask_without_batch_dimensions_holds_for_every_row():
    branches = branches_of([2, 2])
    mask = torch.tensor([True, False, False, True])
    assert branches.greedy_index(torch.zeros(5, 4), mask).tolist() == [[0, 1]] * 5
    assert branches.split_mask(mask, (5,), CPU).tolist() == [[[True, False]] * 5, [[False, True]] * 5]


def test_an_int_for_sizes_means_that_every_branch_has_it():
    branches = ActionSpace("mult-one-hot", 2)
    split = branches.split(FLAT.unsqueeze(-1))
    assert split.shape == (3, 2, 2, 1)
    assert torch.equal(branches.join(split.squeeze(-1)), FLAT)
    assert branches.split_mask(FLAT > 0, (2,), CPU).shape == (3, 2, 2)
    assert branches.split_mask(None, (2,), CPU) is None


def test_dueling_takes_the_mean_over_real_actions_only():
    real = torch.tensor([[True, True], [True, False]])
    advantage = torch.tensor([[[1.0], [3.0]], [[7.0], [7.0]]])  # [D, A, 1]
    q = dueling(torch.tensor([10.0]), advantage, real)
    assert q.squeeze(-1).tolist() == [[9.0, 11.0], [10.0, 10.0]]


@pytest.mark.parametrize("network", [QNet, SharedTrunk])
@pytest.mark.parametrize("head", [ScalarHead, CategoricalHead, QuantileHead])
@pytest.mark.parametrize("sizes", [[2, 2], [2, 3]])
def test_networks_predict_a_row_per_branch_and_write_flat_values(network, head, sizes):
    net = network(MLPTrunk((4,), num_cells=[8]), head, action_space=MultiOneHot(sizes))
    out = net.predict(torch.randn(7, 4)).out
    assert out.shape == (2, 7, max(sizes), net.head.num_outputs)
    written = net(TensorDict({"observation": torch.randn(7, 4)}, [7]))
    action, value = written["action"], written["action_value"]
    assert action.shape == (7, sum(sizes))
    assert value.shape == (7, sum(sizes))
    assert (action.sum(-1) == 2).all()


@pytest.mark.parametrize("network", [QNet, SharedTrunk])
def test_padding_leaves_nothing_in_a_state_dict(network):
    net = network(MLPTrunk((4,), num_cells=[8]), ScalarHead, action_space=ActionSpace("multi-categorical", (1, 3)))
    assert set(net.state_dict()) == {name for name, _ in net.named_parameters()}
