"""Heads under autocast: their last layer keeps its precision."""

import pytest
import torch

from tests.heads.common import HEADS


@pytest.mark.parametrize("name", HEADS)
def test_the_last_layer_is_computed_in_32_bits_under_autocast(name):
    torch.manual_seed(0)
    head, x = HEADS[name](7, 3), torch.randn(4, 7)
    with torch.autocast("cpu", torch.bfloat16):
        wide, narrow = head.precise(x.bfloat16()), head.layer(x)
        prediction = head.prediction(x)
    assert prediction.out.dtype is wide.dtype is torch.float32
    assert narrow.dtype is torch.bfloat16
    assert torch.equal(wide, head.layer(x.bfloat16().float()))
