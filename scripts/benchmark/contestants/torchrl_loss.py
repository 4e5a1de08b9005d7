"""W4 with TorchRL, eagerly or compiled."""

import sys
import warnings

import torch
from tensordict import TensorDict
from timing import report
from torchrl.data import Categorical
from torchrl.modules import MLP, QValueActor
from torchrl.objectives import DQNLoss

warnings.simplefilter("ignore")
torch.set_num_threads(1)
torch.manual_seed(0)
network = MLP(in_features=4, out_features=2, num_cells=[120, 84], activation_class=torch.nn.ReLU)
actor = QValueActor(network, in_keys=["observation"], spec=Categorical(2))
loss = DQNLoss(actor, loss_function="smooth_l1", delay_value=True)
loss.make_value_estimator(gamma=0.99)
batch = TensorDict({
    "observation": torch.randn(128, 4), "action": torch.randint(0, 2, (128,)),
    "next": {
        "observation": torch.randn(128, 4), "reward": torch.randn(128, 1),
        "terminated": torch.rand(128, 1) < 0.1, "done": torch.rand(128, 1) < 0.1,
    },
}, [128])  # fmt: skip
evaluate = torch.compile(loss) if "--compile" in sys.argv else loss

params = [param for param in loss.parameters() if param.requires_grad]


def call() -> None:
    evaluate(batch)["loss"].backward()
    for param in params:
        param.grad = None


report(call)
