"""Seconds until Stable-Baselines3 with rl-baselines3-zoo's settings for CartPole reaches a greedy mean of 475."""

import time

STARTED = time.monotonic()

import json  # noqa: E402

import gymnasium as gym  # noqa: E402
from stable_baselines3 import DQN  # noqa: E402
from stable_baselines3.common.callbacks import EvalCallback, StopTrainingOnRewardThreshold  # noqa: E402
from stable_baselines3.common.monitor import Monitor  # noqa: E402


def main() -> None:
    stop = StopTrainingOnRewardThreshold(475, verbose=0)
    evaluation = EvalCallback(
        Monitor(gym.make("CartPole-v1")), callback_on_new_best=stop, eval_freq=2_500, n_eval_episodes=20, verbose=0
    )
    model = DQN(
        "MlpPolicy", Monitor(gym.make("CartPole-v1")), learning_rate=2.3e-3, batch_size=64, buffer_size=100_000,
        learning_starts=1_000, gamma=0.99, target_update_interval=10, train_freq=256, gradient_steps=128,
        exploration_fraction=0.16, exploration_final_eps=0.04, policy_kwargs={"net_arch": [256, 256]}, seed=1,
    )  # fmt: skip
    model.learn(200_000, callback=evaluation)
    print(json.dumps({"seconds": time.monotonic() - STARTED, "frames": model.num_timesteps}))


main()
