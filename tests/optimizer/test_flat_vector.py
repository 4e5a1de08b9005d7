"""Parameters as views of one vector."""

from copy import deepcopy
from functools import partial

import torch
from torch import nn

from qframe.objectives import HardUpdate, SoftUpdate
from qframe.optimizer.flat_vector import FlatVector


class Pair:
    def __init__(self):
        self.value_network, self.target_value_network = nn.Linear(3, 2), nn.Linear(3, 2)


def test_parameters_and_vector_are_the_same_memory_padded_with_zeros():
    layer = nn.Linear(3, 2)
    before = [parameter.detach().clone() for parameter in layer.parameters()]
    flat = FlatVector(list(layer.parameters()))
    assert flat.vector.shape == (32,)
    assert flat.vector[:6].tolist() == before[0].flatten().tolist()
    assert flat.vector[6:16].tolist() == [0.0] * 10
    assert flat.vector[16:18].tolist() == before[1].tolist()
    flat.vector.zero_()
    assert layer(torch.ones(1, 3)).tolist() == [[0.0, 0.0]]


def test_who_asks_second_gets_the_same_vector():
    layer = nn.Linear(3, 2)
    first, second = (FlatVector(list(layer.parameters())).vector for _ in range(2))
    assert first.data_ptr() == second.data_ptr()
    other_order = FlatVector(list(layer.parameters())[::-1]).vector
    assert other_order.data_ptr() != first.data_ptr()


def test_views_and_join_are_inverse():
    flat = FlatVector(list(nn.Linear(3, 2).parameters()))
    x = torch.arange(32.0)
    views = flat.views(x)
    assert [view.shape for view in views] == [(2, 3), (2,)]
    assert views[1].tolist() == [16.0, 17.0]
    joined = flat.join(views)
    assert joined[:6].tolist() == x[:6].tolist()
    assert joined[6:16].tolist() == [0.0] * 10


def test_parameters_of_several_types_do_not_fit_one_vector():
    assert FlatVector.fits(list(nn.Linear(1, 1).parameters()))
    assert not FlatVector.fits([nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1, dtype=torch.float64))])
    assert not FlatVector.fits([])


def test_a_target_follows_a_network_that_was_moved_after_the_update_was_built():
    for make in (partial(SoftUpdate, tau=1.0), partial(HardUpdate, value_network_update_interval=1)):
        loss = Pair()
        update = make(loss)
        loss.value_network.double(), loss.target_value_network.double()
        with torch.no_grad():
            loss.value_network.weight.fill_(7.0)
        update.step()
        assert loss.target_value_network.weight.unique().tolist() == [7.0]


def test_a_copy_of_a_flat_network_is_on_its_own():
    layer = nn.Linear(3, 2)
    flat = FlatVector(list(layer.parameters()))
    copy = deepcopy(layer)
    flat.vector.zero_()
    assert copy.weight.abs().sum() > 0
