"""The sum tree against a running sum over all leaves."""

import numpy as np
import pytest

from qframe.data.replay import SumTree


@pytest.mark.parametrize("capacity", [1, 2, 15, 16, 17, 1000, 65_536, 65_537, 70_000])
def test_find_agrees_with_a_running_sum(capacity):
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


def test_find_at_the_borders_between_leaves():
    tree = SumTree(5)
    tree.set(np.arange(5), np.array([1.0, 0.0, 2.0, 0.0, 0.0]))
    assert tree.find(np.array([0.0, 0.999, 1.0, 2.999, 3.0, 99.0])).tolist() == [0, 0, 2, 2, 2, 2]


def test_a_zero_leaf_is_never_found_whatever_rounding_does():
    rng = np.random.default_rng(0)
    for capacity in (33, 1025, 5000, 70_000):
        filled = rng.permutation(capacity)[: capacity // 3]
        tree = SumTree(capacity)
        tree.set(filled, 10.0 ** rng.uniform(-300, 3, size=len(filled)))
        mass = np.concatenate([rng.random(2000), 10.0 ** rng.uniform(-300, 0, 2000), [0.0, 1.0]]) * tree.total
        mass = np.concatenate([mass, np.nextafter(mass, 0.0)])
        assert (tree.get(tree.find(mass)) > 0).all()


def test_one_leaf_of_the_smallest_number_is_found():
    tree = SumTree(100)
    tree.set(np.array([70]), np.array([5e-324]))
    assert tree.find(np.array([0.0, 5e-324])).tolist() == [70, 70]


def test_repeated_indices_take_the_last_value():
    tree = SumTree(4)
    tree.set(np.array([2, 2, 2]), np.array([5.0, 7.0, 1.0]))
    assert tree.total == 1.0


def test_a_leaf_set_back_to_zero_is_gone_without_a_trace():
    tree = SumTree(2000)
    tree.set(np.array([3, 1999]), np.array([0.1, 0.3]))
    tree.set(np.array([1999]), np.array([1e30]))
    tree.set(np.array([1999]), np.array([0.0]))
    assert tree.total == 0.1


def test_the_order_of_updates_leaves_no_trace():
    value = np.random.default_rng(1).random(3000)
    at_once, one_by_one = SumTree(3000), SumTree(3000)
    at_once.set(np.arange(3000), value)
    for i in reversed(range(3000)):
        one_by_one.set(np.array([i]), value[[i]])
    assert at_once.total == one_by_one.total
    mass = np.linspace(0, at_once.total, 500)
    assert np.array_equal(at_once.find(mass), one_by_one.find(mass))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1e-9])
def test_values_that_are_no_mass_raise_and_change_nothing(wrong):
    tree = SumTree(4)
    tree.set(np.array([0]), np.array([2.0]))
    with pytest.raises(ValueError, match="expected finite values of at least 0, got"):
        tree.set(np.array([0, 1]), np.array([1.0, wrong]))
    assert tree.total == 2.0


@pytest.mark.parametrize("wrong", [-1, 4])
def test_leaves_that_are_not_there_raise(wrong):
    with pytest.raises(IndexError, match="expected leaves in 0 … 3, got"):
        SumTree(4).set(np.array([wrong]), np.array([1.0]))


def test_nothing_can_be_found_among_zeros():
    with pytest.raises(RuntimeError, match="expected a leaf greater than 0 to find, got none"):
        SumTree(4).find(np.array([0.0]))


def test_a_tree_without_leaves_raises():
    with pytest.raises(ValueError, match="expected a capacity of at least 1, got 0"):
        SumTree(0)


def test_setting_no_leaves_is_no_change():
    tree = SumTree(4)
    tree.set(np.array([], np.int64), np.array([]))
    assert tree.total == 0.0
