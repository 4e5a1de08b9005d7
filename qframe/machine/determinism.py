"""Equal bits in every run on a GPU too, whose fastest operations add in the order in which threads arrive."""

import os

import torch


def only_deterministic(device: torch.device) -> None:
    """Allow only operations on the device that give equal bits every time; torch refuses the others.

    On the CPU all that qframe uses already do, and nothing changes. See "Reproducibility" in torch's notes.
    """
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
