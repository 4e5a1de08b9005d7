"""W1: DQN on CartPole-v1 by CleanRL's settings, one update of 128 per 10 frames, 500k frames, one thread each.

Every repeat has a seed of its own: these settings lose what they learned now and then, by whichever library.
"""

from measure import Bar, Contestant, Workload

WORKLOAD = Workload(
    "CartPole-v1, 500k frames, an update of 128 per 10 frames, MLP 120-84, buffer 10k; whole process, one thread",
    [
        Contestant("qframe", None, "qframe_train.py", ("experiment=benchmark_w1", "seed={seed}")),
        Contestant("SB3", "sb3", "sb3_train.py", ("--seed={seed}",)),
        Contestant("SB3, 10 environments", "sb3", "sb3_train.py", ("--num-envs=10", "--seed={seed}")),
        Contestant("TorchRL", "torchrl", "torchrl_train.py", ("--seed={seed}",), every=5),
    ],
    [
        Bar("qframe", "SB3", "seconds", 8.0),
        Bar("qframe", "SB3, 10 environments", "seconds", 8.0),
        Bar("qframe", "TorchRL", "seconds", 25.0),
    ],
    same=("frames", "updates"),
    notes="qframe finds its update compiled by an earlier run; the first run takes 30 to 45 s longer. "
    "A seed per repeat; the returns are those of training, and qframe's is to reach 475. SB3's DQN has Huber's loss "
    "only, by which these settings stay at a return of 10, qframe's too: it is given the squared error",
)
