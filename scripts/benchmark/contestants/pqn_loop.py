"""PQN on CartPole as a plain torch loop with the published settings of CleanRL's single-file version.

Four environments, 128 steps, four minibatches of 128, four epochs, layer-normed 120-84 network, RAdam at 2.5e-4 falling
to 0, λ .65, ε from 1 to .05 over half of the run; λ-returns are computed once per rollout, from the values seen while
acting.
"""

import json
import sys
import time
from collections import deque

import gymnasium as gym
import numpy as np
import torch
from torch import nn

ENVS, STEPS, MINIBATCHES, EPOCHS = 4, 128, 4, 4
GAMMA, LAMBDA, LR, CLIP = 0.99, 0.65, 2.5e-4, 10.0


def network() -> nn.Module:
    """Observation ``[B, 4]`` → values ``[B, 2]``."""
    layers: list[nn.Module] = []
    for before, after in ((4, 120), (120, 84)):
        layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(84, 2))


def lambda_returns(reward: torch.Tensor, done: torch.Tensor, next_value: torch.Tensor) -> torch.Tensor:
    """Peng's λ-returns ``[STEPS, ENVS]``."""
    returns = torch.empty_like(reward)
    for t in reversed(range(STEPS)):
        ahead = next_value[t] if t == STEPS - 1 else LAMBDA * returns[t + 1] + (1 - LAMBDA) * next_value[t]
        returns[t] = reward[t] + GAMMA * (1 - done[t]) * ahead
    return returns


def main() -> None:
    seed, total = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng, started = np.random.default_rng(seed), time.monotonic()
    resets = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
    envs = gym.make_vec("CartPole-v1", ENVS, vectorization_mode="sync", vector_kwargs=resets)
    q = network()
    optimizer = torch.optim.RAdam(q.parameters(), lr=LR)
    observation = torch.zeros(STEPS, ENVS, 4)
    action = torch.zeros(STEPS, ENVS, dtype=torch.int64)
    reward, done, value = (torch.zeros(STEPS, ENVS) for _ in range(3))
    now = torch.from_numpy(envs.reset(seed=seed)[0])
    running, recent = np.zeros(ENVS), deque(maxlen=100)
    rollouts, frames = total // (ENVS * STEPS), 0
    for rollout in range(rollouts):
        optimizer.param_groups[0]["lr"] = LR * (1 - rollout / rollouts)
        for t in range(STEPS):
            frames += ENVS
            epsilon = max(0.05, 1 - 0.95 * frames / (0.5 * total))
            with torch.no_grad():
                values = q(now)
            greedy = values.argmax(-1).numpy()
            chosen = np.where(rng.random(ENVS) < epsilon, rng.integers(2, size=ENVS), greedy)
            observation[t], action[t], value[t] = now, torch.from_numpy(chosen), values.max(-1).values
            after, paid, terminated, truncated, _ = envs.step(chosen)
            ended = terminated | truncated
            reward[t], done[t] = torch.from_numpy(paid), torch.from_numpy(ended)
            now = torch.from_numpy(after)
            running += paid
            recent.extend(running[ended])
            running[ended] = 0.0
        with torch.no_grad():
            last = q(now).max(-1).values
        target = lambda_returns(reward, done, torch.cat([value[1:], last[None]])).flatten()
        states, actions = observation.flatten(0, 1), action.flatten()
        for _ in range(EPOCHS):
            for index in torch.from_numpy(rng.permutation(ENVS * STEPS)).chunk(MINIBATCHES):
                predicted = q(states[index]).gather(1, actions[index, None])[:, 0]
                loss = nn.functional.mse_loss(predicted, target[index])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(q.parameters(), CLIP)
                optimizer.step()
    seconds = time.monotonic() - started
    print(json.dumps({
        "seconds": seconds, "frames": frames, "updates": rollouts * MINIBATCHES * EPOCHS,
        "frames_per_second": frames / seconds, "train_return": float(np.mean(recent)),
    }))  # fmt: skip


main()
