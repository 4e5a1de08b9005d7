"""Stable-Baselines3 or sb3-contrib on CartPole, by CleanRL's DQN settings: one update of 128 per 10 frames."""

import time

STARTED = time.monotonic()

import argparse  # noqa: E402
import json  # noqa: E402

import gymnasium as gym  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from stable_baselines3 import DQN  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=500_000)
    parser.add_argument("--num-envs", type=int, default=1)
    parser.add_argument("--quantiles", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.quantiles:  # its DQN has Huber's loss only, by which these settings learn nothing, qframe's neither
        torch.nn.functional.smooth_l1_loss = torch.nn.functional.mse_loss
    envs = VecMonitor(DummyVecEnv([lambda: gym.make("CartPole-v1")] * options.num_envs))
    policy: dict = {"net_arch": [120, 84]}
    algorithm = DQN
    if options.quantiles:
        from sb3_contrib import QRDQN

        algorithm, policy = QRDQN, policy | {"n_quantiles": options.quantiles}
    model = algorithm(
        "MlpPolicy", envs, learning_rate=2.5e-4, buffer_size=10_000, learning_starts=10_000, batch_size=128, gamma=0.99,
        train_freq=(10 // options.num_envs, "step"), gradient_steps=1, target_update_interval=500,
        exploration_fraction=0.5, exploration_final_eps=0.05, max_grad_norm=10.0, policy_kwargs=policy,
        seed=options.seed, device="cpu",
    )  # fmt: skip
    model.learn(options.frames)
    returns = [episode["r"] for episode in model.ep_info_buffer]
    seconds = time.monotonic() - STARTED
    print(json.dumps({
        "seconds": seconds, "frames": model.num_timesteps, "updates": model._n_updates,
        "frames_per_second": model.num_timesteps / seconds, "train_return": float(np.mean(returns)),
        "num_envs": options.num_envs,
    }))  # fmt: skip


main()
