"""A run composed by hand from the library's parts, small enough for a test."""

from pathlib import Path

import torch
from gymnasium.spaces import Box

from qframe.actions import make_action_space
from qframe.checkpoints import Checkpoints
from qframe.envs import GymnasiumEnvs
from qframe.exploration import EGreedyModule
from qframe.heads import ScalarHead
from qframe.loggers import Logger
from qframe.machine.generators import seed_globally
from qframe.networks import EncodedTrunk, MLPTrunk, QNet, make_encoder
from qframe.objectives import DQNLoss, SoftUpdate
from qframe.optimizer import Optimizer
from qframe.replay import ProportionalPriorities, ReplayBuffer
from qframe.runs.folder import RunFolder
from qframe.training import Collector, Evaluation, Learner, RewardTransform, Runner

CPU = torch.device("cpu")


def prioritized(layout, **settings):
    """A replay class that gives each of its replays priorities of its own."""

    def build(*sizes, **options):
        return layout(*sizes, priorities=ProportionalPriorities(**settings), **options)

    build.__name__ = f"prioritized {layout.__name__}"
    return build


def make_trunk(space):
    if isinstance(space, Box):
        return MLPTrunk(space.shape, num_cells=[32])
    encoder = make_encoder(space)
    return EncodedTrunk(encoder, MLPTrunk((encoder.num_features,), num_cells=[32]))


def make_runner(
    folder: Path,
    env: str,
    *,
    head=ScalarHead,
    network=QNet,
    trunk=make_trunk,
    replay=ReplayBuffer,
    replay_options=None,
    estimator="TD0",
    gamma=0.9,
    total_frames=800,
    num_envs=4,
    vectorization="sync",
    seed=0,
    lr=3e-3,
    tau=0.05,
    evaluate_every=10_000,
    env_options=None,
    encoding="auto",
    joint="branching",
    normalize_observation=False,
    reward=None,
    bonus=None,
    memory=None,
    learner=Learner,
    **runner_options,
):
    seed_globally(seed)
    envs = GymnasiumEnvs(env, num_envs=num_envs, vectorization=vectorization, **(env_options or {}))
    by_branches = {"max_enumerated": 0} if encoding == "auto" else {}
    space = make_action_space(envs.action_space, encoding=encoding, joint=joint, **by_branches)
    remembers = {} if memory is None else {"make_memory": memory}
    value_network = network(
        trunk(envs.observation_space), head,
        action_space=space, normalize_observation=normalize_observation, **remembers,
    )  # fmt: skip
    burn_in = (replay_options or {}).get("burn_in", 0)
    loss = DQNLoss(value_network, delay_value=True, joint=joint, burn_in=burn_in, gamma=gamma)
    loss.make_value_estimator(estimator)
    buffer = replay(2000, 32, gamma=gamma, num_envs=num_envs, **(replay_options or {}))
    exploration = EGreedyModule(space, 1.0, 0.2, total_frames // 2)
    no_choice = {"clip": None, "scale": 1.0, "normalize": False}
    made = bonus and bonus(envs.observation_space, gamma=gamma, num_envs=num_envs, seed=seed)
    transform = RewardTransform(**no_choice | (reward or {}), gamma=gamma, num_envs=num_envs, bonus=made)
    options = {"learning_starts": 100, "every": 4, "updates": 2} | runner_options
    return Runner(
        collector=Collector(
            envs.make(seed), loss.value_network, exploration=exploration, action_space=space, reward=transform,
            device=CPU, stores_state=memory is not None,
        ),
        learner=learner(
            loss,
            buffer,
            optimizer=Optimizer(loss.value_network.parameters(), torch.optim.Adam, lr=lr),
            target_update=SoftUpdate(loss, tau=tau),
            action_space=space,
            device=CPU,
        ),
        replay=buffer,
        evaluation=Evaluation(
            envs, space, seed=seed, every=evaluate_every, episodes=4, final_episodes=3, num_envs=3
        ),
        checkpoints=Checkpoints(every=500, keep=2),
        logger=Logger(every=500, tensorboard=False),
        folder=RunFolder(folder),
        total_frames=total_frames,
        seed=seed,
        **options,
    )
