"""W4: one DQNLoss forward and backward through the public tensordict call, a batch of 128."""

from measure import Bar, Contestant, Workload

WORKLOAD = Workload(
    "One DQNLoss forward + backward by the tensordict call, batch 128, MLP 120-84, target network; one thread",
    [
        Contestant("hand-written loop", None, "hand_written_loss.py"),
        Contestant("qframe", None, "qframe_loss.py"),
        Contestant("qframe, compiled", None, "qframe_loss.py", ("--compile",)),
        Contestant("TorchRL", "torchrl", "torchrl_loss.py"),
        Contestant("TorchRL, compiled", "torchrl", "torchrl_loss.py", ("--compile",)),
    ],
    [
        Bar("qframe", "hand-written loop", "microseconds", 1 / 1.3),
        Bar("qframe, compiled", "TorchRL", "microseconds", 4.0),
        Bar("qframe, compiled", "TorchRL, compiled", "microseconds", 4.0),
    ],
)
