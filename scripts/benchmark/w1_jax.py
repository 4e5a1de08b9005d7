"""W1 beside whole agents as one JAX program, on one core and on two."""

from measure import Bar, Contestant, Workload

SIDES = {"one core": 1, "two cores": 2}
SEED = "--seed={seed}"


def _contestants(where: str, cores: int) -> list[Contestant]:
    program = "jax_dqn.py"
    return [
        Contestant(
            f"qframe, {where}", None, "qframe_train.py", ("experiment=benchmark_w1", "seed={seed}"), cores=cores
        ),
        Contestant(f"JAX program, 10 environments, {where}", "jax", program, (SEED,), cores=cores),
        Contestant(f"JAX program, 40 environments, {where}", "jax", program, ("--num-envs=40", SEED), cores=cores),
        Contestant(f"rejax DQN, {where}", "rejax", "rejax_train.py", ("dqn", SEED), cores=cores),
    ]


def _bars(where: str) -> list[Bar]:
    peers = ("JAX program, 10 environments", "JAX program, 40 environments", "rejax DQN")
    return [
        bar
        for peer in peers
        for bar in (
            Bar(f"qframe, {where}", f"{peer}, {where}", "learning_frames_per_second", 1.0, inverse=False),
            Bar(f"qframe, {where}", f"{peer}, {where}", "seconds", 1.0),
            Bar(f"qframe, {where}", f"{peer}, {where}", "processor_seconds", 1.0),
        )
    ]


WORKLOAD = Workload(
    "W1 beside a whole agent compiled as one JAX program; learning speed, and whole processes with compilation",
    [contestant for where, cores in SIDES.items() for contestant in _contestants(where, cores)],
    [bar for where in SIDES for bar in _bars(where)],
    same=("frames", "updates"),
    notes="JAX compiles in every process, qframe found its update compiled by an earlier one. The JAX program was "
    "written for this comparison: the environments, the replay and the update are one compiled loop, which only "
    "environments that are written in JAX allow. rejax's speed includes the 10,000 frames before learning; its "
    "targets take an episode that was cut off for a failure; returns of rejax are greedy",
)
