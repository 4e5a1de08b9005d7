"""What every test shares: one thread, and the probe environments."""

import pytest
import torch

from tests import probes

torch.set_num_threads(1)
probes.register()


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
