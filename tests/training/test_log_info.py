"""Numbers of infos as metrics: the last of every episode, in every vectorization, and notes on wrong keys."""

import json
import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from qframe.envs import AtariEnvs, GymnasiumEnvs
from qframe.envs.episodes import SelfResettingEpisodes
from qframe.loggers.console import LineReport
from qframe.training.episode_statistics import EpisodeStatistics
from tests.runners import make_runner

KEYS = ["level", "stats.depth", "won"]


class Telling(gym.Env):
    """Three steps; the level is the step's number, the depth 10 times that, won only at the end, and a name."""

    observation_space, action_space = spaces.Box(0.0, 9.0, (1,), np.float32), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number = 0
        return np.zeros(1, np.float32), {"level": 100}

    def step(self, action):
        self.number += 1
        won = {"won": np.bool_(self.number == 3)} if self.number == 3 else {}
        info = {"level": self.number, "stats": {"depth": np.float32(10 * self.number)}, "name": "x", **won}
        return np.full(1, self.number, np.float32), 1.0, self.number == 3, False, info


@pytest.fixture
def telling():
    gym.register("qframe-test/Telling-v0", Telling)
    yield "qframe-test/Telling-v0"
    del gym.registry["qframe-test/Telling-v0"]


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_an_episode_counts_with_the_last_number_that_it_gave(telling, vectorization):
    envs = GymnasiumEnvs(telling, num_envs=2, vectorization=vectorization, log_info=KEYS).make(0)
    envs.reset()
    numbers = [envs.step(np.zeros(2, np.int64)).info for _ in range(4)]
    envs.close()
    assert np.isnan(numbers[0][:, 2]).all()
    assert numbers[2].tolist() == [[3.0, 30.0, 1.0]] * 2
    statistics = EpisodeStatistics(2, KEYS)
    for number, info in enumerate(numbers):
        statistics.add(np.ones(2), np.full(2, number == 2), None, info)
    assert statistics.take().infos == {"level": [3.0, 3.0], "stats.depth": [30.0, 30.0], "won": [1.0, 1.0]}


class TellingVector(VectorEnv):
    """Two environments that reset themselves; their numbers are 1, 2, … since the last reset, where one is 0."""

    single_observation_space, single_action_space = Telling.observation_space, Telling.action_space
    num_envs = 2

    def __init__(self, mode):
        self.metadata = {"autoreset_mode": mode}

    def reset(self, *, seed=None, options=None):
        self.number = np.zeros(2, np.int64)
        return np.zeros((2, 1), np.float32), {}

    def step(self, action):
        is_next = self.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
        over, self.number = self.number == 3, np.where(self.number == 3, 0, self.number + 1)
        done, shown = self.number == 3, self.number.copy()
        infos = {"level": shown, "stats": {"depth": 10.0 * shown, "_depth": ~over}}
        if not is_next and done.any():
            zeros = np.zeros(2, np.int64)
            infos = {"level": zeros, "final_obs": np.ones((2, 1), np.float32), "final_info": infos}
            self.number = zeros
        return np.zeros((2, 1), np.float32), np.ones(2), done, np.zeros(2, bool), infos


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_vector_environments_that_reset_themselves_give_the_last_number_of_each_episode(mode):
    envs = SelfResettingEpisodes(TellingVector(mode), lambda number: 0, log_info=("level", "stats.depth"))
    statistics = EpisodeStatistics(2, envs.log_info)
    envs.reset()
    for _ in range(8):
        step = envs.step(np.zeros(2, np.int64))
        statistics.add(step.reward, step.terminated | step.truncated, step.valid, step.info)
    assert statistics.take().infos == {"level": [3.0] * 4, "stats.depth": [30.0] * 4}


@pytest.mark.parametrize("backend", ["ale_vector", "gymnasium"])
def test_atari_games_give_the_numbers_of_their_infos(backend):
    made = AtariEnvs("breakout", num_envs=2, backend=backend, log_info=["lives", "no_such"])
    envs = made.make(0)
    envs.reset()
    numbers = envs.step(np.zeros(2, np.int64)).info
    envs.close()
    assert numbers[:, 0].tolist() == [5.0, 5.0]
    assert np.isnan(numbers[:, 1]).all()
    assert "lives" in made.info_keys()


def test_training_and_evaluation_log_means_and_wrong_keys_are_noted_once(tmp_path, telling, capsys):
    keys = [*KEYS, "name", "levle"]
    runner = make_runner(
        tmp_path, telling, env_options={"log_info": keys}, total_frames=600, evaluate_every=200, report=LineReport()
    )
    runner.schedule.intervals["log"] = 100
    summary = runner.run()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for group in ("train", "eval"):
        found = [line for line in lines if f"{group}/info/level" in line]
        assert len(found) == (6 if group == "train" else 3)
        wanted = {"level": 3.0, "stats.depth": 30.0, "won": 1.0}
        own = {name.removeprefix(f"{group}/info/"): line[name] for line in found for name in line if "/info/" in name}
        assert own == wanted
    assert summary["eval_info"] == {"level": 3.0, "stats.depth": 30.0, "won": 1.0}
    printed = capsys.readouterr().out
    odd = "note: env.log_info: name held a value that is not one finite number; such values are left out"
    missing = "env.log_info: no info has held levle so far; numbers in the infos of a step: level, stats.depth"
    assert printed.count(odd) == printed.count(missing) == 1
    assert "infos        level 3, stats.depth 30, won 1" in printed


def test_numbers_that_are_not_finite_are_no_numbers(telling):
    statistics = EpisodeStatistics(1, ["level"])
    statistics.add(np.ones(1), np.array([True]), None, np.array([[math.inf]]))
    assert statistics.take().infos == {"level": [math.inf]}


@pytest.mark.parametrize("keys", [[""], ["a..b"], ["a", "a"]])
def test_faulty_keys_are_refused(telling, keys):
    with pytest.raises(ValueError, match="expected log_info to be keys of infos, each once"):
        GymnasiumEnvs(telling, num_envs=1, vectorization="sync", log_info=keys)
