"""Bit-identical runs on a GPU, whose fastest operations add in the order in which threads arrive."""

import os

import torch


def only_deterministic(device: torch.device) -> None:
    """Allow only deterministic operations on the device; torch raises an error for all others.

    On the CPU, all operations that qframe uses are deterministic already. See "Reproducibility" in torch's notes.
    """
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
