"""What W4's loss comes to when written by hand: the same network, target, masking of terminal states and td_error."""

import torch
from tensordict import TensorDict
from timing import report
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(1)
torch.manual_seed(0)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 2))


online, target = network(), network().requires_grad_(False)
batch = TensorDict({
    "observation": torch.randn(128, 4), "action": torch.randint(0, 2, (128,)),
    "next": {
        "observation": torch.randn(128, 4), "reward": torch.randn(128, 1),
        "terminated": torch.rand(128, 1) < 0.1, "done": torch.rand(128, 1) < 0.1,
    },
}, [128])  # fmt: skip

params = [param for param in online.parameters() if param.requires_grad]


def call() -> None:
    with torch.no_grad():
        value = target(batch["next", "observation"]).amax(-1)
        terminated = batch["next", "terminated"].squeeze(-1)
        goal = batch["next", "reward"].squeeze(-1) + torch.where(terminated, 0.0, 0.99 * value)
    chosen = online(batch["observation"]).gather(-1, batch["action"].unsqueeze(-1)).squeeze(-1)
    batch["td_error"] = (goal - chosen).detach().abs().unsqueeze(-1)
    F.smooth_l1_loss(chosen, goal).backward()
    for param in params:
        param.grad = None


report(call)
