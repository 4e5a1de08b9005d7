"""The same bits every time on a GPU as well, whose fastest operations add in whatever order threads come."""

import os

import torch


def only_deterministic(device: torch.device) -> None:
    """Let this process use operations on the device that give the same bits every time, and refuse others.

    On the CPU all that qframe uses do so already: nothing changes. See "Reproducibility" in torch's notes.
    """
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
