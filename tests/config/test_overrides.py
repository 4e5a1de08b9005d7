"""What stands on the command line, and what follows from it."""

import pytest

from qframe.config.build import PROVIDED
from qframe.config.compose import compose, own_name


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "cartpole_dqn"),
        (["gamma=0.9"], "cartpole_dqn"),
        (["env=mountaincar"], "mountaincar"),
        (["env=gymnasium", "env.id=Acrobot-v1"], "Acrobot-v1"),
        (["env=minatar", "env.game=freeway", "trunk=nature"], "minatar_freeway"),
        (["env=acrobot", "name=mine"], "mine"),
        (["experiment=acrobot_dqn", "env.num_envs=4"], "acrobot_dqn"),
        (["experiment=acrobot_dqn", "env.id=MountainCar-v0"], "acrobot_dqn"),
    ],
)
def test_a_run_is_named_by_its_preset_or_its_environment(words, name):
    assert compose(words, provided=PROVIDED).name == name


def test_a_name_is_one_of_a_folder():
    assert own_name({"env.id": "ALE/Pong v5;x"}) == "ALE_Pong_v5_x"
    assert own_name({"env": {"id": "Acrobot-v1", "num_envs": 4}}) == "Acrobot-v1"
    assert own_name({"env": {"num_envs": 4}}) is own_name({"env.id": "${oc.env:HOME}"}) is None
    assert own_name({"env.id": "CartPole-v1"}) is own_name({"env": "cartpole"}) is None
    assert own_name({"experiment": None, "env.id": "Acrobot-v1"}) is own_name({"env": None}) is None
    assert own_name({"env": "gymnasium", "env.id": "mylab.envs.Odd"}) == "Odd"
    assert own_name({}) is None
