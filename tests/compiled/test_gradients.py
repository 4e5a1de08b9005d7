"""Compiled gradients are the eager ones: every head, estimator, batch and kind of network at least once.

All of the grid is compared by ``scripts/compiled_gradients.py``: a case takes the compiler some ten seconds.
"""

import runpy
from types import SimpleNamespace

import pytest
from torch._inductor.codegen import cpp

from qframe.compiled.library import COMPILER
from tests.compiled.gradients import ESTIMATORS, HEADS, SHAPES, VARIANTS, Case, covering, differences

LIBRARIES = (
    (
        Case("hl_gauss", "TD0", (32,), "plain"),
        Case("scalar", "SoftTD0", (1,), "noisy"),
        Case("quantile", "WatkinsQLambda", (8, 8), "dueling"),
        Case("categorical", "TDLambda", (8, 8), "joint"),
    ),
    (
        Case("hl_gauss", "Munchausen", (24,), "masks"),
        Case("scalar", "TD0", (7,), "plain"),
        Case("implicit_quantile", "TD0", (128,), "masks"),
        Case("scalar", "TD1", (8, 8), "dueling"),
        Case("fully_parameterized_quantile", "Retrace", (8, 8), "plain"),
    ),
)


@pytest.mark.parametrize("cases", LIBRARIES)
def test_the_compiled_gradient_is_the_eager_one(cases):
    for case, difference in differences(cases).items():
        assert difference < 1e-4, case


def test_every_choice_is_compared():
    cases = [case for library in LIBRARIES for case in library]
    for place, choices in enumerate((HEADS, ESTIMATORS, SHAPES, VARIANTS)):
        assert {case[place] for case in cases} == {*choices}


def test_the_covering_cases_have_every_pair_of_choices():
    pairs = {(case.head, case.shape) for case in covering()}
    assert pairs == {(head, shape) for head in HEADS for shape in SHAPES}


@pytest.mark.parametrize(("is_allowed", "step", "fuses"), [(True, 1, True), (True, 16, False), (False, 1, False)])
def test_outer_loops_that_take_several_rows_at_a_time_are_not_fused(monkeypatch, is_allowed, step, fuses):
    node = cpp.OuterLoopFusedSchedulerNode
    monkeypatch.setattr(node, "check_outer_fusion_loop_level_attr", lambda self, kernels, depth: True)
    runpy.run_path(str(COMPILER))["_restrict_fusion"](is_allowed=is_allowed)
    loops = [SimpleNamespace(steps=step), SimpleNamespace(steps=16)]  # inner ones may take several elements at a time
    kernel = SimpleNamespace(loop_nest=SimpleNamespace(loops=loops))
    assert node.check_outer_fusion_loop_level_attr(None, [kernel, kernel], 1) is fuses
