"""W4 with qframe, eagerly or compiled."""

import sys

import torch
from tensordict import TensorDict
from timing import report

from qframe.actions import Categorical
from qframe.compiled import CompiledLoss
from qframe.heads import ScalarHead
from qframe.networks import MLPTrunk, QNet
from qframe.objectives import DQNLoss

torch.set_num_threads(1)
torch.manual_seed(0)


def head(features: int, num_actions: int) -> ScalarHead:
    return ScalarHead(features, num_actions, loss_function="smooth_l1")


network = QNet(MLPTrunk((4,), num_cells=[120, 84]), head, action_space=Categorical(2))
loss = DQNLoss(network, delay_value=True, gamma=0.99)
batch = TensorDict({
    "observation": torch.randn(128, 4), "action": torch.randint(0, 2, (128,)),
    "next": {
        "observation": torch.randn(128, 4), "reward": torch.randn(128, 1),
        "terminated": torch.rand(128, 1) < 0.1, "done": torch.rand(128, 1) < 0.1,
    },
}, [128])  # fmt: skip
evaluate = CompiledLoss(loss) if "--compile" in sys.argv else loss

params = [param for param in loss.parameters() if param.requires_grad]


def call() -> None:
    evaluate(batch)["loss"].backward()
    for param in params:
        param.grad = None


report(call)
