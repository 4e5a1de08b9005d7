"""Evaluation: by its own protocol, on its own environments, and never without end."""

import numpy as np
import pytest
import torch

from qframe.actions import make_action_space
from qframe.cli.main import main
from qframe.config import build
from qframe.config.compose import compose
from qframe.envs import AtariEnvs, GymnasiumEnvs, MinAtarEnvs
from qframe.errors import ConfigError
from qframe.heads import ScalarHead
from qframe.networks import MLPTrunk, QNet
from qframe.training import EarlyStop, Evaluation
from qframe.training.evaluation import EvaluationResult, cut_note, format_protocol
from tests.runners import make_runner


def evaluation_of(id, *, kwargs=None, **choices):
    envs = GymnasiumEnvs(id, num_envs=2, vectorization="sync", kwargs=kwargs)
    actions = make_action_space(envs.action_space, encoding="auto")
    torch.manual_seed(0)
    shape = envs.observation_space.shape
    network = QNet(MLPTrunk(shape, num_cells=[4]), ScalarHead, action_space=actions)
    given = {"every": 1, "episodes": 4, "final_episodes": 6, "num_envs": 3} | choices
    return Evaluation(envs, actions, seed=1, **given), network


def test_an_episode_without_a_limit_is_cut_and_counted():
    """Each step gives 1 and a million make an episode: its return is the limit, and every episode was cut."""
    evaluation, network = evaluation_of(
        "qframe-test/Terminating-v0", kwargs={"length": 10**6}, max_episode_steps=7
    )
    result = evaluation.final(network)
    assert (result.lengths, result.returns, result.cut) == ([7] * 6, [7.0] * 6, 6)
    assert evaluation.protocol(6)["max_episode_steps"] == 7
    assert result.note == ", 6 cut at the step limit"
    note = cut_note(result.cut, 6, 7)
    start = "note: 6 of 6 evaluated episodes were cut after 7 steps, because the environment has no step limit; set"
    assert note.startswith(start)


def test_the_environments_own_limit_stands_and_cuts_nothing():
    evaluation, network = evaluation_of("CartPole-v1", max_episode_steps=2)
    result = evaluation.periodic(network, frames=0)
    assert min(result.lengths) > 2
    assert (result.cut, result.note) == (0, "")
    assert evaluation.protocol(4)["max_episode_steps"] == 500


@pytest.mark.parametrize("reward", [0.7, 16_777_217.0, 1e-5])
def test_scores_are_the_environments_own_numbers_not_32_bit_floats(reward, tmp_path):
    """An episode is one step that pays ``reward``, which a 32-bit float rounds."""
    evaluation, network = evaluation_of("qframe-test/Terminating-v0", kwargs={"end_reward": reward})
    result = evaluation.final(network)
    assert (result.mean, result.std, result.returns) == (reward, 0.0, [reward] * 6)
    runner = make_runner(
        tmp_path, "qframe-test/Terminating-v0", env_options={"kwargs": {"end_reward": reward}}, evaluate_every=200,
        total_frames=600, stop=EarlyStop(eval_return=reward),
    )  # fmt: skip
    summary = runner.run()
    assert [summary[key] for key in ("frames", "eval_return_mean", "train_return_mean")] == [200, reward, reward]


def test_small_scores_keep_three_digits():
    assert str(EvaluationResult([0.1, 0.14], [1, 1])) == "evaluation 0.120 ± 0.020 over 2 episodes"
    assert str(EvaluationResult([-250.0, -310.0], [1, 1])) == "evaluation -280.0 ± 30.0 over 2 episodes"


def test_epsilon_takes_random_actions():
    """The bandit pays 1 or −1: a greedy policy always the same, a random one 0 in the mean, one in between half."""
    means = []
    for epsilon in (0.0, 0.5, 1.0):
        evaluation, network = evaluation_of("qframe-test/Bandit-v0", epsilon=epsilon, num_envs=40)
        first, second = (evaluation.play(network, episodes=400, stream=("x",)).returns for _ in range(2))
        assert first == second
        means.append(float(np.mean(first)))
    assert abs(means[0]) == 1.0
    assert 0.38 < means[1] / means[0] < 0.62
    assert abs(means[2]) < 0.15


def test_random_actions_of_evaluation_are_legal():
    """Legal raises on an illegal action."""
    evaluation, network = evaluation_of("qframe-test/Legal-v0", epsilon=1.0)
    assert len(evaluation.final(network).returns) == 6


def test_a_protocol_names_what_a_score_depends_on():
    atari = AtariEnvs("pong", num_envs=1, sticky=0.0, terminal_on_life_loss=True)
    actions = make_action_space(atari.action_space, encoding="auto")
    evaluation = Evaluation(atari, actions, seed=1, every=1, episodes=1, final_episodes=2, num_envs=1, epsilon=0.001)
    assert evaluation.protocol(2) == {
        "episodes": 2, "epsilon": 0.001, "env": "Atari pong", "sticky": 0.0, "no_ops": 30, "frame_skip": 4,
        "actions": "the game's own actions", "life_loss_ends_episode": False, "max_episode_steps": 27_000,
        "rewards": "the environment's own",
    }  # fmt: skip
    line = "2 episodes, epsilon 0.001, env Atari pong, sticky 0, no_ops 30"
    assert format_protocol(evaluation.protocol(2)).startswith(line)
    assert MinAtarEnvs("freeway", num_envs=1).protocol["sticky"] == 0.1


def test_settings_unlike_trainings_are_checked_and_recorded(tmp_path, capsys):
    words = ["env=minatar", "trunk=small_conv", "total_frames=300", "runner.learning_starts=200"]
    sizes = ["evaluation.final_episodes=2", f"hydra.run.dir={tmp_path}", "runner.every=64"]
    assert main(["train", *words, *sizes, "evaluation.env.sticky=0", "evaluation.epsilon=0.01"]) == 0
    assert main(["check", *words, "evaluation.env.stick=0"]) == 2
    assert "evaluation.env.stick: unknown key of qframe.envs.MinAtarEnvs" in capsys.readouterr().err
    assert main(["check", *words, "evaluation.env.game=seaquest"]) == 2
    assert "evaluation.env: its spaces must be those of training" in capsys.readouterr().err


def test_evaluation_may_have_wrappers_of_its_own_which_the_protocol_names():
    limit = "{_target_: gymnasium.wrappers.TimeLimit, max_episode_steps: 5}"
    clipped = "{_target_: ClipReward, min_reward: 0, max_reward: 0.1}"
    words = [f"env.wrappers=[{clipped}]", f"evaluation.env.wrappers=[{limit}]"]
    parts = build.parts(compose(words, provided=build.PROVIDED))
    protocol = parts.evaluation.protocol(3)
    assert protocol["wrappers"] == ["TimeLimit(max_episode_steps=5)"]
    assert protocol["unlike_training"] == {"wrappers": ["TimeLimit(max_episode_steps=5)"]}
    assert protocol["rewards"] == "as its wrappers give them"
    assert parts.envs.protocol["wrappers"] == ["ClipReward(min_reward=0.0, max_reward=0.1)"]
    plain = build.parts(compose([], provided=build.PROVIDED)).evaluation.protocol(3)
    assert plain["rewards"] == "the environment's own"
    with pytest.raises(ConfigError, match=r"evaluation.env.wrappers\[0\].max_episode_step: unknown key of"):
        build.parts(compose([words[1].replace("steps:", "step:")], provided=build.PROVIDED))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"epsilon": 1.5}, r"expected epsilon in \[0, 1\], got 1.5"),
        ({"max_episode_steps": 0}, "expected max_episode_steps of at least 1, got 0"),
        ({"video": -1}, "expected video of at least 0 episodes, got -1"),
        ({"video": 1}, "render mode rgb_array, which qframe-test/Endless-v0 lacks"),
    ],
)
def test_numbers_out_of_range_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        evaluation_of("qframe-test/Endless-v0", **choices)


def test_without_the_package_for_videos_the_message_has_the_pip_command(monkeypatch):
    monkeypatch.setattr("qframe.training.evaluation.find_spec", lambda package: None)
    with pytest.raises(ValueError, match=r'video needs the packages imageio and av, .*; pip install "qframe\[video\]"'):
        evaluation_of("CartPole-v1", video=1)


def test_a_result_without_cuts_has_none():
    assert EvaluationResult([1.0, 3.0], [1, 1]).cut == 0
    assert EvaluationResult([1.0], [1], cut=2, faults=1).note == ", 2 cut at the step limit, 1 ended by a fault"
    assert (EvaluationResult([1.0, 3.0], [1, 1]).mean, EvaluationResult([1.0, 3.0], [1, 1]).std) == (2.0, 1.0)
