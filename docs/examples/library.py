from pathlib import Path

import torch

from qframe.actions import make_action_space
from qframe.checkpoints import Checkpoints
from qframe.envs import GymnasiumEnvs
from qframe.exploration import EGreedyModule
from qframe.heads import QuantileHead
from qframe.loggers import Logger
from qframe.networks import MLPTrunk, QNet
from qframe.objectives import DQNLoss, SoftUpdate
from qframe.optimizer import Optimizer
from qframe.replay import ReplayBuffer
from qframe.runs import RunFolder
from qframe.training import Collector, Evaluation, Learner, Runner

envs = GymnasiumEnvs("CartPole-v1", num_envs=8, vectorization="sync")
actions, device = make_action_space(envs.action_space, encoding="auto"), torch.device("cpu")
network = QNet(MLPTrunk((4,), num_cells=[120, 84]), QuantileHead, action_space=actions)
loss = DQNLoss(network, delay_value=True, gamma=0.99)
replay = ReplayBuffer(50_000, 128, gamma=0.99, n_step=3, num_envs=8)
exploration = EGreedyModule(actions, 1.0, 0.1, 10_000)
collector = Collector(envs.make(seed=1), network, exploration=exploration, action_space=actions, device=device)
optimizer = Optimizer(network.parameters(), torch.optim.Adam, lr=5e-4)
target = SoftUpdate(loss, tau=0.005)
learner = Learner(loss, replay, optimizer=optimizer, target_update=target, action_space=actions, device=device)
evaluation = Evaluation(envs, actions, seed=1, every=5_000, episodes=20, final_episodes=100, num_envs=20)
runner = Runner(
    collector=collector,
    learner=learner,
    replay=replay,
    evaluation=evaluation,
    checkpoints=Checkpoints(every=10_000, keep=2),
    logger=Logger(every=1_000),
    folder=RunFolder(Path("outputs/by-hand")),
    total_frames=2_000,
    learning_starts=1_000,
    every=8,
    updates=1,
)
print(runner.run()["eval_return_mean"])
