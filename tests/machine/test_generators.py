"""The global generators of a process: captured, restored, and seeded for a while."""

import io
import random

import numpy as np
import pytest
import torch

from qframe.machine.generators import GlobalGenerators, globally_seeded, seed_globally


def draws():
    return torch.rand(1).item(), np.random.rand(), random.random(), random.gauss()  # noqa: NPY002


def test_a_state_read_from_a_checkpoint_repeats_the_draws():
    seed_globally(5)
    random.gauss()  # which keeps a second number
    file = io.BytesIO()
    torch.save(GlobalGenerators.capture().state_dict(), file)
    expected = draws()
    assert draws() != expected
    GlobalGenerators.of_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True)).restore()
    assert draws() == expected


def test_equal_seeds_give_equal_draws_and_the_draws_outside_go_on_as_if_nothing_happened():
    seed_globally(1)
    expected = draws()
    seed_globally(1)
    with globally_seeded(2):
        first = draws()
    assert draws() == expected
    with globally_seeded(2):
        assert draws() == first


@pytest.mark.parametrize(
    ("draw", "name"),
    [(lambda: torch.rand(1), "torch"), (lambda: np.random.rand(), "numpy"), (random.random, "random")],  # noqa: NPY002
)
def test_the_generator_that_was_drawn_from_is_named(draw, name):
    before = GlobalGenerators.capture()
    assert before.drawn_since() == []
    draw()
    assert before.drawn_since() == [name]
