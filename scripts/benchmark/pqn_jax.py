"""PQN on CartPole beside rejax's: 32 environments, 64 steps, 16 minibatches, 4 epochs, on one core and on two."""

from measure import Bar, Contestant, Workload

OURS = (
    "experiment=cartpole_pqn", "seed={seed}", "env.num_envs=32", "replay.steps=64", "replay.slice_length=16",
    "optimizer=adam", "optimizer.lr=1e-3", "optimizer.lr_schedule=constant", "optimizer.max_grad_norm=null",
    "evaluation.every=500_000", "evaluation.final_episodes=10", "trunk.num_cells=[120,84]", "head.loss_function=l2",
)  # fmt: skip
THEIRS = ("pqn", "--num-envs=32", "--seed={seed}")
SIDES = {"one core": 1, "two cores": 2}

WORKLOAD = Workload(
    "PQN on CartPole, 500k frames, 32 environments × 64 steps, 16 minibatches, 4 epochs",
    [
        contestant
        for where, cores in SIDES.items()
        for contestant in (
            Contestant(f"qframe, {where}", None, "qframe_train.py", OURS, cores=cores),
            Contestant(f"rejax PQN, {where}", "rejax", "rejax_train.py", THEIRS, cores=cores),
        )
    ],
    [
        bar
        for where in SIDES
        for bar in (
            Bar(f"qframe, {where}", f"rejax PQN, {where}", "seconds", 1.0),
            Bar(f"qframe, {where}", f"rejax PQN, {where}", "learning_frames_per_second", 0.67, inverse=False),
            Bar(f"qframe, {where}", f"rejax PQN, {where}", "processor_seconds", 1.0),
        )
    ],
    same=("frames", "updates"),
    notes="rejax compiles in every process, qframe found its update compiled by an earlier one. rejax needs "
    "environments that are written in JAX; its targets take an episode that was cut off for a failure. qframe's "
    "λ-returns (λ = .65) end after 16 steps, rejax's after 64",
)
