"""Stable-Baselines3 on Atari Pong: Nature CNN, batches of 32, an update per 4 steps, eight games."""

import argparse
import json
import time

import ale_py
import gymnasium as gym
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

gym.register_envs(ale_py)


class _Clock(BaseCallback):
    """When the first update came."""

    started = 0.0

    def _on_step(self) -> bool:
        if not self.started and self.num_timesteps >= self.model.learning_starts:
            self.started = time.monotonic()
        return True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=20_000)
    options = parser.parse_args()
    torch.set_num_threads(2)
    make = lambda: AtariWrapper(  # noqa: E731
        gym.make("ALE/Pong-v5", frameskip=1, repeat_action_probability=0.25), terminal_on_life_loss=False
    )
    envs = VecFrameStack(DummyVecEnv([make] * 8), 4)
    model = DQN(
        "CnnPolicy", envs, learning_rate=1e-4, buffer_size=25_000, learning_starts=1_000, batch_size=32,
        train_freq=(1, "step"), gradient_steps=2, target_update_interval=1_000, seed=1, device="cpu",
    )  # fmt: skip
    clock = _Clock()
    model.learn(1_000 + options.frames, callback=clock)
    seconds = time.monotonic() - clock.started
    print(json.dumps({
        "seconds": seconds, "frames": options.frames, "updates": model._n_updates,
        "learning_frames_per_second": options.frames / seconds,
    }))  # fmt: skip


main()
