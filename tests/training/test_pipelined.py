"""Acting in a worker while the learner updates: the same transitions, and equal runs from equal seeds."""

import threading
from functools import partial

import numpy as np
import pytest
import torch

from qframe.envs import FaultyEnvironment
from qframe.machine.generators import GlobalGenerators
from qframe.training import AsyncCollector, PipelinedCollector
from tests.runners import CPU, make_runner

COUNTER = "qframe-test/Counter-v0"


def made(folder, kind=PipelinedCollector, env=COUNTER, **options):
    runner = make_runner(folder, env, num_envs=3, **options)
    collector = runner.collector
    runner.collector = kind(
        collector.envs, runner.network, exploration=collector.exploration, action_space=collector._action_space,
        device=CPU,
    )  # fmt: skip
    return runner


@pytest.fixture
def closing():
    runners = []
    yield runners.append
    for runner in runners:
        runner.collector.close()


def leaves(transitions):
    return {key: leaf.tolist() for key, leaf in transitions.items(True, True)}


@pytest.mark.parametrize("kind", [PipelinedCollector, AsyncCollector])
def test_with_a_network_that_stays_the_transitions_are_those_of_the_plain_collector(tmp_path, closing, kind):
    plain, other = make_runner(tmp_path, COUNTER, num_envs=3), made(tmp_path, kind)
    closing(other)
    for _ in range(30):
        assert leaves(other.collector.collect()) == leaves(plain.collector.collect())


def test_in_a_thread_they_are_the_same(tmp_path, closing):
    plain, other = make_runner(tmp_path, COUNTER, num_envs=3), made(tmp_path)
    other.collector._inner.stays_in_process = True
    closing(other)
    before = set(threading.enumerate())
    for _ in range(30):
        assert leaves(other.collector.collect()) == leaves(plain.collector.collect())
    assert len(set(threading.enumerate()) - before) == 1


@pytest.mark.parametrize("is_thread", [False, True])
def test_the_learner_keeps_its_threads(tmp_path, closing, is_thread):
    runner, before = made(tmp_path), torch.get_num_threads()
    runner.collector._inner.stays_in_process = is_thread
    closing(runner)
    torch.set_num_threads(2)
    try:
        runner.collector.collect()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_global_generators_of_the_worker_begin_as_those_of_this_process(tmp_path, closing):
    runner = made(tmp_path)
    closing(runner)
    runner.collector.collect()
    expected, found = GlobalGenerators.capture().state_dict(), runner.collector._call("generators")
    assert found["python"] == expected["python"]
    assert found["torch"].equal(expected["torch"])
    assert found["numpy"][1].equal(expected["numpy"][1])


def test_a_step_that_nobody_receives_does_not_keep_the_worker_from_ending(tmp_path):
    runner = made(tmp_path)
    runner.collector.envs.step = partial(_padded, runner.collector.envs.step)
    runner.collector.collect()
    place = runner.collector._worker._place
    waiting = threading.Thread(target=runner.collector.close, daemon=True)
    waiting.start()
    waiting.join(20)
    is_alive = place.is_alive()
    place.kill()
    assert not is_alive


def _padded(step, action):
    """More than a connection takes at once before anything is read."""
    taken = step(action)
    wide = np.broadcast_to(taken.observation[:, :1], (3, 1_000_000)).copy()
    return taken._replace(next_observation=wide)


def test_a_step_is_taken_with_the_network_of_one_step_before(tmp_path, closing):
    runner = made(tmp_path)
    closing(runner)
    runner.collector._inner.exploration.eps_init = 0.0
    runner.collector._inner.exploration.schedule = lambda frames: 0.0
    layer = runner.network.head.layer

    def prefer(action):
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor([1.0, 0.0]) if action == 0 else torch.tensor([0.0, 1.0]))

    taken = []
    for action in (0, 1, 0, 1, 1):
        prefer(action)
        taken.append(runner.collector.collect()["action"].unique().item())
    assert taken == [0, 0, 1, 0, 1]


def test_equal_seeds_give_equal_runs_whichever_methods_are_called_meanwhile(tmp_path, closing):
    def weights(folder, asks):
        runner = made(tmp_path / folder, env="CartPole-v1", total_frames=600)
        closing(runner)
        runner.schedule.intervals |= {"log": 10**9, "save": 10**9}
        while runner.frames < 600:
            runner.train(runner.frames + 1)
            if asks:
                runner.collector.state_dict()
                assert runner.collector.exploration_metrics()["epsilon"] <= 1
        return torch.cat([p.detach().flatten() for p in runner.network.parameters()]), runner.learner.updates

    first, second = weights("a", False), weights("b", True)
    assert torch.equal(first[0], second[0])
    assert first[1] == second[1] == (600 - 100) // 4 * 2


def test_a_state_holds_the_steps_that_were_not_yet_returned(tmp_path, closing):
    runner, fresh = made(tmp_path, AsyncCollector), made(tmp_path / "b", AsyncCollector)
    closing(runner)
    closing(fresh)
    runner.collector.collect()
    state = runner.collector.state_dict()
    assert len(state["arrived"]) == 8
    following = [leaves(runner.collector.collect()) for _ in range(8)]
    fresh.collector.load_state_dict(state)
    assert [leaves(fresh.collector.collect()) for _ in range(8)] == following
    with pytest.raises(RuntimeError, match="a state can only be loaded before the first step"):
        runner.collector.load_state_dict(state)


def test_a_state_that_was_loaded_is_the_same_before_the_first_step(tmp_path, closing):
    runner, fresh = (made(tmp_path / name, normalize_observation=True) for name in "ab")
    closing(runner)
    closing(fresh)
    for _ in range(5):
        runner.collector.collect()
    state = runner.collector.state_dict()
    fresh.network.load_state_dict(runner.network.state_dict())
    fresh.collector.load_state_dict(state)
    again = fresh.collector.state_dict()
    assert [tensor.tolist() for tensor in again["acting"]] == [tensor.tolist() for tensor in state["acting"]]
    assert state["acting"][2].item() == 6 * 3  # the worker is a step ahead


def test_statistics_of_episodes_and_of_observations_come_from_the_worker(tmp_path, closing):
    runner = made(tmp_path, normalize_observation=True)
    closing(runner)
    for _ in range(40):
        runner.collector.collect()
    returns, lengths, _ = runner.collector.take_episodes()
    assert len(returns) == len(lengths) > 0
    counted = runner.network.trunk.norms[0].count.item()
    assert counted == 40 * 3


def test_an_exception_in_the_worker_is_raised_here(tmp_path, closing):
    runner = made(tmp_path)
    closing(runner)

    def step(action):
        raise FaultyEnvironment("environment 1: broken")

    runner.collector.envs.step = step
    with pytest.raises(FaultyEnvironment, match="environment 1: broken"):
        runner.collector.collect()


def test_a_process_of_an_environment_that_ends_is_started_again(tmp_path, closing):
    runner = made(tmp_path, vectorization="async", env_options={"timeout": 20.0})
    closing(runner)
    runner.collector.collect()
    runner.collector.envs._envs.processes[1].kill()
    for _ in range(5):
        runner.collector.collect()
    assert runner.collector.faults()["restarts"] == 1


def test_a_worker_that_was_killed_is_reported(tmp_path):
    runner = made(tmp_path)
    runner.collector.collect()
    runner.collector._worker._place.kill()
    runner.collector._worker._place.join()
    with pytest.raises(FaultyEnvironment, match="the process that steps the environments ended, killed by signal"):
        [runner.collector.collect() for _ in range(3)]
    runner.collector.close()


def test_arrays_of_the_worker_are_our_own(tmp_path, closing):
    runner = made(tmp_path)
    closing(runner)
    first = runner.collector.collect()
    kept = first["observation"].clone()
    runner.collector.collect()
    assert np.array_equal(first["observation"], kept)
