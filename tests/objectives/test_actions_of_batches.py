"""Actions of a batch that comes from outside: their shape and range are compared with the network's."""

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from qframe.actions import ActionSpace, MultiCategorical, MultiOneHot, OneHot
from qframe.compiled import CompiledLoss
from qframe.modules import DistributionalQValueActor
from qframe.objectives import DistributionalDQNLoss, DQNLoss

INDEX = torch.tensor([0, 1, 2, 3, 2, 1])
BRANCHES = MultiCategorical([3, 2])


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Linear(3, 4)


def entries(action, **others):
    torch.manual_seed(1)
    reward, done = torch.randn(6), torch.tensor([0, 0, 1, 0, 1, 0]).bool()
    observations = {"observation": torch.randn(6, 3), "next_observation": torch.randn(6, 3)}
    return {**observations, "action": action, "next_reward": reward, "next_done": done, **others}


def by_hand(network, batch):
    target = batch["next_reward"] + 0.9 * ~batch["next_done"] * network(batch["next_observation"]).amax(-1)
    return (network(batch["observation"])[range(6), INDEX] - target).square().mean().item()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.float32])
@pytest.mark.parametrize("columns", [(), ("action",), ("action", "next_reward", "next_done")])
def test_indices_of_any_dtype_may_have_a_last_dimension_of_one(network, dtype, columns):
    loss, batch = DQNLoss(network, action_space="categorical", gamma=0.9), entries(INDEX.to(dtype))
    batch |= {name: batch[name].unsqueeze(-1) for name in columns}
    assert loss(**batch).item() == pytest.approx(by_hand(network, entries(INDEX)))


def test_a_batch_of_one_transition_and_one_without_batch_dimensions_give_the_same_loss(network):
    loss = DQNLoss(network, action_space="categorical", gamma=0.9)
    one = {name: entry[2:3] for name, entry in entries(INDEX).items()}
    alone = {name: entry if name in ("action", "next_reward", "next_done") else entry[0] for name, entry in one.items()}
    assert loss(**one).item() == pytest.approx(loss(**alone).item())


def test_slices_of_one_step_keep_their_time_dimension(network):
    loss = DQNLoss(network, action_space="categorical", gamma=0.9)
    loss.make_value_estimator("TDLambda")
    given = {name: entry.unsqueeze(1) for name, entry in entries(INDEX).items()}
    following = {name.removeprefix("next_"): given.pop(name) for name in list(given) if name.startswith("next_")}
    data = loss(TensorDict({**given, "next": following}, [6, 1]))
    assert data["loss"].item() == pytest.approx(by_hand(network, entries(INDEX)))


@pytest.mark.parametrize(("space", "outputs", "action", "message"), [
    ("categorical", 4, nn.functional.one_hot(INDEX, 4), "an index or one-hot"),
    ("categorical", 4, INDEX - 1, "indices from 0 to 3, got -1 to 2"),
    ("categorical", 3, INDEX, "indices from 0 to 2, got 0 to 3"),
    ("one-hot", 4, INDEX, "layout of the action space|got shape \\[6\\]; for indices use action_space='cat"),
    ("one-hot", 4, INDEX.unsqueeze(-1), "4 entries in the last dimension, got shape \\[6, 1\\]"),
    ("one-hot", 4, nn.functional.one_hot(INDEX, 5), "4 entries in the last dimension, got shape \\[6, 5\\]"),
    ("one-hot", 4, torch.ones(6, 4), "a single 1 per choice"),
    (OneHot(4), 4, torch.zeros(6, 4), "a single 1 per choice"),
    (BRANCHES, 5, torch.tensor([[0, 2]] * 6), "indices from 0 to 1, got 2 to 2"),
    (BRANCHES, 5, torch.tensor([[0]] * 6), "2 entries in the last dimension, got shape \\[6, 1\\]"),
    (BRANCHES, 5, torch.tensor([[0, 1, 0]] * 6), "2 entries in the last dimension, got shape \\[6, 3\\]"),
    (ActionSpace("multi-categorical", 2), 4, torch.tensor([[0, 1, 0]] * 6), "2 entries in the last dimension"),
    (MultiOneHot([3, 2]), 5, torch.tensor([[1, 0, 0, 1, 1]] * 6), "a single 1 per choice"),
    (MultiOneHot([3, 2]), 5, torch.tensor([[0, 1]] * 6), "5 entries in the last dimension"),
    ("categorical", 4, INDEX[:3], "expected \\('next', 'reward'\\) of shape \\[3\\]"),
])  # fmt: skip
def test_actions_that_do_not_fit_the_network_are_refused(space, outputs, action, message):
    loss = DQNLoss(nn.Linear(3, outputs), action_space=space, gamma=0.9)
    for _ in range(2):  # the number of actions is known after the first prediction
        with pytest.raises(ValueError, match=message):
            loss(**entries(action))


def test_fewer_transitions_than_observations_are_refused(network):
    loss = DQNLoss(network, action_space="categorical")
    with pytest.raises(ValueError, match=r"one action for each of \[6\] predictions, got \[3\]"):
        loss(**entries(INDEX[:3], next_reward=torch.ones(3), next_done=torch.zeros(3).bool()))


def test_a_distributional_network_and_compiled_code_refuse_them_too():
    module = nn.Sequential(nn.Linear(3, 8), nn.Unflatten(-1, (2, 4)))
    actor = DistributionalQValueActor(module, support=torch.tensor([0.0, 1.0]), action_space="categorical")
    loss, given = DistributionalDQNLoss(actor), entries(INDEX + 1)
    following = {name.removeprefix("next_"): given.pop(name) for name in list(given) if name.startswith("next_")}
    batch = TensorDict({**given, "next": following}, [6])
    with pytest.raises(ValueError, match="indices from 0 to 3, got 1 to 4"):
        loss(batch)
    with pytest.raises(ValueError, match="indices from 0 to 3, got 1 to 4"):
        CompiledLoss(loss)(batch)


def test_a_run_does_not_wait_for_the_device_to_check_ranges(network):
    loss = DQNLoss(network, action_space="categorical", gamma=0.9)
    loss.checks_actions = False
    with pytest.raises(RuntimeError, match="out of bounds"):
        loss(**entries(INDEX + 1))
