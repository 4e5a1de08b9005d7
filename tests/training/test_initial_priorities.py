"""New transitions enter the replay with the td_error of the network that acted, as in Ape-X."""

from functools import partial

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from qframe.exploration import EGreedyModule
from qframe.heads import QuantileHead
from qframe.replay import FrameReplayBuffer, ReplayBuffer, SliceReplayBuffer
from qframe.training import ray_cluster
from tests.local_ray import LocalRay
from tests.runners import make_runner, prioritized
from tests.training.test_collector import collecting
from tests.training.test_ray_collector import made

OPTIONS = {"alpha": 1.0, "epsilon": 0.0, "initial": "td_error"}
LAYOUTS = {"transitions": (ReplayBuffer, {}), "frames": (FrameReplayBuffer, {"stack": 1})}
PARTS = {
    "terminated": {"env": "CartPole-v1"},
    "truncated": {"env": "CartPole-v1", "env_options": {"max_episode_steps": 7}},
    "masked": {"env": "qframe-test/Legal-v0"},
    "quantile": {"env": "CartPole-v1", "head": partial(QuantileHead, num_quantiles=5)},
}


def run(folder, parts, layout="transitions", n_step=3):
    kind, more = LAYOUTS[layout]
    options = {"replay": prioritized(kind, **OPTIONS), "replay_options": {"n_step": n_step, **more}, **PARTS[parts]}
    return make_runner(folder, options.pop("env"), **options)


def stored(replay):
    """All transitions that can be drawn, and their priorities."""
    if isinstance(replay, ReplayBuffer):
        rows = np.arange(len(replay))
        found = replay._storage.read(torch.from_numpy(rows))
    else:
        rows = replay._streams.complete.nonzero()[0]
        found = replay._streams.read(rows)
    return TensorDict(found, [len(rows)]), torch.from_numpy(replay.priorities._tree.get(rows))


def assert_of_learner(runner):
    """The priorities are what the loss finds while the target network equals the one that acts."""
    transitions, priority = stored(runner.replay)
    runner.learner.loss(transitions)
    expected = transitions[runner.learner.loss.priority_key][:, 0].double()
    assert len(expected) > 50
    torch.testing.assert_close(priority, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("parts", PARTS)
def test_a_new_transition_has_the_td_error_that_the_learner_would_find(tmp_path, parts, layout, n_step):
    runner = run(tmp_path, parts, layout, n_step)
    exploration = EGreedyModule(runner.collector._action_space, 0.5, 0.5)
    collector = collecting(runner, exploration, stores_value=True)
    for _ in range(40):
        runner.replay.extend(collector.collect())
    runner.replay.flush()
    assert_of_learner(runner)


def test_so_it_has_through_actors(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "ray", ray := LocalRay())
    replay = {"replay": prioritized(ReplayBuffer, **OPTIONS), "replay_options": {"n_step": 3}}
    runner = made(tmp_path, stores_value=True, **replay)
    for _ in range(40):
        runner.replay.extend(runner.collector.collect())
    assert_of_learner(runner)
    runner.collector.close()
    ray.close_head()


def test_a_value_that_is_not_finite_leaves_the_largest_priority(tmp_path):
    runner = run(tmp_path, "terminated")
    steps = collecting(runner, EGreedyModule(runner.collector._action_space, 0.5, 0.5), stores_value=True).collect()
    steps["chosen_action_value"][0] = torch.nan
    steps["next", "terminated"] = steps["next", "done"] = torch.ones(4, 1, dtype=torch.bool)
    runner.replay.extend(steps)
    _, priority = stored(runner.replay)
    assert priority[0] == 1.0
    assert priority.isfinite().all()


def test_steps_without_values_and_slices_are_refused(tmp_path):
    runner = run(tmp_path, "terminated", n_step=1)
    with pytest.raises(KeyError, match="missing: .*chosen_action_value"):
        runner.replay.extend(runner.collector.collect())
    with pytest.raises(ValueError, match="stores steps of slices; use replay=transitions"):
        prioritized(SliceReplayBuffer, **OPTIONS)(100, 10, slice_length=5, gamma=0.9)
