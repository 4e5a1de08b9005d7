"""Compare compiled gradients with eager ones over head × estimator × batch × network: where this torch miscompiles.

    python -m scripts.compiled_gradients          # cases in which every two choices meet, some ten minutes
    python -m scripts.compiled_gradients --all    # the whole grid, some two hours

Prints the relative difference of every case; exits with 1 if one exceeds 1e-4.
"""

import argparse
import sys

import torch

from tests.compiled.gradients import GRID, covering, differences

LARGEST = 1e-4
CASES = 6
"""Compiled as one library."""


def main() -> None:
    """Compare, library by library."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="the whole grid")
    cases = GRID if parser.parse_args().all else covering()
    torch.set_num_threads(1)
    failed = 0
    for start in range(0, len(cases), CASES):
        for case, difference in differences(cases[start : start + CASES]).items():
            failed += difference > LARGEST
            print(f"{difference:.1e}", *case, "FAILED" if difference > LARGEST else "", flush=True)
    print(f"torch {torch.__version__}: {failed} of {len(cases)} cases differ by more than {LARGEST}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
