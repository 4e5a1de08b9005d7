"""W6: how long commands take to start."""

from measure import Bar, Contestant, Workload

WORKLOAD = Workload(
    "Start of commands; limits in seconds, for `train` the imports of torch, tensordict, hydra and gymnasium",
    [
        Contestant("qframe --help", None, "start.py", ("--help",)),
        Contestant("qframe list", None, "start.py", ("list",)),
        Contestant("qframe check", None, "start.py", ("check",)),
        Contestant("qframe train, first step", None, "start.py", ("first-step",)),
        Contestant("0.5 seconds", None, "start.py", ("limit", "0.5")),
        Contestant("4 seconds", None, "start.py", ("limit", "4")),
        Contestant("imports", None, "start.py", ("imports",)),
    ],
    [
        Bar("qframe --help", "0.5 seconds", "seconds", 1.0),
        Bar("qframe list", "0.5 seconds", "seconds", 1.0),
        Bar("qframe check", "4 seconds", "seconds", 1.0),
        Bar("qframe train, first step", "imports", "seconds", 1 / 1.3),
    ],
)
