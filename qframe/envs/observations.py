"""Observations of a vector environment as tensors."""

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.envs.streams import Observation


def as_tensors(observation: Observation) -> Tensor | TensorDict:
    """Observations ``[E, …]`` as a tensor, or a tensordict ``[E]`` of entries by key."""
    if isinstance(observation, np.ndarray):
        return torch.from_numpy(observation)
    return TensorDict({key: as_tensors(entry) for key, entry in observation.items()}).auto_batch_size_(1)
