import pytest
import torch
from tensordict import TensorDict

import qframe.actions as data
from qframe.actions import Binary, Bounded, Categorical, Composite, MultiCategorical, MultiOneHot, OneHot, Unbounded
from qframe.actions.action_space import ActionSpace, canonical_name
from qframe.actions.from_spec import find_action_space

SPECS = [
    Categorical(3), OneHot(3), MultiCategorical([2, 3]), MultiOneHot([2, 3]), Binary(3),
    Bounded(-1.0, 1.0, (2,)), Bounded(0, 3, (2,), torch.int64), Unbounded((2,)), Unbounded((2,), torch.int32),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_random_entries_have_the_shape_and_dtype_and_are_in_the_domain(spec):
    value = spec.rand((4, 2), generator=torch.Generator().manual_seed(0))
    assert value.shape == (4, 2, *spec.shape)
    assert value.dtype == spec.dtype == spec.zero().dtype
    assert spec.is_in(value)
    assert torch.equal(value, spec.rand((4, 2), generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_projection_leaves_entries_of_the_domain_alone_and_is_deterministic(spec):
    value = spec.rand((50,), generator=torch.Generator().manual_seed(1))
    assert torch.equal(spec.project(value), value)
    strange = torch.randn(50, *spec.shape, generator=torch.Generator().manual_seed(2)) * 10
    assert spec.is_in(spec.project(strange))
    assert torch.equal(spec.project(strange), spec.project(strange))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_specs_work_on_the_meta_device(spec):
    spec = spec.to("meta")
    assert spec.rand((4,)).is_meta
    assert spec.zero((4,)).is_meta
    assert spec.project(torch.zeros(4, *spec.shape, device="meta")).is_meta


@pytest.mark.parametrize(
    ("spec", "outside"),
    [
        (Categorical(3), torch.tensor([3])),
        (Categorical(3), torch.tensor([-1])),
        (Categorical(3), torch.tensor([1.0])),
        (OneHot(3), torch.tensor([0, 0, 0])),
        (OneHot(3), torch.tensor([1, 1, 0])),
        (OneHot(3), torch.tensor([0, 2, -1])),
        (OneHot(3), torch.tensor([1, 0])),
        (MultiCategorical([2, 3]), torch.tensor([2, 0])),
        (MultiOneHot([2, 3]), torch.tensor([1, 0, 1, 1, 0])),
        (Binary(2), torch.tensor([0, 2])),
        (Bounded(0.0, 1.0), torch.tensor(1.5)),
        (Bounded(0.0, 1.0), torch.tensor(torch.nan)),
        (Unbounded((2,)), torch.zeros(3)),
    ],
    ids=str,
)
def test_entries_outside_the_domain_are_seen(spec, outside):
    assert not spec.is_in(outside)


def test_projections_go_to_the_nearest_entry():
    assert Categorical(3).project(torch.tensor([-5.0, 1.4, 9.0, torch.nan, torch.inf])).tolist() == [0, 1, 2, 0, 2]
    assert OneHot(3).project(torch.tensor([[2, 2, 0], [0, 0, 0]])).tolist() == [[1, 0, 0], [1, 0, 0]]
    assert MultiOneHot([2, 2]).project(torch.tensor([0, 0, 1, 1])).tolist() == [1, 0, 1, 0]
    assert Binary(3).project(torch.tensor([-3, 1, 4])).tolist() == [0, 1, 1]
    assert Bounded(-1.0, 1.0).project(torch.tensor([-2.0, torch.nan, 3.0])).tolist() == [-1, 0, 1]
    with pytest.raises(ValueError, match=r"sum\(nvec\) = 4, got shape \[3\]"):
        MultiOneHot([2, 2]).project(torch.zeros(3))


def test_sizes_are_known():
    assert (Categorical(3).num_actions, OneHot(3).num_actions, Binary(3).num_actions) == (3, 3, 3)
    assert MultiCategorical([2, 3]).var_nums == MultiOneHot([2, 3]).var_nums == (2, 3)
    assert MultiCategorical([2, 3]).num_actions == MultiOneHot([2, 3]).num_actions == 5
    assert Categorical(3).var_nums is None
    assert [spec.action_space.encoding for spec in SPECS[:5]] == [
        "categorical", "one-hot", "multi-categorical", "mult-one-hot", "binary",
    ]


@pytest.mark.parametrize("size", [0, -1, 2.5, "3", True, None])
def test_a_size_that_is_no_positive_integer_is_refused(size):
    with pytest.raises(ValueError, match="integer of at least 1"):
        Categorical(size)
    with pytest.raises(ValueError, match="integer of at least 1"):
        MultiOneHot([2, size])


def test_bounds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="low ≤ high"):
        Bounded(1.0, 0.0)


def test_specs_are_equal_by_what_they_say():
    assert Categorical(3) == Categorical(3)
    assert Categorical(3) != Categorical(4)
    assert Categorical(3) != OneHot(3)
    assert Composite(action=OneHot(2)) == Composite({"action": OneHot(2)})
    assert Bounded(0.0, 1.0, (2,)) != Bounded(0.0, 2.0, (2,))
    assert len({Categorical(3), Categorical(3), OneHot(3)}) == 2


def test_a_composite_is_nested_and_knows_its_keys():
    spec = Composite({"agent": {"action": Categorical(2)}}, observation=Unbounded((4,)), reward=None)
    assert spec["agent", "action"] == Categorical(2)
    assert ("agent", "action") in spec
    assert ("agent", "other") not in spec
    assert spec.get(("observation", "x")) is None
    assert list(spec.keys()) == ["agent", "observation", "reward"]
    with pytest.raises(KeyError, match="other"):
        spec["other"]
    value = spec.rand((3,))
    assert value["agent", "action"].shape == (3,)
    assert spec.is_in(value)
    value["agent", "action"] = torch.tensor([0, 5, 1])
    assert not spec.is_in(value)
    assert spec.project(value)["agent", "action"].tolist() == [0, 1, 1]
    assert not spec.is_in(TensorDict({}, [3]))
    assert spec.to("meta").zero((3,))["observation"].is_meta
    with pytest.raises(TypeError, match="'x', got int"):
        Composite(x=3)


def test_a_tuple_key_of_a_composite_is_an_entry_of_a_group():
    spec = Composite({("agent", "action"): Categorical(2), "agent": {"reward": None}, ("agent", "x", "y"): OneHot(3)})
    assert spec == Composite(agent={"action": Categorical(2), "reward": None, "x": {"y": OneHot(3)}})
    assert spec["agent", "x", "y"] == OneHot(3)
    assert Composite({("a", "b"): Categorical(2), "a": Composite(c=OneHot(3))})["a", "c"] == OneHot(3)
    with pytest.raises(ValueError, match="'a' is given both a spec and a group of specs"):
        Composite({"a": Categorical(2), ("a", "b"): OneHot(3)})


def test_a_composite_has_no_batch_dimensions():
    assert Composite({"action": Categorical(2)}, shape=[]) == Composite(action=Categorical(2))
    with pytest.raises(ValueError, match=r"an empty shape, got \[4\]: batch dimensions are not part of a spec"):
        Composite(shape=(4,))


def test_an_int_is_the_shape_of_a_vector():
    assert Unbounded(3) == Unbounded((3,))
    assert Bounded(-1.0, 1.0, 3).rand((2,)).shape == (2, 3)


def test_older_names_are_the_same_classes():
    pairs = {
        "OneHotDiscreteTensorSpec": OneHot, "DiscreteTensorSpec": Categorical,
        "MultiOneHotDiscreteTensorSpec": MultiOneHot, "MultiDiscreteTensorSpec": MultiCategorical,
        "BinaryDiscreteTensorSpec": Binary, "BoundedTensorSpec": Bounded,
        "UnboundedContinuousTensorSpec": Unbounded, "CompositeSpec": Composite,
    }
    assert all(getattr(data, name) is cls for name, cls in pairs.items())


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("one-hot", "one-hot"), ("one_hot", "one-hot"), ("mult_one_hot", "mult-one-hot"),
        ("multi-one-hot", "mult-one-hot"), ("multi_one_hot", "mult-one-hot"), ("binary", "binary"),
        ("categorical", "categorical"), ("multi_categorical", "multi-categorical"),
        ("multi-discrete", "multi-categorical"), ("multi_discrete", "multi-categorical"),
    ],
)
def test_names_of_action_spaces(name, canonical):
    assert canonical_name(name) == canonical


def test_an_unknown_name_lists_the_valid_ones():
    with pytest.raises(ValueError, match="one-hot, mult-one-hot, multi-categorical, binary, got 'discrete'"):
        find_action_space("discrete")


def test_a_spec_stands_wherever_a_name_does_and_fixes_the_sizes():
    class MyOneHot(MultiOneHot):
        pass

    space = ActionSpace("mult-one-hot", (2, 3))
    assert find_action_space(MultiOneHot([2, 3])) == space
    assert find_action_space(MyOneHot([2, 3])) == space
    assert find_action_space("mult_one_hot", MultiOneHot([2, 3])) == space
    assert find_action_space(Composite(action=MultiOneHot([2, 3]))) == space
    assert find_action_space(spec=Composite(a={"b": OneHot(2)}), action_key=("a", "b")) == ActionSpace("one-hot", 2)
    assert find_action_space("multi-discrete", var_nums=[2, 3]) == ActionSpace("multi-categorical", (2, 3))
    assert find_action_space("multi-discrete", MultiCategorical([2, 2]), 2) == ActionSpace("multi-categorical", (2, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("categorical", OneHot(4)), r"'categorical' and OneHot\(4\), which is 'one-hot'"),
        ((OneHot(3), OneHot(4)), r"OneHot\(3\) and OneHot\(4\)"),
        (("mult-one-hot", MultiOneHot([2, 3]), [3, 2]), r"\(3, 2\) and MultiOneHot\(\[2, 3\]\)"),
        (("mult-one-hot",), "mult-one-hot needs var_nums"),
        (("mult-one-hot", None, []), "at least one component"),
        (("mult-one-hot", None, [2, 0]), "integer of at least 1"),
        (("categorical", None, 3), "got 3 with categorical"),
        ((Bounded(0.0, 1.0),), "expected the spec of a discrete action"),
        ((Composite(other=OneHot(3)),), "under 'action'"),
        ((), "or a spec, got None"),
    ],
)
def test_disagreements_name_both_sides(arguments, message):
    with pytest.raises(ValueError, match=message):
        find_action_space(*arguments)
