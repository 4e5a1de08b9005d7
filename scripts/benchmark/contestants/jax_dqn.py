"""W1 as one JAX program: environments, replay, network and optimizer are compiled together.

An episode that is cut off after 500 steps bootstraps on its last observation.
"""

import time

STARTED = time.monotonic()

import argparse  # noqa: E402
import json  # noqa: E402
from functools import partial  # noqa: E402
from typing import Any  # noqa: E402

import gymnax  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

FRAMES, STARTS, CAPACITY, BATCH, PER_UPDATE = 500_000, 10_000, 10_000, 128, 10
GAMMA, LR, COPIES, ANNEALED, LAST_EPSILON, RECENT = 0.99, 2.5e-4, 50, 250_000, 0.05, 100


State = dict[str, Any]


def network(key: Any) -> list[Any]:
    """The parameters of 4 → 120 → 84 → 2, drawn as torch draws them."""
    layers = []
    for own, inputs, outputs in zip(jax.random.split(key, 3), (4, 120, 84), (120, 84, 2), strict=True):
        draw = partial(jax.random.uniform, minval=-(inputs**-0.5), maxval=inputs**-0.5)
        layers.append((draw(own, (inputs, outputs)), draw(jax.random.fold_in(own, 1), (outputs,))))
    return layers


def values(layers: list[Any], x: Any) -> Any:
    """Observations ``[B, 4]`` → values ``[B, 2]``."""
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--num-envs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--frames", type=int, default=FRAMES)
    options = parser.parse_args()
    count = options.num_envs
    rounds = max(1, count // PER_UPDATE)
    env, of_env = gymnax.make("CartPole-v1")
    adam = optax.adam(LR)

    def collect(state: State, _: Any) -> tuple[State, None]:
        key, explore, choose, step = jax.random.split(state["key"], 4)
        epsilon = jnp.maximum(LAST_EPSILON, 1 - (1 - LAST_EPSILON) * state["frames"] / ANNEALED)
        greedy = values(state["online"], state["now"]).argmax(1)
        random = jax.random.randint(choose, (count,), 0, 2)
        action = jnp.where(jax.random.uniform(explore, (count,)) < epsilon, random, greedy)
        after, envs, reward, terminated, truncated, info = jax.vmap(env.step, (0, 0, 0, None))(
            jax.random.split(step, count), state["envs"], action, of_env
        )
        row = {
            "now": state["now"], "action": action, "reward": reward, "terminated": terminated.astype(jnp.float32),
            "after": info["final_observation"],
        }  # fmt: skip
        place = state["frames"] % CAPACITY
        replay = jax.tree.map(
            lambda all, new: jax.lax.dynamic_update_slice_in_dim(all, new.astype(all.dtype), place, 0),
            state["replay"], row,
        )  # fmt: skip
        done = terminated | truncated
        total = state["total"] + reward
        order = jnp.cumsum(done) - 1
        places = jnp.where(done, (state["ended"] + order) % RECENT, RECENT)
        return state | {
            "key": key, "now": after, "envs": envs, "replay": replay, "frames": state["frames"] + count,
            "recent": state["recent"].at[places].set(total, mode="drop"), "total": jnp.where(done, 0.0, total),
            "ended": state["ended"] + done.sum(),
        }, None  # fmt: skip

    def loss(online: Any, target: Any, batch: Any) -> Any:
        ahead = values(target, batch["after"]).max(1)
        goal = batch["reward"] + GAMMA * (1 - batch["terminated"]) * ahead
        predicted = jnp.take_along_axis(values(online, batch["now"]), batch["action"][:, None], 1)[:, 0]
        return jnp.square(predicted - jax.lax.stop_gradient(goal)).mean()

    def update(state: State, _: Any) -> tuple[State, None]:
        key, draw = jax.random.split(state["key"])
        rows = jax.random.randint(draw, (BATCH,), 0, CAPACITY)
        batch = jax.tree.map(lambda all: all[rows], state["replay"])
        gradient = jax.grad(loss)(state["online"], state["target"], batch)
        change, adam_state = adam.update(gradient, state["adam"])
        online = optax.apply_updates(state["online"], change)
        updates = state["updates"] + 1
        copies = updates % COPIES == 0
        target = jax.tree.map(lambda new, old: jnp.where(copies, new, old), online, state["target"])
        return state | {"key": key, "online": online, "target": target, "adam": adam_state, "updates": updates}, None

    def learn(state: State, _: Any) -> tuple[State, None]:
        state, _ = collect(state, None)
        return jax.lax.scan(update, state, None, rounds)[0], None

    def begin(key: Any) -> State:
        key, of_network, reset = jax.random.split(key, 3)
        now, envs = jax.vmap(env.reset, (0, None))(jax.random.split(reset, count), of_env)
        online = network(of_network)
        replay = {
            "now": jnp.zeros((CAPACITY, 4)), "after": jnp.zeros((CAPACITY, 4)), "reward": jnp.zeros(CAPACITY),
            "action": jnp.zeros(CAPACITY, jnp.int32), "terminated": jnp.zeros(CAPACITY),
        }  # fmt: skip
        state = {
            "key": key, "now": now, "envs": envs, "online": online, "target": online, "adam": adam.init(online),
            "replay": replay, "frames": 0, "updates": 0, "total": jnp.zeros(count), "recent": jnp.zeros(RECENT),
            "ended": 0,
        }  # fmt: skip
        return jax.lax.scan(collect, state, None, STARTS // count)[0]

    def evaluated(online: Any, key: Any) -> Any:
        """The mean greedy return of 100 episodes."""
        now, envs = jax.vmap(env.reset, (0, None))(jax.random.split(key, 100), of_env)

        def step(state: Any, _: Any) -> Any:
            now, envs, alive, total = state
            after, envs, reward, terminated, truncated, _ = jax.vmap(env.step, (0, 0, 0, None))(
                jax.random.split(key, 100), envs, values(online, now).argmax(1), of_env
            )
            return (after, envs, alive & ~(terminated | truncated), total + alive * reward), None

        return jax.lax.scan(step, (now, envs, jnp.ones(100, bool), jnp.zeros(100)), None, 500)[0][3].mean()

    key, steps = jax.random.PRNGKey(options.seed), (options.frames - STARTS) // count
    started = time.monotonic()
    warm = jax.jit(begin).lower(key).compile()
    shapes = jax.eval_shape(begin, key)
    train = jax.jit(lambda state: jax.lax.scan(learn, state, None, steps)[0], donate_argnums=0).lower(shapes).compile()
    compiled = time.monotonic()
    state = jax.block_until_ready(warm(key))
    began = time.monotonic()
    state = jax.block_until_ready(train(state))
    ended = time.monotonic()
    recent = state["recent"][: min(RECENT, int(state["ended"]))]
    print(json.dumps({
        "seconds": ended - STARTED, "compile_seconds": compiled - started, "seconds_compiled": ended - compiled,
        "learning_frames_per_second": steps * count / (ended - began), "frames": int(state["frames"]),
        "updates": int(state["updates"]), "train_return": float(recent.mean()),
        "eval_return": float(jax.jit(evaluated)(state["online"], key)), "jax": jax.__version__,
    }))  # fmt: skip


main()
