"""Names come from what runs: a name never states another environment or algorithm."""

import pytest
from hydra.types import RunMode

from qframe.config.build import PROVIDED
from qframe.config.compose import compose, composed, recheck
from qframe.config.hydra_app import hydra_app
from qframe.runs.run_name import LONGEST, changes, environment_slug, run_name


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "cartpole_dqn"),
        (["seed=7", "total_frames=1k", "logger.every=10", "evaluation.episodes=5"], "cartpole_dqn"),
        (["gamma=0.9"], "cartpole_dqn-gamma=0.9"),
        (["optimizer.lr=1e-3", "gamma=0.9"], "cartpole_dqn-gamma=0.9,lr=1e-3"),
        (["head=categorical"], "cartpole_c51"),
        (["head=hl_gauss"], "cartpole_hl_gauss"),
        (["loss=double_dqn", "head=quantile"], "cartpole_double_qrdqn"),
        (["loss=dqv", "network=shared_trunk", "network.dueling=false"], "cartpole_dqv"),
        (["estimator=munchausen"], "cartpole_munchausen_dqn"),
        (["estimator=td_lambda", "replay=slices"], "cartpole_td_lambda_dqn-replay=slices"),
        (["network=ensemble", "exploration=bootstrapped"], "cartpole_ensemble_dqn-exploration=bootstrapped"),
        (["env=mountaincar"], "mountaincar_dqn"),
        (["env=gymnasium", "env.id=Acrobot-v1"], "acrobot_dqn"),
        (["env=minatar", "env.game=freeway", "trunk=nature"], "minatar_freeway_dqn-trunk=nature"),
        (["env=acrobot", "name=mine"], "mine"),
        (["experiment=acrobot_dqn", "env.num_envs=4"], "acrobot_dqn-num_envs=4"),
        (["experiment=acrobot_dqn", "env.id=MountainCar-v0"], "mountaincar_dqn"),
        (["experiment=pong_dqn_full"], "pong_dqn_full"),
        (["experiment=pong_dqn_full", "env.game=breakout"], "atari_breakout_dqn"),
        (["experiment=cartpole_rainbow", "env=acrobot"], "acrobot_rainbow"),
        (["~experiment", "head=quantile"], "cartpole_qrdqn"),
    ],
)  # fmt: skip
def test_a_run_is_named_by_its_preset_until_the_environment_or_the_algorithm_changes(words, name):
    assert compose(words, provided=PROVIDED).name == name


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["optimizer.lr=1e-3,1e-4", "seed=1,2"], "cartpole_dqn-lr"),
        (["head=scalar,quantile", "seed=1,2"], "cartpole-head"),
        (["env=cartpole,acrobot", "gamma=0.9"], "sweep-gamma=0.9-env"),
        (["experiment=cartpole_dqn,acrobot_dqn"], "sweep-experiment"),
        (["seed=1,2"], "cartpole_dqn"),
        (["sweep=quantile"], "cartpole_qrdqn-eps_end,kappa,lr,n_step,num_quantiles,tau"),
    ],
)
def test_a_sweep_is_named_by_the_keys_it_varies(words, name):
    with hydra_app() as app:
        composition = composed(app.config_loader, words, PROVIDED, mode=RunMode.MULTIRUN)
    assert composition.config["name"] == name


def test_changes_keep_within_what_a_file_system_allows():
    texts = [f"optimizer.algorithm.parameter_{number}=a/b c:d*é" for number in range(30)]
    short = changes(texts)
    assert len(short) <= LONGEST + 20
    assert short.startswith("parameter_0=a_b_c_d,parameter_1=a_b_c_d,")
    assert short != changes(texts[:-1])
    assert changes(reversed(texts)) == short


def test_keys_that_end_alike_are_named_in_full():
    assert changes(["target.tau=1", "exploration.tau=2"]) == "exploration.tau=2,target.tau=1"
    assert changes(["optimizer.algorithm._target_=torch.optim.SGD"]) == "algorithm=torch.optim.SGD"


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({"id": "ALE/Pong v5;x"}, "pong_v5_x"),
        ({"id": "mylab:Odd-v0"}, "odd"),
        ({"id": "MiniGrid-Empty-5x5-v0"}, "minigrid-empty-5x5"),
        ({}, ""),
        (None, ""),
    ],
)
def test_an_environment_is_named_without_namespace_and_version(env, name):
    assert environment_slug({"env": env}) == name


def test_a_config_that_is_rechecked_keeps_its_name():
    config = compose(["gamma=0.9"], provided=PROVIDED)
    assert recheck(config, PROVIDED).name == "cartpole_dqn-gamma=0.9"
    config.name = "auto"
    assert recheck(config, PROVIDED).name == "cartpole_dqn"


def test_an_own_head_is_named_by_its_class():
    assert run_name({"env": {"id": "Odd-v0"}, "head": {"_target_": "mylab.heads.MyFirstHead"}}) == "odd_my_first"
