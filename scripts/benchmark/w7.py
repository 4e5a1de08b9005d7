"""W7: five million frames of W1: the speed of the last tenth against the second, and the growth of memory."""

from measure import Bar, Contestant, Workload

WORKLOAD = Workload(
    "W1 for 5M frames: speed of the last tenth against the second; growth of resident memory in MB (limit 20)",
    [
        Contestant("qframe", None, "long_run.py", ("5_000_000",)),
        Contestant("the second tenth", None, "start.py", ("limit", "1")),
    ],
    [Bar("qframe", "the second tenth", "seconds", 0.95, inverse=False)],
)
