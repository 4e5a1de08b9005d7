import torch
from torch import nn

from qframe.objectives import DQNLoss, HardUpdate

network = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2))
loss = DQNLoss(network, action_space="categorical", delay_value=True, double_dqn=True, gamma=0.99)
target = HardUpdate(loss, value_network_update_interval=100)
optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
for _ in range(10):
    value = loss(
        observation=torch.randn(32, 4),
        action=torch.randint(2, (32,)),
        next_observation=torch.randn(32, 4),
        next_reward=torch.randn(32),
        next_terminated=torch.zeros(32, dtype=torch.bool),
        next_done=torch.zeros(32, dtype=torch.bool),
    )
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    target.step()
