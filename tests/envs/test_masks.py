"""Action masks: every convention and layout, and the messages about faulty ones."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from qframe.actions.gymnasium_spaces import choices
from qframe.envs import ActionMasks, FaultyEnvironment, GymnasiumEnvs, SeededEpisodes, SelfResettingEpisodes
from qframe.envs.masks import checked_mask, flat_mask

LEGAL = "qframe-test/Legal-v0"
MATRIX = spaces.MultiDiscrete([[2, 3], [1, 2]])


def envs_of(num_envs=2, vectorization="sync", mask_key=None, **kwargs):
    return GymnasiumEnvs(LEGAL, num_envs=num_envs, vectorization=vectorization, mask_key=mask_key, kwargs=kwargs)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, np.float32])
def test_booleans_and_zeros_and_ones_of_any_type_are_one_mask(dtype):
    mask = flat_mask(np.array([1, 0, 1], dtype), spaces.Discrete(3, start=7))
    assert (mask.tolist(), mask.dtype) == ([True, False, True], np.bool_)
    assert flat_mask([True, False, True], spaces.Discrete(3)).tolist() == [True, False, True]


@pytest.mark.parametrize(
    "mask",
    [
        np.array([0, 1, 1, 0, 1, 1, 0, 1]),
        (np.array([0, 1]), np.array([1, 0, 1]), np.array([1]), np.array([0, 1])),
        ((np.array([0, 1]), np.array([1, 0, 1])), (np.array([1]), np.array([0, 1]))),
        [[0, 1, 1, 0, 1], [1, 0, 1]],
        np.array([np.array([0, 1, 1, 0, 1]), np.array([1, 0, 1])], dtype=object),
    ],
)
def test_every_nesting_of_a_matrix_of_branches_is_flattened_in_order(mask):
    assert flat_mask(mask, MATRIX).astype(int).tolist() == [0, 1, 1, 0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    ("mask", "flat"),
    [
        ([True, False, False, True, True, True], [1, 0, 0, 1, 1, 1]),
        (np.array([[1, 0], [0, 1], [1, 1]]), [1, 0, 0, 1, 1, 1]),
        (np.array([0, 1, 2], np.int8), [1, 0, 0, 1, 1, 1]),
    ],
)
def test_bits_are_masked_by_value_or_as_gymnasium_samples(mask, flat):
    assert flat_mask(mask, spaces.MultiBinary(3)).astype(int).tolist() == flat


def test_a_mask_of_bits_allows_what_gymnasium_samples():
    space, mask = spaces.MultiBinary(6, seed=0), np.array([0, 1, 2, 2, 0, 1], np.int8)
    legal = flat_mask(mask, space).reshape(6, 2)
    drawn = np.stack([space.sample(mask=mask) for _ in range(200)])
    np.testing.assert_array_equal(legal, np.stack([(drawn == 0).any(0), (drawn == 1).any(0)], -1))


@pytest.mark.parametrize(
    ("mask", "space", "message"),
    [
        (np.ones(4), spaces.Discrete(3), r"an action mask for Discrete\(3\) needs 3 entries, but has 4"),
        (np.ones((1, 3)), spaces.Discrete(3), "needs 3 entries, but has 3 in 2 dimensions"),
        ([], spaces.Discrete(3), "needs 3 entries"),
        (True, spaces.Discrete(1), "needs 1 entries"),
        (np.array([1, 0, 2]), spaces.Discrete(3), r"the action mask holds 2 \(int64\); give booleans"),
        (np.array([1, np.nan, 0.5]), spaces.Discrete(3), r"the action mask holds nan, 0.5 \(float64\)"),
        ("abc", spaces.Discrete(3), "the action mask is of type <U3"),
        ({"a": 1}, spaces.Discrete(3), "the action mask is of type dict"),
        ((np.ones(3), np.ones(2)), spaces.MultiDiscrete([2, 3]), r"5 entries, or rows of sizes \[2, 3\]"),
        (np.ones((2, 3)), spaces.MultiDiscrete([2, 3]), r"but has rows of sizes \[3, 3\]"),
        (np.ones((2, 3)), spaces.MultiDiscrete([2, 4]), r"but has rows of sizes \[3, 3\]"),
        (np.ones(4), spaces.MultiBinary(3), "needs 6 entries, .* but has 4"),
        (np.array([True, False, True]), spaces.MultiBinary(3), "3 bits must hold 0, 1 or 2 .* holds booleans"),
        (np.array([0, 1, 3]), spaces.MultiBinary(3), r"holds 3 \(int64\); or give 6 booleans"),
    ],
)
def test_another_shape_or_type_is_refused(mask, space, message):
    with pytest.raises(ValueError, match=message):
        flat_mask(mask, space)


def test_no_legal_action_is_a_fault_while_the_episode_runs_and_its_branch_is_named():
    space = spaces.MultiDiscrete([2, 2])
    mask, fault, _ = checked_mask([1, 0, 0, 0], space, is_over=False)
    assert "the action mask allows no action in branch 1; end the episode" in fault
    mask, fault, _ = checked_mask([1, 0, 0, 0], space, is_over=True)
    assert (mask.tolist(), fault) == ([True, False, True, True], None)
    assert checked_mask(None, space, is_over=True).mask.all()
    assert "the action mask is missing" in checked_mask(None, space, is_over=False).fault


def test_other_action_spaces_have_no_branches():
    assert choices(spaces.Box(0, 1)) == ((), ())


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("space", ["discrete", "multidiscrete", "multibinary"])
def test_the_three_conventions_give_identical_transitions(space, vectorization):
    played = []
    for convention, key in (("info", None), ("key", "legal"), ("method", None)):
        envs = envs_of(vectorization=vectorization, mask_key=key, convention=convention, space=space)
        assert envs.observation_space == spaces.Box(0.0, 1.0, (2,), np.float32)
        episodes = envs.make(3)
        observation, mask = episodes.reset()
        steps = []
        for _ in range(12):
            step = episodes.step(first_legal(mask, envs.action_space))
            steps.append(np.concatenate([observation, step.next_observation, mask, step.next_mask], -1))
            observation, mask = step.observation, step.mask
        episodes.close()
        played.append(np.stack(steps))
    np.testing.assert_array_equal(played[0], played[1])
    np.testing.assert_array_equal(played[0], played[2])


def first_legal(mask, space):
    """The first legal action of every environment, as the environment takes it."""
    stops = np.cumsum(choices(space)[0])[:-1]
    index = np.stack([part.argmax(-1) for part in np.split(mask, stops, axis=-1)], -1)
    return index[:, 0] + space.start if isinstance(space, spaces.Discrete) else index


def test_the_new_episode_has_its_own_mask_and_the_others_keep_theirs():
    episodes = envs_of(num_envs=3).make(0)
    mask = episodes.reset().mask
    for number in range(1, 11):
        step = episodes.step(mask.argmax(-1) + 2)
        mask = step.mask
        over = number % 5 == 0
        assert step.truncated.all() == over
        assert (step.mask is step.next_mask) == (not over)
    alone = gym.make(LEGAL)
    assert mask[1].tolist() == alone.reset(seed=episodes._seed_of(1, 2))[1]["action_mask"].tolist()


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("all_false", "environment 0: the action mask allows no action; end the episode"),
        ("short", "environment 0: an action mask for .* needs 5 entries, .*but has 4"),
        ("not_a_number", "environment 0: the action mask holds nan, nan, nan"),
        ("float", "holds 0.5, 0.5, 0.5"),
        ("two", "holds 2, 2, 2"),
        ("text", "is of type <U3"),
    ],
)
def test_a_faulty_mask_names_its_environment(fault, message, vectorization):
    episodes = envs_of(vectorization=vectorization, fault=fault, fault_at=3).make(0)
    mask = episodes.reset().mask
    for _ in range(2):
        mask = episodes.step(mask.argmax(-1) + 2).mask
    with pytest.raises(FaultyEnvironment, match=message):
        episodes.step(mask.argmax(-1) + 2)
    episodes.close()


def test_only_the_environment_at_fault_is_named():
    def make(fault_at):
        return lambda: ActionMasks(gym.make(LEGAL, fault="all_false", fault_at=fault_at))

    envs = SyncVectorEnv([make(9), make(9), make(2)], autoreset_mode=AutoresetMode.DISABLED)
    episodes = SeededEpisodes(envs, lambda i, e: i, has_masks=True)
    mask = episodes.reset().mask
    mask = episodes.step(mask.argmax(-1) + 2).mask
    with pytest.raises(FaultyEnvironment, match="environment 2: the action mask allows no action"):
        episodes.step(mask.argmax(-1) + 2)


def test_masks_that_start_after_the_first_reset_are_refused():
    episodes = envs_of(late=True).make(0)
    assert episodes.reset().mask is None
    with pytest.raises(FaultyEnvironment, match="first reset gave no action mask, but a later step did; return"):
        episodes.step(np.array([2, 2]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_key": "mask", "convention": "key"}, "'mask' must name one of several .*, but this one has the keys"),
        ({"mask_key": "legal"}, r"mask_key='legal' must .*, but this one is Box\("),
        ({"fault": "short", "fault_at": 0}, "Legal-v0: an action mask for .* needs 5 entries"),
        ({"fault": "all_false", "fault_at": 0}, "Legal-v0: the action mask allows no action"),
    ],
)
def test_masks_that_cannot_be_read_are_refused_before_training(options, message):
    with pytest.raises(ValueError, match=message):
        envs_of(**options)


def test_a_mask_in_the_observation_is_not_trained_on():
    class Shown(gym.Env):
        observation_space = spaces.Dict({"observation": spaces.Discrete(2), "action_mask": spaces.MultiBinary(2)})
        action_space = spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return {"observation": 0, "action_mask": np.ones(2, np.int8)}, {}

        def step(self, action):
            return self.reset()[0], 0.0, False, False, {}

    gym.register("qframe-test/Shown-v0", entry_point=Shown)
    try:
        with pytest.raises(ValueError, match="is null; set env.mask_key=action_mask"):
            GymnasiumEnvs("qframe-test/Shown-v0", num_envs=1, vectorization="sync")
        envs = GymnasiumEnvs("qframe-test/Shown-v0", num_envs=1, vectorization="sync", mask_key="action_mask")
        assert (envs.observation_space, envs.has_masks) == (spaces.Discrete(2), True)
    finally:
        gym.registry.pop("qframe-test/Shown-v0")


def test_a_mask_of_unsupported_actions_is_left_to_their_refusal():
    class Continuous(gym.Env):
        observation_space, action_space = spaces.Discrete(2), spaces.Box(0, 1)

        def reset(self, *, seed=None, options=None):
            return 0, {"action_mask": np.ones(3)}

        def step(self, action):
            return 0, 0.0, False, False, {}

    gym.register("qframe-test/Continuous-v0", entry_point=Continuous)
    try:
        assert not GymnasiumEnvs("qframe-test/Continuous-v0", num_envs=1, vectorization="sync").has_masks
    finally:
        gym.registry.pop("qframe-test/Continuous-v0")


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("space", ["discrete", "multibinary"])
def test_self_resetting_environments_carry_masks(mode, space):
    envs = SyncVectorEnv([lambda: gym.make(LEGAL, space=space)] * 3, autoreset_mode=mode)
    episodes = SelfResettingEpisodes(envs, lambda count: 5, has_masks=True)
    mask, ended = episodes.reset().mask, 0
    for _ in range(20):
        legal = [env.unwrapped.mask.tolist() for env in envs.envs]
        assert mask.tolist() == legal
        step = episodes.step(first_legal(mask, envs.single_action_space))
        done = step.terminated | step.truncated
        ended += done.sum()
        if mode == AutoresetMode.SAME_STEP:
            assert (step.mask == step.next_mask).all(-1)[~done].all()
        mask = step.mask
    assert ended >= 9


def test_a_self_resetting_environment_that_gives_no_masks_is_refused():
    envs = SyncVectorEnv([lambda: gym.make("qframe-test/Counter-v0")] * 2, autoreset_mode=AutoresetMode.NEXT_STEP)
    episodes = SelfResettingEpisodes(envs, lambda count: 0, has_masks=True)
    with pytest.raises(FaultyEnvironment, match="environment 0: the action mask is missing; .* use env.vec"):
        episodes.reset()
