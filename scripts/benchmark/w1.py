"""W1: DQN on CartPole-v1 by CleanRL's settings, one update of 128 per 10 frames, 500k frames, one thread each."""

from measure import Bar, Contestant, Workload

WORKLOAD = Workload(
    "CartPole-v1, 500k frames, an update of 128 per 10 frames, MLP 120-84, buffer 10k; whole process, one thread",
    [
        Contestant("qframe", None, "qframe_train.py", ("experiment=benchmark_w1",)),
        Contestant("SB3", "sb3", "sb3_train.py"),
        Contestant("SB3, 10 environments", "sb3", "sb3_train.py", ("--num-envs", "10")),
        Contestant("TorchRL", "torchrl", "torchrl_train.py", every=5),
    ],
    [
        Bar("qframe", "SB3", "seconds", 8.0),
        Bar("qframe", "SB3, 10 environments", "seconds", 8.0),
        Bar("qframe", "TorchRL", "seconds", 25.0),
    ],
    same=("frames", "updates"),
    notes="qframe finds its update compiled by an earlier run; the first run takes 30 to 45 s longer. "
    "Its training returns by seed, 1 to 5: 317, 500, 470, 492, 495 (to reach: 475); greedy: 500, all",
)
