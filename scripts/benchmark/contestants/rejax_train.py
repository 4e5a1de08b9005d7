"""rejax on CartPole: its DQN by W1's settings, or its PQN by those of ``pqn_jax.py``.

Its targets take an episode that was cut off for a failure. Its own
evaluations are left out; one follows, after the clock has stopped.
"""

import time

STARTED = time.monotonic()

import argparse  # noqa: E402
import json  # noqa: E402

import jax  # noqa: E402
from flax import linen as nn  # noqa: E402
from rejax import get_algo  # noqa: E402
from rejax.evaluate import evaluate  # noqa: E402
from rejax.networks import DiscreteQNetwork, EpsilonGreedyPolicy  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("algorithm", choices=["dqn", "pqn"])
    parser.add_argument("--num-envs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--frames", type=int, default=500_000)
    options = parser.parse_args()
    count, frames = options.num_envs, options.frames
    settings = {"gamma": 0.99, "exploration_fraction": 0.5, "eps_start": 1.0, "eps_end": 0.05, "num_envs": count}
    if options.algorithm == "dqn":
        settings |= {
            "learning_rate": 2.5e-4, "buffer_size": 10_000, "fill_buffer": 10_000, "batch_size": 128, "ddqn": False,
            "num_epochs": max(1, count // 10), "target_update_freq": 500, "polyak": 0.0,
        }  # fmt: skip
        updates, activation = (frames - 10_000) // 10, nn.relu
    else:
        settings |= {
            "learning_rate": 1e-3, "num_steps": 64, "num_minibatches": 16, "num_epochs": 4, "td_lambda": 0.65,
        }  # fmt: skip
        rollouts = frames // (64 * count)
        frames, updates = rollouts * 64 * count, rollouts * 64
        activation = lambda x: nn.relu(nn.LayerNorm()(x))  # noqa: E731
    algorithm = get_algo(options.algorithm).create(
        env="CartPole-v1", total_timesteps=frames, eval_freq=frames, skip_initial_evaluation=True, **settings
    )
    agent = EpsilonGreedyPolicy(DiscreteQNetwork)(hidden_layer_sizes=(120, 84), action_dim=2, activation=activation)
    algorithm = algorithm.replace(agent=agent, eval_callback=lambda algorithm, state, key: 0.0)
    key = jax.random.PRNGKey(options.seed)
    started = time.monotonic()
    train = jax.jit(algorithm.train).lower(key).compile()
    compiled = time.monotonic()
    state, _ = jax.block_until_ready(train(key))
    ended = time.monotonic()
    act = algorithm.make_act(state)
    _, returns = evaluate(act, key, algorithm.env, algorithm.env_params, 100, 500)
    print(json.dumps({
        "seconds": ended - STARTED, "compile_seconds": compiled - started, "seconds_compiled": ended - compiled,
        "learning_frames_per_second": frames / (ended - compiled), "frames": int(state.global_step),
        "updates": updates, "eval_return": float(returns.mean()), "jax": jax.__version__,
    }))  # fmt: skip


main()
