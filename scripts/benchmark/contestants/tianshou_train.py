"""Tianshou's C51 with 101 atoms on CartPole: ten environments, ten updates of 128 after every 100 frames."""

import time

STARTED = time.monotonic()

import argparse  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402

import gymnasium as gym  # noqa: E402
import torch  # noqa: E402
from tianshou.algorithm import C51  # noqa: E402
from tianshou.algorithm.modelfree.c51 import C51Policy  # noqa: E402
from tianshou.algorithm.optim import AdamOptimizerFactory  # noqa: E402
from tianshou.data import Collector, VectorReplayBuffer  # noqa: E402
from tianshou.env import DummyVectorEnv  # noqa: E402
from tianshou.utils.net.common import Net  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    envs = DummyVectorEnv([lambda: gym.make("CartPole-v1")] * 10)
    space = gym.make("CartPole-v1")
    network = Net(state_shape=4, action_shape=2, hidden_sizes=[120, 84], softmax=True, num_atoms=101)
    policy = C51Policy(network, space.action_space, num_atoms=101, v_min=-100, v_max=100, eps_training=1.0)
    algorithm = C51(policy=policy, optim=AdamOptimizerFactory(lr=2.5e-4), gamma=0.99, target_update_freq=50)
    buffer = VectorReplayBuffer(10_000, 10)
    collector = Collector(algorithm, envs, buffer, exploration_noise=True)
    collector.reset()
    frames, updates, returns = 0, 0, []
    while frames < options.frames:
        policy.set_eps_training(max(0.05, 1 - 0.95 * frames / (options.frames / 2)))
        with torch.no_grad():
            stats = collector.collect(n_step=100)
        frames += 100
        returns += list(stats.returns)
        if frames > 10_000:
            with torch.enable_grad():
                policy.train()
                policy.is_within_training_step = True
                for _ in range(10):
                    algorithm.update(buffer, 128)
            updates += 10
    seconds = time.monotonic() - STARTED
    print(json.dumps({
        "seconds": seconds, "frames": frames, "updates": updates, "frames_per_second": frames / seconds,
        "train_return": float(sum(returns[-100:]) / max(1, len(returns[-100:]))), "num_envs": 10,
    }))  # fmt: skip


main()
