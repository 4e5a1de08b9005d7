"""One gradient step: clipped, of all parameters at once, and the same as torch's of each."""

from functools import partial

import pytest
import torch
from torch import nn, optim

from qframe.optimizer import Optimizer


def networks():
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    second = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    second.load_state_dict(first.state_dict())
    return first, second


ALGORITHMS = [
    optim.Adam,
    partial(optim.Adam, fused=True, eps=1e-3),
    partial(optim.AdamW, weight_decay=0.1),
    partial(optim.RMSprop, centered=True, momentum=0.5),
    partial(optim.SGD, momentum=0.9, nesterov=True),
    optim.NAdam,
    partial(optim.RAdam, weight_decay=0.1),
]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_vector_of_all_parameters_takes_the_steps_that_torch_takes_of_each(algorithm):
    ours, theirs = networks()
    optimizer = Optimizer(ours.parameters(), algorithm, lr=1e-2, max_grad_norm=0.5)
    reference = algorithm(theirs.parameters(), lr=1e-2)
    assert optimizer.flat is not None
    for i in range(5):
        x = torch.full((4, 3), float(i))
        norm = optimizer.minimize((ours(x) - 1).square().sum())
        reference.zero_grad()
        (theirs(x) - 1).square().sum().backward()
        expected = nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        reference.step()
        torch.testing.assert_close(norm, expected)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_state_is_saved_per_parameter_and_resumes_exactly(algorithm):
    ours, theirs = networks()
    first, second = (Optimizer(network.parameters(), algorithm, lr=1e-2) for network in (ours, theirs))
    first.minimize(ours(torch.ones(1, 3)).sum())
    state = first.state_dict()
    shapes = [parameter.shape for parameter in ours.parameters()]
    assert [state["state"][i][name].shape for i in range(4) for name in ("exp_avg",) if name in state["state"][i]] in (
        shapes, [],
    )  # fmt: skip
    assert state["param_groups"][0]["params"] == [0, 1, 2, 3]
    theirs.load_state_dict(ours.state_dict())
    second.load_state_dict(state)
    for network, optimizer in ((ours, first), (theirs, second)):
        optimizer.minimize(network(torch.ones(1, 3)).square().sum())
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_number_of_steps_is_where_the_parameters_are_after_a_state_is_loaded():
    (parameter,) = parameters = [torch.nn.Parameter(torch.zeros(3))]
    parameter.grad = torch.ones(3)
    earlier = torch.optim.Adam(parameters)
    earlier.step()
    later = Optimizer([torch.nn.Parameter(torch.zeros(3, device="meta"))], torch.optim.Adam, lr=1e-3)
    later.load_state_dict(earlier.state_dict())
    assert {tensor.device.type for tensor in later.tensors().values()} == {"meta"}


def test_the_state_of_torchs_own_optimizer_is_taken_over():
    ours, theirs = networks()
    reference = optim.Adam(theirs.parameters(), lr=1e-2)
    theirs(torch.ones(1, 3)).sum().backward()
    reference.step()
    optimizer = Optimizer(ours.parameters(), optim.Adam, lr=1e-2)
    optimizer.load_state_dict(reference.state_dict())
    assert torch.equal(optimizer.state_dict()["state"][2]["exp_avg"], reference.state_dict()["state"][2]["exp_avg"])


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, optim.Adafactor])
def test_after_a_state_is_loaded_the_choices_are_its_own_and_only_the_learning_rate_is_that_of_the_state(algorithm):
    ours, theirs = networks()
    first = Optimizer(ours.parameters(), partial(algorithm, weight_decay=0.0), lr=1e-2)
    first.minimize(ours(torch.ones(1, 3)).sum())
    later = Optimizer(theirs.parameters(), partial(algorithm, weight_decay=0.5), lr=1e-3)
    later.load_state_dict(first.state_dict())
    (group,) = later.wrapped.param_groups
    assert (group["weight_decay"], group["lr"]) == (0.5, 1e-2)
    later.minimize(theirs(torch.ones(1, 3)).sum())


def test_settings_that_need_other_moments_than_saved_are_refused():
    ours, theirs = networks()
    first, later = (
        Optimizer(network.parameters(), partial(optim.RMSprop, momentum=momentum), lr=1e-2)
        for network, momentum in ((ours, 0.0), (theirs, 0.5))
    )
    first.minimize(ours(torch.ones(1, 3)).sum())
    with pytest.raises(ValueError, match="keeps step, square_avg per parameter, this one .*momentum"):
        later.load_state_dict(first.state_dict())


def test_a_state_of_other_parameters_is_refused():
    ours, _ = networks()
    optimizer = Optimizer(ours.parameters(), optim.Adam, lr=1e-2)
    other = optim.Adam(nn.Linear(1, 1).parameters(), lr=1e-2).state_dict()
    with pytest.raises(ValueError, match="the saved optimizer has 2 parameters, this one has 4"):
        optimizer.load_state_dict(other)


def test_an_algorithm_that_looks_at_whole_matrices_is_given_them():
    network, _ = networks()
    optimizer = Optimizer(network.parameters(), optim.Adafactor, lr=1e-2)
    assert optimizer.flat is None
    optimizer.minimize(network(torch.ones(1, 3)).sum())
    assert optimizer.state_dict()["param_groups"][0]["params"] == [0, 1, 2, 3]


def test_gradients_that_someone_dropped_come_back_into_the_vector():
    network, _ = networks()
    optimizer = Optimizer(network.parameters(), partial(optim.SGD), lr=1.0)
    network.zero_grad()
    before = network[2].bias.detach().clone()
    optimizer.minimize(network[2].bias.sum())
    assert (before - network[2].bias).tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("place", range(4))
def test_a_weight_bound_to_other_memory_is_still_learnt(place):
    ours, theirs = networks()
    optimizer, reference = Optimizer(ours.parameters(), optim.SGD, lr=0.1), optim.SGD(theirs.parameters(), lr=0.1)
    for network in (ours, theirs):
        parameter = list(network.parameters())[place]
        parameter.data = torch.full_like(parameter, 0.5)
    optimizer.minimize(ours(torch.ones(4, 3)).square().sum())
    theirs(torch.ones(4, 3)).square().sum().backward()
    reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_parameter_of_another_dtype_than_the_optimizers_is_refused():
    network, _ = networks()
    optimizer = Optimizer(network.parameters(), optim.Adam, lr=0.1)
    network.double()
    with pytest.raises(ValueError, match="another device, dtype or shape"):
        optimizer.minimize(network(torch.ones(4, 3).double()).sum())
