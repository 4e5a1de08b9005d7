"""From observation spaces to features, and normalisation."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict

from qframe.actions import Categorical
from qframe.heads import ScalarHead
from qframe.networks import ConvTrunk, EncodedTrunk, MLPTrunk, QNet, SharedTrunk, make_encoder
from qframe.networks.encoders import FlatEncoder, ImageEncoder
from qframe.networks.normalization import NormalizedTrunk, RunningNorm

NESTED = spaces.Dict(
    {
        "image": spaces.Box(0, 255, (9, 9, 3), np.uint8),
        "place": spaces.Discrete(4, start=-1),
        "pair": spaces.Tuple([spaces.MultiDiscrete([2, 3], start=[0, 1]), spaces.MultiBinary([2, 2])]),
        "inner": spaces.Dict({"vector": spaces.Box(-1, 1, (2, 2)), "number": spaces.Box(0, 9, (), np.int16)}),
    }
)


def batch_of(space, batch, seed=0):
    """Samples of a space ``[*batch]``, as a collector stores them."""
    space.seed(seed)

    def build(space, rows):
        if isinstance(space, spaces.Dict):
            parts = {key: build(entry, [row[key] for row in rows]) for key, entry in space.spaces.items()}
            return TensorDict(parts, batch)
        if isinstance(space, spaces.Tuple):
            parts = {str(i): build(entry, [row[i] for row in rows]) for i, entry in enumerate(space.spaces)}
            return TensorDict(parts, batch)
        return torch.from_numpy(np.stack(rows)).unflatten(0, batch)

    return build(space, [space.sample() for _ in range(int(np.prod(batch)))])


@pytest.mark.parametrize(
    ("space", "observation", "features"),
    [
        (spaces.Discrete(3, start=5), [5, 7], [[1, 0, 0], [0, 0, 1]]),
        (spaces.MultiDiscrete([2, 3], start=[0, -1]), [[1, -1]], [[0, 1, 1, 0, 0]]),
        (spaces.MultiDiscrete([[2, 1], [1, 2]]), [[[1, 0], [0, 1]]], [[0, 1, 1, 1, 0, 1]]),
        (spaces.MultiBinary(3), [[1, 0, 1]], [[1, 0, 1]]),
        (spaces.Box(-8, 8, (2, 2), np.int8), [[[1, -2], [3, 4]]], [[0.5625, 0.375, 0.6875, 0.75]]),
        (spaces.Box(0, 1, ()), [0.5, 0.25], [[0.5], [0.25]]),
    ],
)
def test_choices_become_one_hot_and_numbers_stay(space, observation, features):
    given = torch.tensor(observation)
    assert make_encoder(space)(given).tolist() == features
    assert make_encoder(space).num_features == len(features[0])


def test_entries_stand_side_by_side_in_the_order_of_their_keys():
    space = spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Box(0, 9, (1,))})
    observation = TensorDict({"a": torch.tensor([[7.0]]), "b": torch.tensor([1])}, [1])
    assert make_encoder(space)(observation).tolist() == [[7.0, 0.0, 1.0]]


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_any_batch_of_a_nested_observation_is_encoded_row_by_row(batch):
    torch.manual_seed(0)
    encoder = make_encoder(NESTED)
    rows = batch_of(NESTED, (6,))
    expected = encoder(rows)
    assert expected.shape == (6, encoder.num_features)
    shaped = rows.reshape(2, 3) if batch == (2, 3) else rows[:3] if batch == (3,) else rows[0]
    torch.testing.assert_close(encoder(shaped).reshape(-1, encoder.num_features), expected[: int(np.prod(batch) or 1)])


@pytest.mark.parametrize("size", [1, 5, 8, 9, 64])
def test_images_of_any_size_and_layout_are_encoded_from_bytes_to_one_scale(size):
    torch.manual_seed(0)
    last = ImageEncoder((size, size, 3)) if size > 3 else ImageEncoder((3, size, size))
    first = ImageEncoder((3, size, size))
    first.load_state_dict(last.state_dict())
    image = torch.randint(256, (2, 3, size, size), dtype=torch.uint8)
    torch.testing.assert_close(first(image), last(image.movedim(1, 3) if size > 3 else image))
    assert first(image).shape == (2, first.num_features)
    assert first(image).abs().max() < 10


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Text(5), r"expected observations of Box, .* got Text\(.*; encode it as numbers of a fixed shape"),
        (spaces.Sequence(spaces.Discrete(2)), "pad it to a fixed length"),
        (spaces.Graph(spaces.Box(0, 1), None), "arrays of a fixed shape"),
        (spaces.OneOf([spaces.Discrete(2)]), "entries of a Dict"),
        (spaces.Dict({"a": spaces.Tuple([spaces.Text(5)])}), "encode it as numbers"),
        (spaces.Tuple([]), "the observation space is an empty Dict or Tuple"),
    ],
)
def test_other_spaces_are_refused_with_what_to_do(space, message):
    with pytest.raises(ValueError, match=message):
        make_encoder(space)


@pytest.mark.parametrize("network", [QNet, SharedTrunk])
@pytest.mark.parametrize("normalize", [False, True])
def test_both_networks_take_nested_observations(network, normalize):
    encoder = make_encoder(NESTED)
    trunk = EncodedTrunk(encoder, MLPTrunk((encoder.num_features,), num_cells=[8]))
    built = network(trunk, ScalarHead, action_space=Categorical(3), normalize_observation=normalize)
    out = built.predict(batch_of(NESTED, (5,))).out
    assert (out.shape, bool(out.isfinite().all())) == ((5, 3, 1), True)
    out.sum().backward()
    assert all(parameter.grad is not None for parameter in built.trunk.parameters())


def test_running_statistics_are_those_of_all_that_was_shown():
    rows = np.random.default_rng(0).normal(1e6, [1.0, 30.0], (1000, 2))
    norm = RunningNorm((2,))
    for part in np.split(rows, [1, 8, 9, 500, 730]):
        norm.update(torch.from_numpy(part))
    np.testing.assert_allclose(norm.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(norm.variance, rows.var(0), rtol=1e-6)
    assert norm.count == 1000
    scaled = norm(torch.from_numpy(rows))
    np.testing.assert_allclose(scaled, (rows - rows.mean(0)) / rows.std(0), atol=1e-4)


def test_before_anything_is_shown_values_are_only_clipped():
    assert RunningNorm((1,))(torch.tensor([[3.0], [-40.0]])).tolist() == [[3.0], [-10.0]]


def test_a_constant_entry_normalises_to_zero():
    norm = RunningNorm(())
    norm.update(torch.full((4,), 7.0))
    assert norm(torch.tensor([7.0])).tolist() == [0.0]


def test_only_numbers_are_normalised():
    encoder = make_encoder(NESTED)
    trunk = NormalizedTrunk(encoder)
    assert set(trunk.shapes) == {("inner", "vector"), ("inner", "number")}
    rows = batch_of(NESTED, (50,))
    before = rows.clone()
    trunk.update_statistics(rows)
    features = trunk(rows)
    assert (rows == before).all(), "the observation itself stays"
    number = rows["inner", "number"].double()
    place = make_encoder(NESTED["image"]).num_features  # keys are sorted: the image, then inner's number
    expected = (number - number.mean()) / number.std(correction=0)
    torch.testing.assert_close(features[:, place].double(), expected, atol=1e-4, rtol=0)


def test_an_observation_with_no_numbers_cannot_be_normalised():
    for trunk in (ConvTrunk((1, 36, 36)), make_encoder(spaces.Discrete(3))):
        with pytest.raises(ValueError, match="normalize_observation=true does not apply to .*; set it to false"):
            QNet(trunk, ScalarHead, action_space=Categorical(2), normalize_observation=True)


def test_flat_numbers_of_any_type_become_floats():
    assert FlatEncoder((2,))(torch.ones(3, 2, dtype=torch.uint8)).dtype == torch.float32


def test_bytes_are_scaled_and_booleans_are_not():
    images = torch.randint(0, 256, (3, 2, 8, 8), dtype=torch.uint8)
    trunk = ConvTrunk((2, 8, 8), channels=[4], kernels=[3], strides=[1], num_features=5)
    torch.testing.assert_close(trunk(images), trunk(images / 255))
    bits = images > 128
    torch.testing.assert_close(trunk(bits), trunk(bits.float()))
    mlp = MLPTrunk((2, 8, 8), num_cells=[6], byte_divisor=255.0)
    torch.testing.assert_close(mlp(images), mlp(images / 255))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(0, 1, (0,)), "of at least one number, got .*; leave an empty entry out"),
        (spaces.Dict({"a": spaces.Box(0, 1, (2, 0))}), "of at least one number"),
        (spaces.Box(0, 1, (2,)), "of real numbers, got .*complex64.; give real and imaginary parts"),
    ],
)
def test_a_box_without_real_numbers_is_refused(space, message):
    if "real" in message:
        space.dtype = np.dtype(np.complex64)
    with pytest.raises(ValueError, match=message):
        make_encoder(space)
