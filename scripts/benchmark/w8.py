"""W8: wall clock from the command to a greedy CartPole mean of at least 475, against SB3 with the zoo's settings."""

from measure import Bar, Contestant, Workload

WORKLOAD = Workload(
    "Wall clock from the command to a greedy CartPole-v1 mean ≥ 475 (20 episodes); threads as each likes",
    [
        Contestant("qframe", None, "solve.py", threads=2),
        Contestant("SB3, the zoo's settings", "sb3", "sb3_solve.py", threads=2),
    ],
    [Bar("qframe", "SB3, the zoo's settings", "seconds", 4.0)],
)
