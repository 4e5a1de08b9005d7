"""The reference library's own tests keep all but their imports."""

import importlib.util
from pathlib import Path

SUITE = Path(__file__).parents[1] / "scripts" / "conformance" / "suite.py"

THEIRS = """
import torch
from torchrl.data import (
    LazyTensorStorage,
    OneHot as Hot,
)
from torchrl.modules.tensordict_module.actors import QValueHook
from torch import nn

print(Hot, "from torchrl.data import OneHot")
"""
OURS = """
import torch
from torchrl.data import LazyTensorStorage as LazyTensorStorage
from qframe.actions import OneHot as Hot
from qframe.modules import QValueHook as QValueHook
from torch import nn

print(Hot, "from torchrl.data import OneHot")
"""


def test_names_that_qframe_offers_are_imported_from_it_and_others_stay():
    spec = importlib.util.spec_from_file_location("suite", SUITE)
    suite = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(suite)
    assert suite.with_own_imports(THEIRS) == OURS
