"""Runs on masked environments: nothing illegal anywhere, the optimum, and what a faulty mask leaves behind."""

import json

import pytest
import torch

from qframe.checkpoints import load_checkpoint
from qframe.cli.main import main
from qframe.envs import FaultyEnvironment
from qframe.replay import ReplayBuffer, SliceReplayBuffer
from tests.runners import make_runner, prioritized
from tests.training.test_probes import HEADS

LEGAL = "qframe-test/Legal-v0"


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("head", HEADS)
def test_no_illegal_action_in_warm_up_exploration_acting_and_evaluation(tmp_path, head, vectorization):
    runner = make_runner(
        tmp_path, LEGAL, head=HEADS[head], total_frames=240, evaluate_every=120, vectorization=vectorization, num_envs=2
    )
    summary = runner.run()  # the environment raises on an illegal action
    assert (summary["status"], summary["updates"]) == ("finished", 70)


@pytest.mark.parametrize("encoding", ["auto", "enumerated"])
@pytest.mark.parametrize("space", ["multidiscrete", "multibinary"])
@pytest.mark.parametrize("head", HEADS)
def test_no_illegal_joint_action_anywhere(tmp_path, head, space, encoding):
    runner = make_runner(
        tmp_path, LEGAL, head=HEADS[head], total_frames=160, evaluate_every=80, num_envs=2, encoding=encoding,
        env_options={"kwargs": {"space": space}},
    )  # fmt: skip
    assert runner.run()["status"] == "finished"


def regret(folder, **env_options):
    """What is lost per episode of 5 steps against always taking the best legal action."""
    runner = make_runner(folder, LEGAL, total_frames=800, lr=1e-2, env_options=env_options, seed=1)
    return -runner.run()["eval_return_mean"]


def test_a_masked_environment_is_learned_to_its_optimum_and_without_the_mask_it_is_not(tmp_path):
    assert regret(tmp_path / "masked") == 0.0
    assert regret(tmp_path / "unmasked", kwargs={"convention": "none"}) > 1.0


@pytest.mark.parametrize("convention", [{"kwargs": {"convention": "method"}},
                                        {"kwargs": {"convention": "key"}, "mask_key": "legal"}])  # fmt: skip
def test_the_other_conventions_train_alike(tmp_path, convention):
    def weights(folder, **env_options):
        runner = make_runner(tmp_path / folder, LEGAL, total_frames=300, env_options=env_options)
        runner.run()
        return torch.cat([p.detach().flatten() for p in runner.network.parameters()])

    assert torch.equal(weights("info"), weights("other", **convention))


@pytest.mark.parametrize(
    ("replay", "options", "estimator"),
    [
        (ReplayBuffer, {"n_step": 3}, "TD0"),
        (prioritized(ReplayBuffer), {"n_step": 2}, "TD0"),
        (SliceReplayBuffer, {"slice_length": 4}, "TDLambda"),
    ],
)
def test_every_replay_carries_masks_that_go_with_their_observations(tmp_path, replay, options, estimator):
    runner = make_runner(
        tmp_path, LEGAL, replay=replay, replay_options=options, estimator=estimator, total_frames=200
    )
    runner.train(200)
    rows = runner.replay.sample(400).reshape(-1)
    mask, next_mask = rows["action_mask"], rows["next", "action_mask"]
    assert mask.dtype == next_mask.dtype == torch.bool
    assert mask.gather(-1, rows["action"].unsqueeze(-1)).all(), "the stored action was legal"
    best = torch.arange(5).expand_as(mask).masked_fill(~mask, -1).amax(-1)
    if "n_step" not in options:
        torch.testing.assert_close(rows["next", "reward"].squeeze(-1), (rows["action"] - best).float())
    assert next_mask.any(-1).all()
    assert not torch.equal(mask, next_mask)
    runner.collector.envs.close()


def test_an_environment_without_masks_stores_none(tmp_path):
    collector = make_runner(tmp_path, "qframe-test/Counter-v0").collector
    assert set(collector.collect().keys(True, True)) == {
        "observation", "action", "env", *(("next", key) for key in
                                          ("observation", "reward", "terminated", "truncated", "done")),
    }  # fmt: skip


def test_a_faulty_mask_leaves_the_last_checkpoint_good(tmp_path):
    options = {"kwargs": {"fault": "all_false", "fault_at": 200}}
    runner = make_runner(tmp_path, LEGAL, total_frames=2000, env_options=options)
    with pytest.raises(FaultyEnvironment, match="environment 0: the action mask allows no action"):
        runner.run()
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "failed"
    state = load_checkpoint(tmp_path / "checkpoints")
    assert state["run"]["frames"] == 500
    resumed = make_runner(tmp_path, LEGAL, total_frames=700)
    resumed.load_state_dict(state)
    assert resumed.run()["frames"] == 700


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_the_command_line_reports_a_faulty_mask_in_a_few_lines(tmp_path, monkeypatch, capfd, vectorization):
    monkeypatch.chdir(tmp_path)
    words = [
        "env=gymnasium", f"env.id={LEGAL}", "env.num_envs=2", f"env.vectorization={vectorization}", "total_frames=1000",
        "runner.learning_starts=20", "env.kwargs={fault: short, fault_at: 20}", "hydra.run.dir=run",
    ]  # fmt: skip
    assert main(["train", *words]) == 2
    said = capfd.readouterr().err
    assert "needs 5 entries" in said
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 3


def test_check_reports_faults_of_masks_before_training(capsys):
    assert main(["check", "env=gymnasium", f"env.id={LEGAL}", "env.kwargs={fault: not_a_number, fault_at: 0}"]) == 2
    assert "Legal-v0: the action mask holds nan" in capsys.readouterr().err
    words = [f"env.id={LEGAL}", "env.mask_key=legal", "env.kwargs={convention: key}"]
    assert main(["check", "env=gymnasium", *words]) == 0


def test_evaluation_reports_a_faulty_mask_too(tmp_path):
    runner = make_runner(tmp_path, LEGAL, env_options={"kwargs": {"fault": "two", "fault_at": 8}})
    runner.evaluation.final_episodes = 6  # two in each of three environments: 10 steps
    with pytest.raises(FaultyEnvironment, match="the action mask holds 2, 2, 2"):
        runner.evaluation.final(runner.network)
    runner.collector.envs.close()
