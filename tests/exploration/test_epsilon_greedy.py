import io
import math

import pytest
import torch
from tensordict import TensorDict

from qframe.actions import Binary, Bounded, Categorical, Composite, MultiCategorical, MultiOneHot, OneHot
from qframe.exploration import EGreedyModule, ExplorationType, ExponentialSchedule, LinearSchedule, set_exploration_type

SPACES = [Categorical(4), OneHot(4), MultiOneHot([1, 3]), MultiCategorical([2, 2]), Binary(4)]


def always(spec, **options):
    return EGreedyModule(spec, 1.0, 1.0, **options)


def test_linear_schedule_is_a_closed_form():
    schedule = LinearSchedule(1.0, 0.1, 1000)
    assert [schedule(frame) for frame in (0, 500, 999)] == pytest.approx([1.0, 0.55, 0.1009])
    assert schedule(1000) == schedule(10**9) == 0.1


def test_exponential_schedule_is_a_closed_form():
    schedule = ExponentialSchedule(1.0, 0.01, 1000)
    assert [schedule(frame) for frame in (0, 250, 500)] == pytest.approx([1.0, 10**-0.5, 0.1])
    assert schedule(1000) == schedule(10**9) == 0.01


@pytest.mark.parametrize("schedule", [LinearSchedule, ExponentialSchedule])
def test_schedules_check_their_arguments(schedule):
    for start, end, frames in ((math.nan, 0.1, 10), (1.0, math.inf, 10), (1.0, 0.1, 0)):
        with pytest.raises(ValueError, match="expected a schedule"):
            schedule(start, end, frames)
    with pytest.raises(ValueError, match="positive values, got 1.0 to 0.0"):
        ExponentialSchedule(1.0, 0.0, 10)


def test_epsilon_does_not_drift_however_frames_are_counted():
    one, many = (EGreedyModule(Categorical(2), 1.0, 0.1, 1000) for _ in range(2))
    one.step(777)
    for _ in range(111):
        many.step(7)
    assert one.epsilon == many.epsilon == LinearSchedule(1.0, 0.1, 1000)(777)
    one.step(223)
    assert one.epsilon == 0.1
    exponential = EGreedyModule(Categorical(2), 1.0, 0.01, 1000, schedule="exponential")
    exponential.step(500)
    assert exponential.epsilon == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps_init": 1.5}, r"eps_init in \[0, 1\], got 1.5"),
        ({"eps_end": -0.1}, r"eps_end in \[0, 1\], got -0.1"),
        ({"eps_end": math.nan}, "eps_end"),
        ({"annealing_num_steps": 0}, "at least 1 frame"),
        ({"schedule": "cosine"}, "one of linear, exponential, got 'cosine'"),
        ({"schedule": "exponential", "eps_end": 0.0}, "positive values"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EGreedyModule(Categorical(2), **options)


def test_a_spec_of_no_discrete_action_is_refused():
    with pytest.raises(ValueError, match="discrete action"):
        EGreedyModule(Bounded(0.0, 1.0))


def test_actions_are_replaced_with_probability_epsilon_one_draw_per_environment():
    module = EGreedyModule(OneHot(1000), 0.3, 0.3)
    greedy = OneHot(1000).zero((5000,))
    greedy[:, 0] = 1
    action = module(TensorDict({"action": greedy}, [5000]))["action"]
    assert OneHot(1000).is_in(action)
    assert (action[:, 0] == 0).float().mean().item() == pytest.approx(0.3, abs=0.03)
    index = module.explore(torch.zeros(5000, dtype=torch.int64))
    assert (index != 0).float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_epsilon_zero_never_and_one_always_explores():
    greedy = torch.full((500,), 7)
    assert torch.equal(EGreedyModule(Categorical(10**6), 0.0, 0.0).explore(greedy), greedy)
    assert not (always(Categorical(10**6)).explore(greedy) == 7).any()


@pytest.mark.parametrize("spec", SPACES, ids=str)
def test_random_actions_are_legal_and_uniform(spec):
    module = always(spec, action_mask_key="mask")
    mask = torch.tensor([True, True, False, True])
    td = TensorDict({"action": spec.zero((6000, 2)), "mask": mask.expand(6000, 2, 4)}, [6000, 2])
    action = module(td)["action"]
    assert spec.is_in(action)
    mean = action.float().mean((0, 1)).tolist()
    legal_means = {
        "categorical": (0 + 1 + 3) / 3,
        "one-hot": [1 / 3, 1 / 3, 0, 1 / 3],
        "mult-one-hot": [1, 1 / 2, 0, 1 / 2],
        "multi-categorical": [1 / 2, 1],
        "binary": [1 / 2, 1 / 2, 0, 1 / 2],
    }
    assert mean == pytest.approx(legal_means[spec.encoding], abs=0.03)


@pytest.mark.parametrize("spec", SPACES)
def test_one_state_without_batch_dimensions_gets_random_actions_of_its_shape(spec):
    module = always(spec)
    seen = [module(TensorDict({"action": spec.project(spec.zero())}, []))["action"] for _ in range(80)]
    assert all(spec.is_in(action) and action.shape == spec.shape for action in seen)
    assert {str(action) for action in seen} == {str(spec.rand()) for _ in range(500)}


def test_explore_keeps_to_legal_actions():
    mask = torch.tensor([[True, False, True], [False, True, False]]).repeat(3000, 1)
    action = always(Categorical(3)).explore(torch.zeros(6000, dtype=torch.int64), mask).reshape(3000, 2)
    assert set(action[:, 0].tolist()) == {0, 2}
    assert set(action[:, 1].tolist()) == {1}
    assert (action[:, 0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("kind", [ExplorationType.DETERMINISTIC, "mode", "mean"])
def test_the_greedy_action_is_kept_when_exploration_is_off(kind):
    module, action = always(Categorical(10**6)), torch.arange(50)
    before = module.generator.get_state()
    with set_exploration_type(kind):
        assert torch.equal(module.explore(action), action)
        assert torch.equal(module(TensorDict({"action": action}, [50]))["action"], action)
    assert torch.equal(module.generator.get_state(), before)
    with set_exploration_type(ExplorationType.RANDOM):
        assert not torch.equal(module.explore(action), action)


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_an_environment_without_a_legal_action_is_named(epsilon):
    module = EGreedyModule(Categorical(2), epsilon, epsilon, action_mask_key="mask")
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    action = torch.zeros(3, dtype=torch.int64)
    td = TensorDict({"action": action, "mask": mask}, [3])
    for run in (lambda: module.explore(action, mask), lambda: module(td)):
        with pytest.raises(RuntimeError, match="environment 2 has no legal action"):
            run()
    joint = EGreedyModule(MultiCategorical([1, 2]), action_mask_key="mask")
    with pytest.raises(RuntimeError, match="environment 0"):
        joint(torch.zeros(1, 2, dtype=torch.int64), torch.tensor([[False, True, True]]))
    with set_exploration_type("deterministic"), pytest.raises(RuntimeError, match="environment 2"):
        module.explore(action, mask)


def test_wrong_and_missing_masks():
    module = EGreedyModule(Categorical(2), action_mask_key=("agent", "mask"))
    with pytest.raises(KeyError, match="agent"):
        module(TensorDict({"action": torch.zeros(3, dtype=torch.int64)}, [3]))
    with pytest.raises(KeyError, match="'action'"):
        module(TensorDict({}, [3]))
    for run in (module, module.explore):
        with pytest.raises(TypeError, match="boolean"):
            run(torch.zeros(3, dtype=torch.int64), torch.ones(3, 2))


def test_keys_may_be_nested_and_the_spec_a_composite():
    module = always(Composite(agent={"action": OneHot(3)}), action_key=("agent", "action"))
    td = module(TensorDict({"agent": {"action": OneHot(3).zero((4,))}}, [4]))
    assert OneHot(3).is_in(td["agent", "action"])


def test_state_dict_goes_on_bit_for_bit():
    module, action = EGreedyModule(Categorical(9), 0.5, 0.5, seed=3), torch.arange(9)
    module.step(10)
    module.explore(action)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    expected = [module.explore(action) for _ in range(3)]
    file.seek(0)
    other = EGreedyModule(Categorical(9), 0.5, 0.5, seed=4)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.frames == 10
    assert all(torch.equal(a, other.explore(action)) for a in expected)


def test_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    always(Categorical(4)).explore(torch.zeros(8, dtype=torch.int64), torch.ones(8, 4, dtype=torch.bool))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("spec", SPACES, ids=str)
def test_meta_device_and_empty_batches(spec):
    module = always(spec, action_mask_key="mask")
    mask = torch.ones(2, 4, dtype=torch.bool)
    td = TensorDict({"action": spec.zero((2,)), "mask": mask}, [2])
    assert module(td.to("meta"))["action"].is_meta
    assert module(td[:0])["action"].shape == (0, *spec.shape)
    branches = {"mult-one-hot": [2], "multi-categorical": [2], "binary": [4]}.get(spec.encoding, [])
    index = torch.zeros(2, *branches, dtype=torch.int64)
    mask = torch.ones(2, 8 if spec.encoding == "binary" else 4, dtype=torch.bool)
    assert module.explore(index.to("meta"), mask.to("meta")).is_meta
    assert module.explore(index.to("meta")).is_meta
    assert module.explore(index[:0], mask[:0]).shape == (0, *branches)
