"""All parameters as views of one vector, so that an elementwise operation on all of them is a single one."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

_ALIGNMENT = 16
"""Tensors are padded with zeros to a multiple of this many entries, as kernels read aligned memory faster."""
MOVED = "a parameter has another device, dtype or shape than the optimizer's; build a new optimizer"


class FlatVector:
    """Parameters as views of one vector, in their order; between them are zeros, which stay zeros.

    The parameters are bound to the vector: writing to it changes them. Parameters that are already views of one vector
    in this order keep it, so several owners can share it.

    Args:
        parameters: of one dtype, on one device.

    >>> layer = nn.Linear(2, 1)
    >>> flat = FlatVector(list(layer.parameters()))
    >>> flat.vector.fill_(3.0).shape, layer.bias
    (torch.Size([32]), Parameter containing:
    tensor([3.], requires_grad=True))
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        self._shapes = [parameter.shape for parameter in parameters]
        self._sizes = [-(-shape.numel() // _ALIGNMENT) * _ALIGNMENT for shape in self._shapes]
        shared = _shared(parameters, self._sizes)
        self.vector = self.join([parameter.detach() for parameter in parameters]) if shared is None else shared
        self._views = self.views(self.vector)
        self._addresses = [view.data_ptr() for view in self._views]
        if shared is None:
            for parameter, view in zip(parameters, self._views, strict=True):
                parameter.data = view

    def follow(self) -> bool:
        """Take over parameters that were bound to other memory since, as by ``parameter.data = …``.

        Returns:
            Whether the vector holds all of them again; not those of another device, dtype or shape.
        """
        if list(map(Tensor.data_ptr, self._parameters)) == self._addresses:
            return True
        pairs = list(zip(self._parameters, self._views, strict=True))
        if any((own.device, own.dtype, own.shape) != (view.device, view.dtype, view.shape) for own, view in pairs):
            return False
        for parameter, view in pairs:
            if parameter.data_ptr() != view.data_ptr():
                view.copy_(parameter.detach())
                parameter.data = view
        return True

    @staticmethod
    def fits(parameters: Sequence[nn.Parameter]) -> bool:
        """Whether there is at least one parameter, and all are floating point, of one dtype and on one device."""
        kinds = {(parameter.dtype, parameter.device) for parameter in parameters}
        return len(kinds) == 1 and parameters[0].is_floating_point()

    def views(self, vector: Tensor) -> list[Tensor]:
        """A vector of this layout, as views of the parameters' shapes."""
        parts = zip(vector.split(self._sizes), self._shapes, strict=True)
        return [part[: prod(shape)].view(shape) for part, shape in parts]

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        """A new vector of this layout, filled from tensors of the parameters' shapes."""
        vector = tensors[0].new_zeros(sum(self._sizes))
        for view, tensor in zip(self.views(vector), tensors, strict=True):
            view.copy_(tensor)
        return vector


def _shared(parameters: Sequence[nn.Parameter], sizes: Sequence[int]) -> Tensor | None:
    """The vector of this layout that the parameters are already views of, or None."""
    storage, offset = parameters[0].untyped_storage(), 0
    if storage.nbytes() != sum(sizes) * parameters[0].element_size():
        return None
    for parameter, size in zip(parameters, sizes, strict=True):
        is_next = parameter.untyped_storage().data_ptr() == storage.data_ptr() and parameter.storage_offset() == offset
        if not (is_next and parameter.is_contiguous()):
            return None
        offset += size
    return torch.as_strided(parameters[0].detach(), (sum(sizes),), (1,), 0)
