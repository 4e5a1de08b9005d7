"""The greedy rule of every action space and the soft policy on random rows, against the oracle."""

import numpy as np
import pytest
import torch

from qframe.functional.action import greedy, lowest, soft, take
from qframe.functional.dueling import dueling
from qframe.functional.value_learning import selected_value, soft_value
from qframe.modules import DistributionalQValueModule, QValueModule
from tests.oracles import actions, laws

CASES = 2_000  # of every action space, dtype and masking
MANY = 10_000
SPACES = {
    "categorical": (5,),
    "one-hot": (5,),
    "mult-one-hot": (2, 1, 3),
    "multi-categorical": (3, 2),
    "binary": (4,),
}
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
INTEGERS = [torch.uint8, torch.int8, torch.int32, torch.int64]


def random_values(dtype, width, rng, strange=True, count=CASES):
    """Rows with many ties, and with infinities and NaN in some; ±1 is there to make sums that cancel."""
    value = rng.integers(-3, 4, (count, width)).astype(float)
    smooth = rng.random(count) < 0.5
    value[smooth] = rng.normal(0, 4, (smooth.sum(), width))
    if dtype.is_floating_point and strange:
        for special, share in ((np.inf, 0.04), (-np.inf, 0.1), (np.nan, 0.02), (lowest(dtype), 0.02)):
            value[rng.random(value.shape) < share] = special
    if not dtype.is_signed:
        value = np.abs(value)
    return torch.from_numpy(value).to(dtype)


def random_mask(width, rng, count=CASES):
    """Rows of which some allow all, some nothing, most a part."""
    mask = rng.random((count, width)) < 0.6
    kind = rng.random(count)
    mask[kind < 0.1] = True
    mask[kind > 0.95] = False
    return mask


def in_float64(tensor):
    return tensor.double().numpy()


def assert_equal_up_to_rounding(got, expected, scale, dtype):
    """Equal where exact; sums within the rounding of ``dtype``; beyond its range, infinite or clamped."""
    if not dtype.is_floating_point:
        limits = torch.iinfo(dtype)
        np.testing.assert_array_equal(got, np.clip(expected, limits.min, limits.max))
        return
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        close = np.abs(got - expected) <= 4 * torch.finfo(dtype).eps * scale
    assert (same | close).all(), np.flatnonzero(~(same | close))[:5]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS], ids=str)
@pytest.mark.parametrize("space", SPACES)
def test_a_q_value_module_decides_as_the_oracle_row_by_row(space, dtype, masked):
    rng = np.random.default_rng(len(space) + masked)
    sizes, width, floor = SPACES[space], sum(SPACES[space]), lowest(dtype)
    value = random_values(dtype, width, rng)
    mask = random_mask(width, rng) if masked else np.ones((CASES, width), bool)
    options = {"action_mask_key": "mask"} if masked else {}
    module = QValueModule(space, var_nums=sizes if space.startswith("mult") else None, **options)
    got = module(value, *([torch.from_numpy(mask)] if masked else []))

    rows = zip(in_float64(value).tolist(), mask.tolist(), strict=True)
    decided = [actions.decide(space, sizes, row, legal, float(floor)) for row, legal in rows]
    action, written, chosen = (np.array(column) for column in zip(*decided, strict=True))
    np.testing.assert_array_equal(got[0].numpy(), action)
    np.testing.assert_array_equal(in_float64(got[1]), written)
    assert got[2].dtype is dtype
    finite = np.where(np.isfinite(written) & (np.abs(written) < 1e4), np.abs(written), 0).sum(-1)
    assert_equal_up_to_rounding(in_float64(got[2])[:, 0], chosen, finite, dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_greedy_and_the_double_selection_equal_the_oracle_under_broadcast_masks(dtype):
    rng = np.random.default_rng(7)
    value = random_values(dtype, 6, rng, count=MANY).view(100, -1, 6)
    mask = torch.from_numpy(random_mask(6, rng, 100)).unsqueeze(1)  # [100, 1, 6]
    rows, legal = (x.reshape(MANY, 6).tolist() for x in (value.double(), mask.expand_as(value)))
    expected = np.array([actions.best(row, ok) for row, ok in zip(rows, legal, strict=True)])
    np.testing.assert_array_equal(greedy(value, mask).flatten().numpy(), expected)
    evaluated = torch.arange(MANY * 6, dtype=torch.float64).view(100, -1, 6)
    picked = evaluated.view(MANY, 6).numpy()[np.arange(MANY), expected]
    np.testing.assert_array_equal(selected_value(evaluated, value, mask).flatten().numpy(), picked)
    np.testing.assert_array_equal(take(evaluated.unsqueeze(-1), greedy(value, mask)).flatten().numpy(), picked)


@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float32, 2e-5), (torch.float64, 1e-12)])
def test_the_soft_policy_and_its_value_equal_the_oracle(dtype, accuracy):
    rng = np.random.default_rng(3)
    value = random_values(dtype, 5, rng, strange=False, count=MANY)
    mask = random_mask(5, rng, MANY)
    mask[np.arange(MANY), rng.integers(5, size=MANY)] = True
    temperature = 0.7
    policy = soft(value, temperature, torch.from_numpy(mask))
    got_value = soft_value(value, temperature, torch.from_numpy(mask))
    rows = in_float64(value)
    expected = [actions.boltzmann(row, temperature, ok) for row, ok in zip(rows, mask, strict=True)]
    prob, log_prob = (np.array(column) for column in zip(*expected, strict=True))
    np.testing.assert_allclose(in_float64(policy.prob), prob, atol=accuracy)
    np.testing.assert_allclose(in_float64(policy.log_prob), log_prob, rtol=accuracy, atol=accuracy)
    entropic = (prob * (rows - temperature * log_prob)).sum(-1)
    np.testing.assert_allclose(in_float64(got_value), entropic, rtol=accuracy, atol=accuracy)


def test_an_illegal_value_has_no_part_in_the_soft_policy_whatever_it_is():
    for strange in (np.nan, np.inf, -np.inf, 1e30):
        value, mask = torch.tensor([1.0, strange, 3.0]), torch.tensor([True, False, True])
        expected = actions.boltzmann([1.0, 0.0, 3.0], 0.5, [True, False, True])
        assert soft(value, 0.5, mask).prob.tolist() == pytest.approx(expected[0], rel=1e-5)
        assert soft_value(value, 0.5, mask).item() == pytest.approx(3.0 + 0.5 * np.log1p(np.exp(-4.0)), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("per_component", [False, True])
@pytest.mark.parametrize("space", SPACES)
def test_a_distributional_module_decides_by_expected_values(space, per_component, dtype):
    if per_component and space in ("categorical", "one-hot"):
        per_component = False
    rng = np.random.default_rng(11)
    sizes, width, atoms = SPACES[space], sum(SPACES[space]), 7
    spans = actions.components((1,) * width if space == "binary" else sizes)
    support = rng.normal(0, 3, (len(spans), atoms)) if per_component else np.linspace(-3, 3, atoms)
    logits = rng.normal(0, 2, (CASES, atoms, width))
    ties = rng.random(CASES) < 0.3
    logits[ties] = logits[ties][:, :, :1]  # all actions alike
    log_probs = torch.from_numpy(logits).log_softmax(-2).to(dtype)
    mask = random_mask(width, rng)
    joint = space.startswith("mult")
    module = DistributionalQValueModule(
        space, torch.from_numpy(support).to(dtype), action_mask_key="mask",
        out_keys=["action", "action_value", "chosen_action_value"], var_nums=sizes if joint else None,
    )  # fmt: skip
    action, written, chosen = module(log_probs, torch.from_numpy(mask))

    per_action = np.concatenate([
        np.tile(support[d] if per_component else support, (end - start, 1)) for d, (start, end) in enumerate(spans)
    ])  # fmt: skip
    expected = np.einsum("bna,an->ba", np.exp(laws.log_softmax(np.moveaxis(logits, -2, -1))).swapaxes(1, 2), per_action)
    floor = float(lowest(dtype))
    decided = [actions.decide(space, sizes, expected[i].tolist(), mask[i].tolist(), floor) for i in range(CASES)]
    margin = 1e-4 if dtype is torch.float32 else 1e-10
    clear = np.array([_is_clear(space, spans, expected[i], mask[i], margin) for i in range(CASES)])
    wanted = np.array([row[0] for row in decided])
    assert clear.mean() > 0.2
    np.testing.assert_array_equal(action.numpy()[clear], wanted[clear])
    np.testing.assert_allclose(in_float64(chosen)[:, 0], [row[2] for row in decided], rtol=margin, atol=margin)
    lifted = np.broadcast_to(mask[:, None, :], written.shape)
    assert (written.numpy()[~lifted] == torch.finfo(dtype).min).all()
    np.testing.assert_array_equal(written.numpy()[lifted], log_probs.numpy()[lifted])


def _is_clear(space, spans, expected, legal, margin):
    """Whether no rounding can change the choice: the two best legal values of every component lie apart."""
    if space == "binary":
        return (np.abs(expected) > margin).all()
    for start, end in spans:
        ranked = np.sort(expected[start:end][legal[start:end]])
        if len(ranked) > 1 and ranked[-1] - ranked[-2] <= margin:
            return False
    return True


def test_dueling_equals_the_loop():
    rng = np.random.default_rng(5)
    state, advantage = rng.normal(size=(CASES, 3)), rng.normal(size=(CASES, 4, 3))
    expected = np.empty_like(advantage)
    for a in range(4):
        expected[:, a] = state + advantage[:, a] - sum(advantage[:, other] for other in range(4)) / 4
    got = dueling(torch.from_numpy(state), torch.from_numpy(advantage))
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-12)
