"""The sum tree, in NumPy and native, against a running sum over all leaves."""

import copy
import pickle

import numpy as np
import pytest

from qframe.machine import native_code
from qframe.replay import sum_tree as module
from qframe.replay.sum_tree import NativeSumTree, sum_tree


@pytest.fixture(params=["numpy", "native"])
def SumTree(request):
    return module.SumTree if request.param == "numpy" else sum_tree


@pytest.mark.parametrize("capacity", [1, 2, 15, 16, 17, 1000, 65_536, 65_537, 70_000])
def test_find_agrees_with_a_running_sum(SumTree, capacity):
    rng = np.random.default_rng(capacity)
    tree, leaves = SumTree(capacity), np.zeros(capacity)
    for _ in range(20):
        index = rng.integers(capacity, size=64)
        value = rng.integers(8, size=64).astype(float)  # small integers add up exactly
        tree.set(index, value)
        for i, v in zip(index, value, strict=True):
            leaves[i] = v
        assert np.array_equal(tree.get(np.arange(capacity)), leaves)
        assert tree.total == leaves.sum()
        if leaves.sum():
            mass = rng.random(50) * leaves.sum()
            assert np.array_equal(tree.find(mass), leaves.cumsum().searchsorted(mass, side="right"))


def test_find_at_the_borders_between_leaves(SumTree):
    tree = SumTree(5)
    tree.set(np.arange(5), np.array([1.0, 0.0, 2.0, 0.0, 0.0]))
    assert tree.find(np.array([0.0, 0.999, 1.0, 2.999, 3.0, 99.0])).tolist() == [0, 0, 2, 2, 2, 2]


def test_a_zero_leaf_is_never_found_whatever_rounding_does(SumTree):
    rng = np.random.default_rng(0)
    for capacity in (33, 1025, 5000, 70_000):
        filled = rng.permutation(capacity)[: capacity // 3]
        tree = SumTree(capacity)
        tree.set(filled, 10.0 ** rng.uniform(-300, 3, size=len(filled)))
        mass = np.concatenate([rng.random(2000), 10.0 ** rng.uniform(-300, 0, 2000), [0.0, 1.0]]) * tree.total
        mass = np.concatenate([mass, np.nextafter(mass, 0.0)])
        assert (tree.get(tree.find(mass)) > 0).all()


def test_one_leaf_of_the_smallest_number_is_found(SumTree):
    tree = SumTree(100)
    tree.set(np.array([70]), np.array([5e-324]))
    assert tree.find(np.array([0.0, 5e-324])).tolist() == [70, 70]


def test_repeated_indices_take_the_last_value(SumTree):
    tree = SumTree(4)
    tree.set(np.array([2, 2, 2]), np.array([5.0, 7.0, 1.0]))
    assert tree.total == 1.0


def test_a_leaf_set_back_to_zero_is_gone_without_a_trace(SumTree):
    tree = SumTree(2000)
    tree.set(np.array([3, 1999]), np.array([0.1, 0.3]))
    tree.set(np.array([1999]), np.array([1e30]))
    tree.set(np.array([1999]), np.array([0.0]))
    assert tree.total == 0.1


def test_the_order_of_updates_leaves_no_trace(SumTree):
    value = np.random.default_rng(1).random(3000)
    at_once, one_by_one = SumTree(3000), SumTree(3000)
    at_once.set(np.arange(3000), value)
    for i in reversed(range(3000)):
        one_by_one.set(np.array([i]), value[[i]])
    assert at_once.total == one_by_one.total
    mass = np.linspace(0, at_once.total, 500)
    assert np.array_equal(at_once.find(mass), one_by_one.find(mass))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1e-9])
def test_values_that_are_no_mass_raise_and_change_nothing(SumTree, wrong):
    tree = SumTree(4)
    tree.set(np.array([0]), np.array([2.0]))
    with pytest.raises(ValueError, match="expected finite values of at least 0, got"):
        tree.set(np.array([0, 1]), np.array([1.0, wrong]))
    assert tree.total == 2.0


@pytest.mark.parametrize("wrong", [-1, 4])
def test_leaves_that_are_not_there_raise(SumTree, wrong):
    with pytest.raises(IndexError, match="expected leaves in 0 … 3, got"):
        SumTree(4).set(np.array([wrong]), np.array([1.0]))


def test_nothing_can_be_found_among_zeros(SumTree):
    with pytest.raises(RuntimeError, match="all leaves are 0, so none can be found"):
        SumTree(4).find(np.array([0.0]))


def test_a_tree_without_leaves_raises(SumTree):
    with pytest.raises(ValueError, match="expected a capacity of at least 1, got 0"):
        SumTree(0)


def test_setting_no_leaves_is_no_change(SumTree):
    tree = SumTree(4)
    tree.set(np.array([], np.int64), np.array([]))
    assert tree.total == 0.0


@pytest.mark.parametrize("capacity", [1, 300, 70_000, 1_200_000])
def test_the_native_tree_is_the_one_in_numpy_bit_for_bit(capacity):
    rng = np.random.default_rng(capacity)
    trees = module.SumTree(capacity), sum_tree(capacity)
    assert isinstance(trees[1], NativeSumTree)
    for _ in range(30):
        index, value = rng.integers(capacity, size=200), rng.random(200) ** 8 * (rng.random(200) < 0.9)
        value[-1] = 0.5
        for tree in trees:
            tree.set(index, value)
        assert trees[0].total == trees[1].total
        assert all(np.array_equal(a, b) for a, b in zip(trees[0]._above, trees[1]._above, strict=True))
        mass = np.concatenate([rng.random(500), [0.0, 1.0, 2.0]]) * trees[0].total
        assert np.array_equal(trees[0].find(mass), trees[1].find(mass))


def test_indices_and_values_of_different_lengths_never_reach_native_code(SumTree):
    with pytest.raises(ValueError, match="shape mismatch"):
        SumTree(8).set(np.arange(3), np.ones(2))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda tree: pickle.loads(pickle.dumps(tree))])
def test_a_copy_is_a_tree_of_its_own(SumTree, copied):
    tree = SumTree(5000)
    tree.set(np.arange(5000), np.arange(5000.0))
    other = copied(tree)
    other.set(np.array([7]), np.array([1e9]))
    assert (tree.total, other.total) == (12_497_500.0, 1_012_497_493.0)


def test_without_a_compiler_the_tree_is_the_one_in_numpy(monkeypatch, tmp_path):
    monkeypatch.setenv(native_code.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    module._functions.cache_clear()
    try:
        assert type(sum_tree(4)) is module.SumTree
    finally:
        module._functions.cache_clear()


def test_a_damaged_library_is_compiled_again_and_a_sound_one_taken(monkeypatch, tmp_path):
    monkeypatch.setenv(native_code.CACHE_VARIABLE, str(tmp_path))
    source = tmp_path / "one.cpp"
    source.write_text('extern "C" int one() { return 1; }')
    loaded = native_code.library(source)
    assert loaded is not None
    assert loaded.one() == 1
    (made,) = tmp_path.glob("*.so")
    damaged = bytearray(made.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    made.unlink()  # what is loaded stays as it is
    made.write_bytes(bytes(damaged))
    again = native_code.library(source)
    assert again is not None
    assert native_code.is_whole(made)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert native_code.library(source) is not None
