"""PQN on CartPole for 500,000 frames, from the command to the end."""

from measure import Bar, Contestant, Workload

WORKLOAD = Workload(
    "PQN on CartPole, 500k frames, 15,616 updates of 128 steps; whole processes, one thread each, warm compile cache",
    [
        Contestant("qframe", None, "qframe_train.py", ("experiment=cartpole_pqn", "seed={seed}")),
        Contestant("plain torch loop", None, "pqn_loop.py", ("{seed}", "500000")),
    ],
    [Bar("qframe", "plain torch loop", "process_seconds", 4.0)],
    same=["frames", "updates"],
    notes="The loop has the published settings of CleanRL's pqn.py: 4 environments, 128 steps.",
)
