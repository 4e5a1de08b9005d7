"""Two learners on half batches, in processes of their own, equal one learner on the whole batch."""

import multiprocessing
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete
from tensordict import TensorDict
from torch._C._distributed_c10d import FileStore

from qframe.actions import make_action_space
from qframe.machine.ranks import Ranks
from qframe.networks import MLPTrunk, QNet, SharedTrunk
from qframe.objectives import DQNLoss, SoftUpdate
from qframe.optimizer import Optimizer
from qframe.replay import ProportionalPriorities, ReplayBuffer
from qframe.training import Learner, ParallelLearner
from tests.heads.common import HEADS

CPU = torch.device("cpu")
ACTIONS, B, UPDATES, CAPACITY, BETA = 3, 16, 100, 200, 0.6
CASES = {
    "uniform": {"head": "scalar"},
    **{f"{head}-prioritized-double": {"head": head, "is_prioritized": True, "double": True} for head in HEADS},
    "scalar-noisy-dueling": {"head": "scalar", "noisy": True},
    "implicit_quantile-noisy-dueling": {"head": "implicit_quantile", "noisy": True, "is_prioritized": True},
    "scalar-compiled": {"head": "scalar", "is_prioritized": True, "compiled": True},
}


def steps(rng, count, env):
    """Steps of one environment, some of which end an episode."""
    done = rng.random((count, 1)) < 0.1
    following = {
        "observation": rng.normal(size=(count, 2)), "reward": rng.normal(size=(count, 1)), "terminated": done,
        "truncated": np.zeros_like(done), "done": done,
    }  # fmt: skip
    rows = {"observation": rng.normal(size=(count, 2)), "action": rng.integers(ACTIONS, size=count)}

    def tensors(part):
        found = {key: torch.from_numpy(entry) for key, entry in part.items()}
        return {key: entry.float() if entry.is_floating_point() else entry for key, entry in found.items()}

    rows = tensors(rows) | {"env": torch.full((count,), env)}
    return TensorDict({**rows, "next": TensorDict(tensors(following), [count])}, [count])


def shard(rank, size, *, is_prioritized=False, **_):
    """A rank's replay, filled with its own transitions."""
    priorities = ProportionalPriorities(beta=BETA, beta_end=BETA) if is_prioritized else None
    replay = ReplayBuffer(CAPACITY, size, gamma=0.9, n_step=2, priorities=priorities, seed=rank)
    replay.extend(steps(np.random.default_rng(rank), CAPACITY // 2, 0))
    return replay


class Both:
    """The replays of two ranks as one, with importance weights computed from their definition."""

    device = CPU
    unpredicted = None

    def __init__(self, shards):
        self.shards, self.priorities = shards, shards[0].priorities

    def sample(self, reuse=None):
        if self.priorities is not None:
            largest = max(replay.priorities._largest for replay in self.shards)
            for replay in self.shards:
                replay.priorities._largest = largest
        batches = [replay.sample() for replay in self.shards]
        if self.priorities is not None:
            trees = [replay.priorities._tree for replay in self.shards]
            chance = [tree.get(batch["index"].numpy()) / tree.total for tree, batch in zip(trees, batches, strict=True)]
            weight = (sum(map(len, self.shards)) * np.concatenate(chance) / 2) ** -BETA
            weight = torch.from_numpy(weight / weight.max()).float().unsqueeze(-1)
            for batch, own in zip(batches, weight.chunk(2), strict=True):
                batch["priority_weight"] = own
        return torch.cat(batches)

    def update_priority(self, index, td_error):
        for replay, rows, error in zip(self.shards, index.chunk(2), td_error.chunk(2), strict=True):
            replay.update_priority(rows, error)


def learner(replay, case, ranks=None):
    torch.manual_seed(0)
    space = make_action_space(Discrete(ACTIONS), encoding="auto")
    kind, options = (SharedTrunk, {"noisy": True, "dueling": True}) if case.get("noisy") else (QNet, {})
    network = kind(MLPTrunk((2,), num_cells=[16]), HEADS[case["head"]], action_space=space, **options)
    loss = DQNLoss(network, delay_value=True, double_dqn=case.get("double", False), action_space=space, gamma=0.9)
    optimizer = Optimizer(network.parameters(), partial(torch.optim.Adam, eps=1e-4), lr=1e-3, max_grad_norm=1.0)
    parts = {"optimizer": optimizer, "target_update": SoftUpdate(loss, tau=0.05), "action_space": space, "device": CPU}
    if ranks is None:
        return Learner(loss, replay, **parts)
    return ParallelLearner(loss, replay, workers=2, ranks=ranks, compiled=case.get("compiled", False), **parts)


def trained(own, extend):
    """The parameters after all updates, with new steps now and then."""
    own.wait(print)
    for number in range(UPDATES):
        if number % 20 == 10:
            extend(number)
        own.learn(1)
    return own.optimizer.flat.vector.clone()


def more(replay, rank, number):
    replay.extend(steps(np.random.default_rng([rank, number]), 10, 0))


def run_rank(rank, store, results):
    torch.set_num_threads(1)
    ranks = Ranks(rank, 2, FileStore(store, 2))
    ranks.join(backend="gloo", device=CPU, timeout=30.0)
    found = {}
    for name, case in CASES.items():
        replay = shard(rank, B // 2, **case)
        found[name] = trained(learner(replay, case, ranks), partial(more, replay, rank))
    ranks.close(is_whole=True)
    torch.save(found, results / f"{rank}.pt")


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory):
    """The parameters of both ranks, by case."""
    folder = tmp_path_factory.mktemp("ranks")
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=run_rank, args=(rank, str(folder / "store"), folder), daemon=True) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_two_learners_on_half_batches_equal_one_on_the_whole_batch(of_ranks, name):
    case = CASES[name]
    shards = [shard(rank, B // 2, **case) for rank in range(2)]
    alone = learner(Both(shards), case)
    start = alone.optimizer.flat.vector.clone()
    whole = trained(alone, lambda number: [more(replay, rank, number) for rank, replay in enumerate(shards)])
    first, second = (found[name] for found in of_ranks)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, whole, rtol=0, atol=1e-6)
    assert (whole - start).abs().max() > 0.01


def test_priorities_that_know_of_no_other_share_are_refused(tmp_path):
    class Own(ProportionalPriorities):
        def __init__(self):
            super().__init__()
            del self.over_ranks

    replay = ReplayBuffer(CAPACITY, B, gamma=0.9, priorities=Own())
    ranks = Ranks(0, 2, FileStore(str(tmp_path / "store"), 2))
    with pytest.raises(ValueError, match=r"Own has no attribute over_ranks, .*; subclass qframe\.replay\."):
        learner(replay, {"head": "scalar"}, ranks)
