"""Observations of vector environments: copies, and conversion to tensors."""

from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from qframe.envs.protocol import Observation


def own_copy(observation: Any) -> Observation:
    """A copy of observations, as environments may reuse their arrays.

    Floats become 32-bit; unsigned integers, except bytes, become signed.

    >>> own_copy((np.zeros(2), {"on": np.ones(2, np.uint16)}))["1"]["on"].dtype
    dtype('int32')
    """
    if isinstance(observation, np.ndarray):
        dtype = observation.dtype
        return np.array(observation, dtype=np.float32 if dtype.kind == "f" else _TORCHS.get(dtype.name, dtype))
    entries = enumerate(observation) if isinstance(observation, tuple) else observation.items()
    return {str(key): own_copy(entry) for key, entry in entries}


_TORCHS = {"uint16": "i4", "uint32": "i8", "uint64": "i8", "int16": "i2", "int32": "i4", "int64": "i8"}
"""Torch supports few operations on unsigned integers, and none on arrays in another byte order."""


def as_tensors(observation: Observation) -> Tensor | TensorDict:
    """Observations ``[E, …]`` as a tensor, or a tensordict ``[E]`` of entries by key."""
    if isinstance(observation, np.ndarray):
        return torch.from_numpy(observation)
    return TensorDict({key: as_tensors(entry) for key, entry in observation.items()}).auto_batch_size_(1)
