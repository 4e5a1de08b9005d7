"""Numbers of any type that environments return: their value is kept, or the fault is reported."""

from fractions import Fraction
from types import MappingProxyType

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import register
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from qframe.envs import GymnasiumEnvs
from qframe.envs.observations import own_copy
from qframe.envs.protocol import FaultyEnvironment
from tests.runners import make_runner


class Given(gym.Env):
    """Gives the observations of a list one by one, and 1 a step; an episode takes four steps."""

    action_space = spaces.Discrete(2)

    def __init__(self, space, seen, rewards=(1.0,) * 4):
        self.observation_space, self.seen, self.rewards, self.at = space, seen, rewards, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return self.seen[0], {}

    def step(self, action):
        self.at += 1
        return self.seen[self.at % len(self.seen)], self.rewards[self.at - 1], self.at == 4, False, {}


def played(space, seen, rewards=(1.0,) * 4, **options):
    """The first observation and four steps of one environment."""
    gym.registry.pop("Given-v0", None)
    register("Given-v0", lambda: Given(space, seen, rewards))
    made = GymnasiumEnvs("Given-v0", num_envs=1, vectorization="sync", **options).make(0)
    start = made.reset()
    return start, [made.step(np.zeros(1, np.int64)) for _ in range(4)], made


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint8, np.bool_])
def test_integers_are_rescaled_to_fractions(dtype):
    high = 1 if dtype is np.bool_ else 100
    values = [np.full(2, value, dtype) for value in (0, high, high // 4)]
    start, steps, _ = played(spaces.Box(0, high, (2,), dtype), values, rescale_observation=True)
    np.testing.assert_allclose(start.observation, [[-1, -1]])
    np.testing.assert_allclose(steps[0].next_observation, [[1, 1]], rtol=1e-6)
    np.testing.assert_allclose(steps[1].next_observation, [[2 * (high // 4) / high - 1] * 2], rtol=1e-6)


@pytest.mark.parametrize("bounds", [(np.array([0, 1]), np.array([1, 1])), (np.full(2, -3e38), np.full(2, 3e38))])
def test_bounds_that_define_no_scale_are_refused(bounds):
    low, high = (bound.astype(np.float32) for bound in bounds)
    with pytest.raises(ValueError, match="cannot rescale the observations of .*: bounds are equal or too far apart"):
        played(spaces.Box(low, high), [low], rescale_observation=True)


NESTED = spaces.Dict({"at": spaces.Box(-9, 9, (1,)), "two": spaces.Tuple([spaces.Discrete(2), spaces.MultiBinary(2)])})


@pytest.mark.parametrize("kind", [dict, MappingProxyType])
def test_only_numbers_of_the_space_truncate_an_episode(kind):
    seen = [kind({"at": [0.5], "two": [True, (0, 1)], "note": float("nan")})]
    _, steps, made = played(NESTED, seen, nonfinite="skip")
    assert [float(step.reward[0]) for step in steps] == [1.0] * 4
    assert made.faults()["skipped"] == 0
    np.testing.assert_array_equal(steps[0].next_observation["two"]["1"], [[0, 1]])


def test_numbers_too_large_for_32_bits_truncate_an_episode():
    space, sound = spaces.Box(-np.inf, np.inf, (2,), np.float64), np.zeros(2)
    _, steps, made = played(space, [sound], (1.0, 1e300, 1.0, 1.0), nonfinite="skip")
    assert [bool(step.truncated[0]) for step in steps] == [False, True, False, True]  # it is the second of each episode
    assert made.faults()["skipped"] == 2
    _, steps, made = played(space, [sound, sound, np.full(2, 1e300)], nonfinite="skip")
    assert [bool(step.truncated[0]) for step in steps] == [False, True, False, True]
    np.testing.assert_array_equal(steps[1].next_observation, [[0, 0]])


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_reward_too_large_for_32_bits_is_reported_as_it_was():
    with pytest.raises(FaultyEnvironment, match=r"the reward is 1e\+300, which no 32-bit float holds; correct it"):
        played(spaces.Box(-1, 1, (1,)), [np.zeros(1, np.float32)], (1e300,))


def test_a_reward_may_be_any_real_number():
    _, steps, _ = played(spaces.Discrete(2), [0], (Fraction(1, 2), np.int8(3), True, np.float16(0.5)))
    assert [float(step.reward[0]) for step in steps] == [0.5, 3.0, 1.0, 0.5]


def test_discrete_values_of_narrow_types_reach_their_maximum():
    space = spaces.MultiDiscrete([28, 3], dtype=np.int8, start=[100, 0])
    _, steps, _ = played(space, [np.array([127, 2], np.int8)])
    np.testing.assert_array_equal(steps[0].next_observation, [[127, 2]])
    with pytest.raises(FaultyEnvironment, match=r"is not in .*: \[99, 0\]"):
        played(space, [np.array([99, 0], np.int8)])


@pytest.mark.parametrize("dtype", [">i2", ">i4", ">i8", ">f4"])
def test_another_byte_order_is_converted(dtype):
    copied = own_copy(np.array([1, -300], dtype))
    assert copied.dtype.isnative
    np.testing.assert_array_equal(copied, [1, -300])


class NativeOnes(VectorEnv):
    """Truncates its episodes after two steps, by ``mode``; its last and next observations are given."""

    def __init__(self, num_envs, mode=AutoresetMode.SAME_STEP, last=0.0, first=0.0, terminates=False, grouped=False):
        self.metadata = {"autoreset_mode": mode}
        self.num_envs, self.last, self.first, self.terminates, self.grouped = num_envs, last, first, terminates, grouped
        parts = {"at": spaces.Box(-1, 1, (1,)), "choice": spaces.Discrete(2)}
        self.single_observation_space = spaces.Dict(parts) if grouped else parts["at"]
        self.single_action_space = spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def look(self, value):
        at = np.full((self.num_envs, 1), value, np.float32)
        return {"choice": np.ones(self.num_envs, np.int64), "at": at} if self.grouped else at

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return self.look(0), {}

    def step(self, actions):
        self.steps += 1
        ends = np.full(self.num_envs, self.steps % 2 == 0)
        last = [np.full(1, self.last, np.float32) for _ in range(self.num_envs)]
        info = {"final_obs": np.array([*last, None], object)[:-1]} if ends[0] else {}
        seen = self.look(self.first if ends[0] else 0)
        return seen, np.ones(self.num_envs), ends & self.terminates, ends & (not self.terminates), info


def native(**kwargs):
    space = NativeOnes(1, **kwargs).single_observation_space
    name = "NativeOnes-v0"
    gym.registry.pop(name, None)
    seen = {"at": np.zeros(1, np.float32), "choice": 0} if kwargs.get("grouped") else np.zeros(1, np.float32)
    register(name, lambda **_: Given(space, [seen]), vector_entry_point=NativeOnes)
    envs = GymnasiumEnvs(name, num_envs=2, vectorization="native", kwargs=kwargs).make(0)
    envs.reset()
    return [envs.step(np.zeros(2, np.int64)) for _ in range(3)]


def test_a_native_environments_last_observation_counts_unless_it_terminated():
    with pytest.raises(FaultyEnvironment, match="environment 0: observation holds nan"):
        native(last=np.nan)
    assert np.isnan(native(last=np.nan, terminates=True)[1].next_observation).all()


@pytest.mark.parametrize("terminates", [False, True])
def test_a_native_environments_first_observation_always_counts(terminates):
    with pytest.raises(FaultyEnvironment, match="environment 0: observation holds nan"):
        native(first=np.nan, terminates=terminates)


def test_entries_of_a_native_environment_are_found_by_key():
    steps = native(grouped=True, mode=AutoresetMode.NEXT_STEP)
    np.testing.assert_array_equal(steps[0].next_observation["choice"], [1, 1])


def test_bits_can_be_normalised(tmp_path):
    space = spaces.Box(0, 1, (3,), np.bool_)
    gym.registry.pop("Bits-v0", None)
    register("Bits-v0", lambda: Given(space, [np.array([0, 1, 1], bool), np.array([1, 1, 0], bool)]))
    runner = make_runner(tmp_path, "Bits-v0", normalize_observation=True, total_frames=200)
    assert np.isfinite(runner.run()["eval_return_mean"])


class MaskedOnes(Given):
    """A mask that follows from what is seen, and allows nothing where that is no number."""

    def mask(self):
        return {"action_mask": np.array([self.seen[self.at][0] > 0, self.seen[self.at][0] <= 0], np.int8)}

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], self.mask()

    def step(self, action):
        return (*super().step(action)[:4], self.mask())


def test_a_truncated_step_keeps_the_mask_of_the_last_finite_observation():
    seen = [np.full(1, value, np.float32) for value in (-1, 1, np.nan, 1, 1)]
    gym.registry.pop("MaskedOnes-v0", None)
    register("MaskedOnes-v0", lambda: MaskedOnes(spaces.Box(-1, 1, (1,)), seen))
    made = GymnasiumEnvs("MaskedOnes-v0", num_envs=1, vectorization="sync", nonfinite="skip").make(0)
    assert made.reset().mask.tolist() == [[False, True]]
    assert made.step(np.ones(1, np.int64)).mask.tolist() == [[True, False]]
    step = made.step(np.zeros(1, np.int64))
    assert step.truncated.all()
    assert (step.next_mask.tolist(), step.mask.tolist()) == ([[True, False]], [[False, True]])
