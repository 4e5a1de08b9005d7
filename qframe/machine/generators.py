"""The global generators of torch, NumPy and Python: no part of qframe draws from them, but other people's code may."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor


class GlobalGenerators(NamedTuple):
    """The state of the global generators of this process."""

    torch: Tensor
    cuda: list[Tensor]  # of every GPU, once CUDA is in use
    numpy: Any
    python: Any

    @classmethod
    def capture(cls, *, with_gpus: bool = True) -> Self:
        """The state now; that of GPUs has to wait for them."""
        cuda = torch.cuda.get_rng_state_all() if with_gpus and torch.cuda.is_initialized() else []
        return cls(torch.get_rng_state(), cuda, np.random.get_state(), random.getstate())  # noqa: NPY002

    def restore(self) -> None:
        """Return to this state."""
        torch.set_rng_state(self.torch)
        if self.cuda and len(self.cuda) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(self.cuda)
        np.random.set_state(self.numpy)  # noqa: NPY002
        random.setstate(self.python)

    def drawn_since(self) -> list[str]:
        """The names of the generators that have been drawn from since this state."""
        now = GlobalGenerators.capture(with_gpus=False)
        numpy = all(np.array_equal(old, new) for old, new in zip(self.numpy[1:], now.numpy[1:], strict=True))
        same = {"torch": torch.equal(self.torch, now.torch), "numpy": numpy, "random": self.python == now.python}
        return [name for name, is_same in same.items() if not is_same]

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain values, for a checkpoint."""
        kind, keys, *rest = self.numpy
        numpy = [kind, torch.from_numpy(keys.astype(np.int64)), *rest]
        version, words, gauss = self.python
        return {"torch": self.torch, "cuda": self.cuda, "numpy": numpy, "python": [version, list(words), gauss]}

    @classmethod
    def of_state_dict(cls, state: dict[str, Any]) -> Self:
        """The state that ``state_dict`` wrote."""
        kind, keys, *rest = state["numpy"]
        version, words, gauss = state["python"]
        numpy = (kind, keys.numpy().astype(np.uint32), *rest)
        return cls(state["torch"], state["cuda"], numpy, (version, tuple(words), gauss))


def seed_globally(seed: int) -> None:
    """Seed the global generators of this process.

    Args:
        seed: in [0, 2³²).
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


@contextmanager
def globally_seeded(seed: int) -> Iterator[None]:
    """Global generators with this seed for the length of a ``with`` block; afterwards they are as they were before.

    >>> with globally_seeded(3):
    ...     first = random.random()
    >>> with globally_seeded(3):
    ...     first == random.random()
    True
    """
    before = GlobalGenerators.capture()
    seed_globally(seed)
    try:
        yield
    finally:
        before.restore()
