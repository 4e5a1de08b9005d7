"""Joint actions from the environment to the optimum: MultiBinary and MultiDiscrete, every head."""

import pytest

from qframe.heads import CategoricalHead, QuantileHead, ScalarHead
from qframe.networks import SharedTrunk
from tests.runners import make_runner

HEADS = {
    "scalar": ScalarHead,
    "categorical": lambda *size: CategoricalHead(*size, num_atoms=21, v_min=0.0, v_max=10.0),
    "quantile": lambda *size: QuantileHead(*size, num_quantiles=8),
}


@pytest.mark.parametrize(
    ("env", "head", "options"),
    [
        ("Switches", "scalar", {}),
        ("Dials", "scalar", {}),
        ("Dials", "categorical", {}),
        ("Dials", "quantile", {}),
        ("Dials", "scalar", {"joint": "sum"}),
        ("Switches", "quantile", {"joint": "sum"}),
        ("Dials", "scalar", {"joint": "mean"}),
        ("Dials", "scalar", {"encoding": "enumerated"}),
        ("Dials", "scalar", {"encoding": "mult-one-hot", "network": SharedTrunk}),
    ],
    ids=str,
)
def test_joint_actions_are_learned_to_their_optimum(tmp_path, env, head, options):
    """Every switch and dial right in each of 4 steps pays 4; at random it is 2 for switches and 1.5 for dials."""
    runner = make_runner(tmp_path, f"qframe-test/{env}-v0", head=HEADS[head], gamma=0.5, total_frames=1_000, lr=1e-2,
                         **options)  # fmt: skip
    assert runner.run()["eval_return_mean"] > 3.8
