"""Branches: flat layouts to branches in front and back, padding, masks, and the networks that use them."""

import pytest
import torch
from tensordict import TensorDict

from qframe.actions import MultiCategorical, MultiOneHot, OneHot
from qframe.actions.branches import EqualBranches, UnequalBranches, make_branches
from qframe.actions.specs.layout import find_action_space
from qframe.functional.action import OneChoice, dueling
from qframe.heads import CategoricalHead, QuantileHead, ScalarHead
from qframe.networks import MLPTrunk, QNet, SharedTrunk

FLAT = torch.tensor([[0.0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14, 15]])


def branches_of(sizes):
    return make_branches(find_action_space(MultiCategorical(sizes)))


def test_a_plain_action_stays_as_it_is():
    branches = make_branches(find_action_space(OneHot(3)))
    assert isinstance(branches, OneChoice)
    assert branches.split(FLAT) is FLAT


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
    index = branches.index(branches.split(value.unsqueeze(-1)).squeeze(-1), mask)
    for row in range(500):
        for branch, (start, size) in enumerate(zip(starts, sizes, strict=True)):
            legal = [(value[row, start + i].item(), -i) for i in range(size) if mask[row, start + i]]
            assert index[row, branch] == -max(legal)[1]


def test_padding_is_never_legal_and_never_chosen():
    branches = branches_of([1, 3])
    assert branches.legal(None, (2,)).tolist() == [[[True, False, False]], [[True, True, True]]]
    value = branches.split(torch.tensor([[-5.0], [-1.0], [-2.0], [-3.0]])).squeeze(-1)
    assert branches.index(value).tolist() == [0, 0]


def test_a_mask_without_batch_dimensions_holds_for_every_row():
    branches = branches_of([2, 2])
    mask = torch.tensor([True, False, False, True])
    index = branches.index(branches.split(torch.zeros(5, 4, 1)).squeeze(-1), mask)
    assert index.tolist() == [[0, 1]] * 5


def test_an_int_for_sizes_means_that_every_branch_has_it():
    branches = make_branches(find_action_space("mult-one-hot", var_nums=2))
    assert isinstance(branches, EqualBranches)
    assert branches.split(FLAT.unsqueeze(-1)).shape == (3, 2, 2, 1)


def test_dueling_takes_the_mean_over_real_actions_only():
    real = torch.tensor([[True, True], [True, False]])
    advantage = torch.tensor([[[1.0], [3.0]], [[7.0], [7.0]]])  # [D, A, 1]
    q = dueling(torch.tensor([10.0]), advantage, real)
    assert q.squeeze(-1).tolist() == [[9.0, 11.0], [10.0, 10.0]]


@pytest.mark.parametrize("network", [QNet, SharedTrunk])
@pytest.mark.parametrize("head", [ScalarHead, CategoricalHead, QuantileHead])
@pytest.mark.parametrize("sizes", [[2, 2], [2, 3]])
def test_networks_predict_a_row_per_branch_and_write_flat_values(network, head, sizes):
    net = network(MLPTrunk((4,), num_cells=[8]), head, spec=MultiOneHot(sizes))
    out = net.predict(torch.randn(7, 4)).out
    assert out.shape == (2, 7, max(sizes), net.head.num_outputs)
    written = net(TensorDict({"observation": torch.randn(7, 4)}, [7]))
    action, value = written["action"], written["action_value"]
    assert action.shape == (7, sum(sizes))
    assert value.shape == (7, sum(sizes))
    assert (action.sum(-1) == 2).all()


def test_constants_of_padding_are_in_no_state_dict():
    assert not UnequalBranches([1, 3]).state_dict()
