"""Hard and soft target updates."""

import pytest
import torch
from torch import nn

from qframe.objectives import DQNLoss, HardUpdate, NoUpdate, SoftUpdate


def loss_with_buffers(delay_value=True):
    network = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2))
    loss = DQNLoss(network, action_space="categorical", delay_value=delay_value)
    with torch.no_grad():
        for x in loss.value_network.parameters():
            x.fill_(1.0)
        for x in loss.target_value_network.parameters() if delay_value else ():
            x.fill_(0.0)
    network[1].running_mean.fill_(8.0)
    network[1].num_batches_tracked.fill_(5)
    return loss


def weight(loss):
    return loss.target_value_network[0].weight[0, 0].item()


def test_the_hard_update_copies_at_calls_n_and_2n():
    loss = loss_with_buffers()
    update = HardUpdate(loss, value_network_update_interval=3)
    seen = []
    for _ in range(6):
        update.step()
        seen.append(weight(loss))
        with torch.no_grad():
            loss.value_network[0].weight.add_(1.0)
    assert seen == [0.0, 0.0, 3.0, 3.0, 3.0, 6.0]


def test_the_soft_update_moves_by_tau_each_call():
    loss = loss_with_buffers()
    update = SoftUpdate(loss, tau=0.25)
    update.step()
    assert weight(loss) == 0.25
    update.step()
    assert weight(loss) == pytest.approx(0.4375)


def test_eps_is_one_minus_tau():
    loss = loss_with_buffers()
    SoftUpdate(loss, eps=0.75).step()
    assert weight(loss) == 0.25


@pytest.mark.parametrize(("make", "mean"), [(lambda x: SoftUpdate(x, tau=0.5), 4.0), (
    lambda x: HardUpdate(x, value_network_update_interval=1), 8.0)])
def test_buffers_are_carried_too_and_integer_ones_copied(make, mean):
    loss = loss_with_buffers()
    make(loss).step()
    assert loss.target_value_network[1].running_mean[0].item() == mean
    assert loss.target_value_network[1].num_batches_tracked.item() == 5


class Counting(nn.Linear):
    """Binds new tensors to its buffers at every call."""

    def __init__(self):
        super().__init__(1, 2)
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("level", torch.tensor(0.0))

    def forward(self, x):
        self.calls, self.level = self.calls + 1, self.level + 8.0
        return super().forward(x)


@pytest.mark.parametrize(("make", "level"), [(lambda x: SoftUpdate(x, tau=0.5), 4.0), (
    lambda x: HardUpdate(x, value_network_update_interval=1), 8.0)])
def test_buffers_that_were_rebound_or_moved_are_updated_too(make, level):
    loss = DQNLoss(Counting(), action_space="categorical", delay_value=True)
    update = make(loss)
    loss.double()
    loss.value_network(torch.zeros(1, 1, dtype=torch.float64))
    update.step()
    assert (loss.target_value_network.calls.item(), loss.target_value_network.level.item()) == (1, level)


def test_the_count_of_calls_survives_a_restart():
    loss = loss_with_buffers()
    update = HardUpdate(loss, value_network_update_interval=2)
    update.step()
    again = HardUpdate(loss, value_network_update_interval=2)
    again.load_state_dict(update.state_dict())
    again.step()
    assert weight(loss) == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: HardUpdate(x, value_network_update_interval=0), "interval of at least 1 update, got 0"),
        (lambda x: SoftUpdate(x), "one of tau and eps"),
        (lambda x: SoftUpdate(x, tau=0.1, eps=0.9), "one of tau and eps"),
        (lambda x: SoftUpdate(x, tau=1.5), r"tau in \(0, 1\], got 1.5"),
        (NoUpdate, "NoUpdate would never move the target network"),
    ],
)
def test_mistakes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(loss_with_buffers())


def test_an_update_needs_a_target_network_and_no_update_needs_none():
    loss = loss_with_buffers(delay_value=False)
    with pytest.raises(ValueError, match="delay_value=True"):
        SoftUpdate(loss, tau=0.1)
    NoUpdate(loss).step()


@pytest.mark.parametrize("place", range(4))
def test_a_weight_bound_to_other_memory_is_followed(place):
    loss = loss_with_buffers()
    update = SoftUpdate(loss, tau=0.5)
    source = list(loss.value_network.parameters())[place]
    source.data = torch.full_like(source, 7.0)
    update.step()
    assert list(loss.target_value_network.parameters())[place].flatten()[0].item() == 3.5
