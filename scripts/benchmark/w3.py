"""W3: Atari Pong, Nature CNN, batches of 32, an update per 4 steps, 20k steps after warm-up; two threads."""

from measure import Bar, Contestant, Workload

OURS = (
    "experiment=pong_dqn", "loss=dqn", "replay.n_step=1", "replay.capacity=25_000", "total_frames=21_000",
    "runner.learning_starts=1_000", "collector=pipelined", "compile=true", "evaluation.every=10_000_000",
    "evaluation.final_episodes=1", "evaluation.num_envs=1", "checkpoint.every=10_000_000", "logger.every=1_000",
    "env.max_episode_frames=4_000", "trunk.channels=[32,64,64]", "trunk.kernels=[8,4,3]",
    "trunk.strides=[4,2,1]", "trunk.num_features=512", "autocast=false", "runner.threads=2",
    "env.num_threads=2", "runner.stop.eval_return=null", "env.size=84", "runner.every=8", "runner.updates=2",
)  # fmt: skip

WORKLOAD = Workload(
    "Atari Pong, Nature CNN, batch 32, an update per 4 steps, 20k steps after warm-up; two threads",
    [
        Contestant("qframe", None, "qframe_train.py", OURS, threads=2),
        Contestant("qframe, bfloat16", None, "qframe_train.py", (*OURS, "autocast=true"), threads=2),
        Contestant("SB3", "sb3", "sb3_atari.py", threads=2),
    ],
    [
        Bar("qframe", "SB3", "learning_frames_per_second", 6.0, inverse=False),
        Bar("qframe, bfloat16", "SB3", "learning_frames_per_second", 6.0, inverse=False),
    ],
    same=("updates",),
    notes="an update is 2.2 GFLOP: 6 times SB3's speed is 400 GFLOPS; either core, without AMX, reaches 190 at best",
)
