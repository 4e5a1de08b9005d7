"""W2: W1 with 101 quantiles against sb3-contrib's QR-DQN, and with 101 atoms against Tianshou's C51."""

from measure import Bar, Contestant, Workload

SHORT = (
    "experiment=benchmark_w1", "~head.loss_function", "total_frames=100_000", "exploration.annealing_num_steps=50_000",
    "seed={seed}",
)  # fmt: skip
PEERS = ("--frames=100000", "--seed={seed}")
QUANTILE = (*SHORT, "head=quantile", "head.num_quantiles=101")
ATOMS = (*SHORT, "head=categorical", "head.num_atoms=101", "head.v_min=-100", "head.v_max=100")

WORKLOAD = Workload(
    "W1 with the quantile head (101) and C51 (101 atoms), 100k frames; one thread",
    [
        Contestant("qframe, quantiles", None, "qframe_train.py", QUANTILE),
        Contestant("sb3-contrib QR-DQN", "sb3", "sb3_train.py", ("--quantiles=101", *PEERS)),
        Contestant("qframe, C51", None, "qframe_train.py", ATOMS),
        Contestant("Tianshou C51", "tianshou", "tianshou_train.py", PEERS),
    ],
    [
        Bar("qframe, quantiles", "sb3-contrib QR-DQN", "seconds", 12.0),
        Bar("qframe, C51", "Tianshou C51", "seconds", 5.0),
    ],
    same=("frames", "updates"),
    notes="updates were compiled by an earlier run; the first takes 36 s longer. Every repeat has a seed of its own",
)
