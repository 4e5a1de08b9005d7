"""The mathematics of Q-learning as pure functions of tensors: no module, no tensordict, no config."""

from qframe.functional.action import SoftPolicy, greedy, lowest, mask_values, soft, take
from qframe.functional.backup import Backup, LambdaBackup, Law, affine, apply, mix, weighted_sum
from qframe.functional.compiling import stored
from qframe.functional.distributional import (
    categorical_cross_entropy,
    categorical_projection,
    entropy,
    fraction_loss,
    gaussian_histogram,
    quantile_huber,
)
from qframe.functional.dueling import dueling
from qframe.functional.rescaling import TRANSFORMS, Transform, h, h_inverse
from qframe.functional.returns import lambda_horizons, lambda_return, n_step_return
from qframe.functional.value_learning import huber, selected_value, soft_value, td_zero

__all__ = [
    "TRANSFORMS", "Backup", "LambdaBackup", "Law", "SoftPolicy", "Transform", "affine",
    "apply", "categorical_cross_entropy", "categorical_projection", "dueling", "entropy", "fraction_loss",
    "gaussian_histogram", "greedy", "h", "h_inverse", "huber", "lambda_horizons", "lambda_return", "lowest",
    "mask_values", "mix", "n_step_return", "quantile_huber", "selected_value", "soft", "soft_value", "stored", "take",
    "td_zero", "weighted_sum",
]
