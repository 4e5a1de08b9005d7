"""Rows that lie side by side come back as they went in, also into memory of an earlier sample."""

import pytest
import torch
from tensordict import TensorDict

from qframe.replay import ReplayBuffer
from tests.runners import prioritized

GAMMA = 0.97


@pytest.mark.parametrize("buffer_class", [ReplayBuffer, prioritized(ReplayBuffer)])
def test_a_batch_that_is_filled_again_equals_one_of_its_own(buffer_class, random_steps, assert_equal):
    reusing, other = (buffer_class(60, 8, gamma=GAMMA, n_step=3, num_envs=2, seed=5) for _ in range(2))
    for buffer in (reusing, other):
        buffer.extend(random_steps(100, 2))
    batch = first = reusing.sample()
    kept = first.clone()
    assert_equal(kept, other.sample())
    for _ in range(4):
        batch = reusing.sample(reuse=batch)
        assert batch is first
        assert_equal(batch, other.sample())
        for buffer in (reusing, other):
            buffer.update_priority(batch["index"], torch.rand(8, generator=torch.Generator().manual_seed(1)))
    assert not torch.equal(kept["index"], first["index"])


def test_only_the_last_sample_is_filled_again_and_only_with_as_many_rows(random_steps):
    buffer = ReplayBuffer(60, 8, gamma=GAMMA, num_envs=2)
    buffer.extend(random_steps(50, 2))
    first = buffer.sample()
    second = buffer.sample()
    kept = first.clone(), second.clone()
    for other in (first, second, second.clone()):
        assert buffer.sample(reuse=other) is not other
    assert buffer.sample(4, reuse=buffer.sample()).batch_size == (4,)
    assert all(torch.equal(a["index"], b["index"]) for a, b in zip(kept, (first, second), strict=True))
    last = buffer.sample()
    assert buffer.sample(reuse=last) is last


def test_rows_of_every_type_and_width_come_back_as_they_went_in(assert_equal):
    dtypes = (torch.bool, torch.uint8, torch.int16, torch.bfloat16, torch.float32, torch.int64, torch.complex128)
    shapes = ((), (3,), (2, 5), (0,), (40, 40))  # the last too wide to lie among others
    draw = torch.Generator().manual_seed(0)
    odd = {
        f"{dtype}{shape}".replace(".", "_"): torch.randint(2, (9, *shape), generator=draw).to(dtype)
        for dtype in dtypes for shape in shapes
    }  # fmt: skip
    flag = torch.zeros(9, 1, dtype=torch.bool)
    following = {"reward": torch.rand(9, 1, generator=draw), "terminated": flag, "truncated": flag, "done": flag}
    buffer = ReplayBuffer(9, 4, gamma=GAMMA)
    buffer.extend(TensorDict({**odd, "env": torch.zeros(9, dtype=torch.int64), "next": following}, [9]))
    batch = buffer.sample()
    for key, leaf in odd.items():
        assert torch.equal(batch[key], leaf[batch["index"]]), key
        assert batch[key].dtype == leaf.dtype
    assert torch.equal(batch["next", "reward"], following["reward"][batch["index"]])
