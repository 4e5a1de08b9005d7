"""W5: replay of a million transitions: a uniform sample of 128; a prioritized one with the update of its priorities."""

from measure import Bar, Contestant, Workload

WORKLOAD = Workload(
    "Replay, 1M transitions, batch 128; one thread",
    [
        Contestant("qframe", None, "qframe_replay.py"),
        Contestant("SB3", "sb3", "sb3_replay.py"),
        Contestant("Tianshou", "tianshou", "tianshou_replay.py"),
        Contestant("TorchRL", "torchrl", "torchrl_replay.py"),
    ],
    [
        Bar("qframe", "SB3", "uniform_microseconds", 2.0),
        Bar("qframe", "Tianshou", "uniform_microseconds", 2.0),
        Bar("qframe", "TorchRL", "uniform_microseconds", 2.0),
        Bar("qframe", "Tianshou", "prioritized_microseconds", 1.0),
        Bar("qframe", "TorchRL", "prioritized_microseconds", 3.0),
    ],
)
