"""Updates and losses as native code or CUDA graphs."""

from qframe.compiled.loss import CompiledLoss

__all__ = ["CompiledLoss"]
