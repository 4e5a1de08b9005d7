"""Compare qframe with the reference library on random inputs, wherever the specification says that they agree.

``make conformance`` runs it in a virtual environment of its own. It prints the parts compared, the largest difference,
and the deliberate deviations, which are left out; the exit status is 1 if anything else differs.
"""

import sys
import warnings

import choosing
import losses
import networks
import torch
from record import Record

DEVIATIONS = (
    "one-hot and mult-one-hot actions on ties: always exactly one 1 per component (compared without ties)",
    "binary and multi-categorical greedy rules: the reference has none",
    "mult-one-hot distributional values and per-component supports: the reference fails on them",
    "masks of distributional values are [*B, A], not lifted; a masked action is never chosen, also where every legal "
    "expected value is below 0 (compared on a positive support, mask lifted by hand)",
    "±inf on an action not chosen never makes the chosen value NaN",
    "var_nums must add up to the last dimension",
    "td_error is absolute, and so for every head (the square of it compared; for distributions the loss is not)",
    "a terminal next state is selected away, so that NaN in it does no harm",
    "importance weights: mean(w·l), not Σ w·l / Σ w",
    "γ is kept by make_value_estimator when it is not repeated (compared with γ given)",
    "TD1 and TDLambda on a flat batch raise",
    "HardUpdate copies first at call N (the reference at call N + 1, then every N + 1 calls)",
    "NoisyLinear: online, target and acting networks draw their own noise",
    "EGreedyModule: one draw per environment, and ε in closed form",
    "ActorCriticOperator.get_value_operator values the action given (the reference has none; see get_critic_operator)",
    "keyword calls return the loss in fixed order of keys",
)


def main() -> None:
    """Compare everything, print the table and the deviations."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    record = Record()
    for part in (choosing, losses, networks):
        part.compare(record)
    agrees = record.report()
    print(f"\n{sum(record.cases.values())} cases. Left out, because the specification deviates on purpose:")
    for deviation in DEVIATIONS:
        print(f"  - {deviation}")
    sys.exit(not agrees)


if __name__ == "__main__":
    main()
