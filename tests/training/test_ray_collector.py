"""Acting in actors: the steps of one process, in whatever number of actors, whichever of them die."""

import numpy as np
import pytest
import torch

from qframe.actions import Categorical
from qframe.config import build
from qframe.config.compose import compose
from qframe.envs import FaultyEnvironment, GymnasiumEnvs
from qframe.errors import RunError
from qframe.exploration import EGreedyLadder
from qframe.loggers.console import Report
from qframe.training import Collector, PipelinedCollector, RewardTransform, ray_cluster, ray_collector
from qframe.training.ray_collector import RayCollector
from tests.fingerprint import digest
from tests.local_ray import LocalRay
from tests.runners import CPU, make_runner

SIZES = (
    "replay.capacity=400", "runner.learning_starts=48", "runner.every=8", "runner.updates=1", "total_frames=96",
    "logger.tensorboard=false",
)  # fmt: skip
COUNTER = "qframe-test/Counter-v0"


@pytest.fixture(autouse=True)
def ray(monkeypatch):
    local = LocalRay()
    monkeypatch.setattr(ray_cluster, "ray", local)
    clusters = []

    def cluster(*given, **options):
        clusters.append(ray_cluster.Cluster(*given, **options))
        return clusters[-1]

    monkeypatch.setattr(ray_collector, "Cluster", cluster)
    yield local
    for each in clusters:
        each.close()
    local.close_head()


def reward_of(num_envs):
    return RewardTransform(clip=None, scale=1.0, normalize=False, gamma=0.9, num_envs=num_envs)


def made(
    folder, env="CartPole-v1", num_envs=4, *, seed=0, actors=2, steps=4, lag=1, order="fixed", stores_value=False,
    **options,
):
    """A runner whose environments are stepped by actors."""
    runner = make_runner(folder, env, num_envs=num_envs, **options)
    runner.collector = RayCollector(
        GymnasiumEnvs(env, num_envs=num_envs, vectorization=options.get("vectorization", "sync")),
        runner.network, actors=actors, steps=steps, lag=lag, order=order, address=None, cpus=1.0, resources={},
        timeout=60.0, exploration=runner.collector.exploration, action_space=runner.collector._action_space,
        make_reward=reward_of, seed=seed, stores_value=stores_value,
    )  # fmt: skip
    return runner


def leaves(transitions):
    return {key: leaf.tolist() for key, leaf in transitions.items(True, True)}


def trained(runner, frames=600):
    runner.train(frames)
    runner.collector.close()
    parameters = torch.cat([p.detach().flatten() for p in runner.network.parameters()])
    return parameters, {key: leaf.clone() for key, leaf in runner.replay.stored.items()}


def assert_same(one, other):
    assert torch.equal(one[0], other[0])
    assert all(torch.equal(leaf, other[1][key]) for key, leaf in one[1].items())


@pytest.mark.parametrize("actors", [1, 2, 4])
@pytest.mark.parametrize("lag", [0, 1, 3])
def test_with_a_network_that_stays_the_steps_are_those_of_one_process(tmp_path, actors, lag):
    plain, other = make_runner(tmp_path, COUNTER, num_envs=4), made(tmp_path, COUNTER, actors=actors, lag=lag)
    for _ in range(30):
        assert leaves(other.collector.collect()) == leaves(plain.collector.collect())
    assert other.collector.take_episodes().returns


def test_without_lag_and_one_step_a_message_the_run_is_that_of_one_process(tmp_path):
    assert_same(trained(made(tmp_path / "a", steps=1, lag=0)), trained(make_runner(tmp_path / "b", "CartPole-v1")))


def test_one_step_behind_the_run_is_the_pipelined_one(tmp_path):
    piped = make_runner(tmp_path / "a", "CartPole-v1")
    inner = piped.collector
    piped.collector = PipelinedCollector(
        inner.envs, piped.network, exploration=inner.exploration, action_space=inner._action_space, device=CPU
    )
    assert_same(trained(piped), trained(made(tmp_path / "b", steps=1, lag=1)))


@pytest.mark.parametrize("order", ["fixed", "arrival"])
def test_no_actor_is_ahead_by_more_than_the_lag(tmp_path, order):
    runner = made(tmp_path, order=order, lag=2)
    for _ in range(40):
        runner.collector.collect()
        assert all(actor.ahead <= 2 for actor in runner.collector._actors)
    metrics = runner.collector.actor_metrics()
    assert metrics["0/lag"] == 2
    assert metrics["1/restarts"] == 0
    assert metrics["0/frames_per_second"] > 0


def test_as_they_come_messages_are_taken_one_by_one(tmp_path, ray, monkeypatch):
    runner = made(tmp_path, order="arrival")
    envs = [runner.collector.collect()["env"].tolist() for _ in range(16)]
    assert envs == ([[0, 1]] * 4 + [[2, 3]] * 4) * 2
    monkeypatch.setattr(ray, "wait", lambda answers, timeout: (answers[-1:], answers[:-1]))  # the first one is slow
    assert [runner.collector.collect()["env"].tolist() for _ in range(8)] == [[2, 3]] * 8


def test_each_environment_has_its_rung_of_the_ladder(tmp_path):
    runner = made(tmp_path, COUNTER)
    ladder = EGreedyLadder(Categorical(2), num_envs=4)
    runner.collector.close()
    for actor in runner.collector._actors:
        share = actor._actor.served._collector.exploration
        share._whole = ladder
        draws = torch.stack([share.explore(torch.zeros(2, dtype=torch.int64)) for _ in range(500)]).float().mean(0)
        assert torch.allclose(draws, ladder.ladder[share._rows] / 2, atol=0.07)


@pytest.mark.parametrize("method", ["collect", "begin"])
@pytest.mark.parametrize("lag", [1, 2])
def test_a_run_whose_actors_die_is_the_same(tmp_path, ray, method, lag):
    whole = trained(made(tmp_path / "a", lag=lag))
    runner, random = made(tmp_path / "b", lag=lag), np.random.default_rng(0)
    ray.dies = lambda actor, called: called in ("collect", method) and random.random() < 0.15
    assert_same(whole, trained(runner))
    assert sum(actor.restarts for actor in runner.collector._actors) > 5


def test_an_actor_that_always_dies_ends_the_run(tmp_path, ray):
    runner = made(tmp_path)
    ray.dies = lambda actor, method: method == "collect"
    with pytest.raises(FaultyEnvironment, match=r"actor 0 was lost 4 times in a row"):
        runner.collector.collect()


def test_one_that_hangs_is_replaced(tmp_path, ray, monkeypatch):
    whole, runner = trained(made(tmp_path / "a")), made(tmp_path / "b")
    late = iter([True, False] * 3 + [False] * 10_000)
    monkeypatch.setattr(ray, "wait", lambda answers, timeout: ([], answers) if next(late) else (answers, []))
    assert_same(whole, trained(runner))
    assert sum(actor.restarts for actor in runner.collector._actors) == 3


def test_a_cluster_that_became_too_small_ends_the_run(tmp_path, ray):
    runner = made(tmp_path)
    ray.dies = lambda actor, method: method == "collect"
    ray.cpus = 1.0
    with pytest.raises(RunError, match=r"2 actors with 1 CPU each need 2, and the Ray cluster has 1"):
        runner.collector.collect()


def test_a_head_that_does_not_answer_ends_the_run(tmp_path, ray):
    runner = made(tmp_path)
    ray.close_head()
    with pytest.raises(RunError, match="the head of the Ray cluster, at 127.0.0.1:.*, does not answer: .*refused"):
        runner.collector.collect()


def test_a_connection_that_its_node_ends_is_replaced_and_one_that_cannot_be_ends_the_run(ray, monkeypatch):
    monkeypatch.setattr(ray, "put", lambda value: value)
    cluster = ray_collector.Cluster(None, actors=1, cpus=1.0, resources={})
    for _ in range(3):
        assert cluster.publish(7) == 7
        ray.end_connections()
    ray.close_head()
    with pytest.raises(RunError, match="this machine's node of the Ray cluster, at 127.0.0.1:.*, does not answer"):
        cluster.publish(7)


@pytest.mark.parametrize("order", ["fixed", "arrival"])
@pytest.mark.parametrize("taken", [0, 1, 6, 17])
def test_a_state_resumes_with_the_same_steps(tmp_path, order, taken):
    runner, fresh = (made(tmp_path / name, COUNTER, order=order, lag=2) for name in "ab")
    for _ in range(taken):
        runner.collector.collect()
    state = runner.collector.state_dict()
    fresh.collector.load_state_dict(state)
    assert fresh.collector.resume_episodes(state["running"])
    for step in range(20):
        assert fresh.collector.exploration_metrics() == runner.collector.exploration_metrics()
        assert leaves(fresh.collector.collect()) == leaves(runner.collector.collect())
        if step % 7 == 0:
            assert digest(fresh.collector.state_dict()) == digest(runner.collector.state_dict())
    assert fresh.collector.take_episodes() == runner.collector.take_episodes()
    with pytest.raises(RuntimeError, match="a state can only be loaded before the first step"):
        runner.collector.load_state_dict(state)


def test_a_state_needs_as_many_actors(tmp_path):
    one, other = made(tmp_path / "a", actors=2), made(tmp_path / "b", actors=4)
    with pytest.raises(ValueError, match="the state of 2 actors, and collector.actors is 4"):
        other.collector.load_state_dict(one.collector.state_dict())


def test_abandoned_episodes_end_with_the_last_step_that_arrived(tmp_path):
    runner = made(tmp_path, COUNTER, lag=1)
    for _ in range(3):
        runner.collector.collect()
    runner.collector.abandon_episodes()
    ends = [runner.collector.collect()["next", "done"].flatten().tolist() for _ in range(5)]
    assert ends[4] == [True] * 4
    assert runner.collector.collect()["observation"][:, 1].tolist() == [0.0] * 4  # all begin


def test_statistics_of_observations_are_the_learners(tmp_path):
    runner = made(tmp_path, normalize_observation=True)
    for _ in range(10):
        runner.collector.collect()
    assert runner.network.trunk.norms[0].count.item() == 10 * 4
    acting = runner.collector._actors[0]._actor.served._collector._network
    assert acting.trunk.norms[0].count.item() == 4 * 4  # as message 2 was asked for when message 1 was taken


def test_an_exception_of_an_environment_names_the_actor(tmp_path):
    runner = made(tmp_path)

    def step(action):
        raise FaultyEnvironment("environment 1: broken")

    runner.collector._actors[1]._actor.served._collector.envs.step = step
    with pytest.raises(FaultyEnvironment, match="actor 1: environment 1: broken"):
        runner.collector.collect()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"actors": 3}, "3 actors cannot share 4 environments equally; set env.num_envs to a multiple of 3"),
        ({"actors": 0}, "expected actors of at least 1, got 0"),
        ({"lag": -1}, "expected lag of at least 0, got -1"),
        ({"order": "any"}, "expected order to be one of fixed, arrival, got 'any'"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        made(tmp_path, **options)


def test_more_actors_than_cpus_are_refused(tmp_path, ray):
    ray.cpus = 3.0
    with pytest.raises(ValueError, match=r"4 actors with 1 CPU each need 4, and the Ray cluster has 3; set .*actors=3"):
        made(tmp_path, actors=4)


def test_without_ray_the_remedy_is_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "ray", None)
    with pytest.raises(ValueError, match="the package ray, needed for collector=ray, is not installed"):
        made(tmp_path)


def test_other_versions_are_refused(tmp_path, monkeypatch):
    theirs = {**ray_cluster.versions(), "torch": "1.0"}
    monkeypatch.setattr("qframe.training.actor.versions", lambda: theirs)
    with pytest.raises(ValueError, match=r"has torch 1.0 \(here .*\); install the same versions on all"):
        made(tmp_path)


def test_environments_that_an_actor_cannot_make_are_refused(tmp_path, monkeypatch):
    def collector(*given, **options):
        raise ModuleNotFoundError("No module named 'their_env'")

    monkeypatch.setattr("qframe.training.actor.Collector", collector)
    with pytest.raises(ValueError, match="actor 0 cannot make its environments: ModuleNotFoundError: No module"):
        made(tmp_path)


def test_one_process_is_the_collector_that_actors_have(tmp_path):
    runner = made(tmp_path)
    assert all(type(actor._actor.served._collector) is Collector for actor in runner.collector._actors)


@pytest.mark.parametrize(
    "words",
    [
        "memory=lstm replay.slice_length=4 replay.burn_in=1 replay.batch_size=16",
        "env=gymnasium env.id=qframe-test/Legal-v0",
        "network=ensemble exploration=bootstrapped exploration.bootstrap_probability=0.5",
        "exploration=ez_greedy",
        "exploration=boltzmann estimator=retrace replay=slices replay.slice_length=4 replay.batch_size=16",
        "exploration=noisy network.noisy=true",
        "reward=rnd",
        "network.normalize_observation=true head=quantile",
        "env=gymnasium env.id=CartPole-v1 env.vectorization=native",
    ],
)
def test_two_runs_of_any_agent_are_equal(tmp_path, words):
    def run(name):
        given = [*words.split(), "collector=ray", "collector.steps=4", "env.num_envs=4", "compile=false", *SIZES]
        runner = build.build(compose(given, provided=build.PROVIDED), tmp_path / name, report=Report())
        runner.train(96)
        runner.collector.close()
        return digest([runner.network.state_dict(), runner.replay.state_dict(live=False)])

    assert run("a") == run("b")
