"""TorchRL on CartPole as its own DQN example does it: batches of 1,000 frames, then 100 updates of 128."""

import time

STARTED = time.monotonic()

import argparse  # noqa: E402
import json  # noqa: E402
import warnings  # noqa: E402

import torch  # noqa: E402
from tensordict.nn import TensorDictSequential  # noqa: E402
from torchrl.collectors import Collector  # noqa: E402
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer  # noqa: E402
from torchrl.envs import GymEnv, RewardSum, StepCounter, TransformedEnv  # noqa: E402
from torchrl.modules import MLP, EGreedyModule, QValueActor  # noqa: E402
from torchrl.objectives import DQNLoss, HardUpdate  # noqa: E402

warnings.simplefilter("ignore")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    env = TransformedEnv(GymEnv("CartPole-v1", categorical_action_encoding=True))
    env.append_transform(RewardSum())
    env.append_transform(StepCounter())
    env.set_seed(options.seed)
    spec = env.action_spec
    network = MLP(in_features=4, out_features=2, num_cells=[120, 84], activation_class=torch.nn.ReLU)
    actor = QValueActor(network, in_keys=["observation"], spec=spec)
    explore = EGreedyModule(annealing_num_steps=options.frames // 2, eps_init=1.0, eps_end=0.05, spec=spec)
    collector = Collector(
        env, TensorDictSequential(actor, explore), frames_per_batch=1_000, total_frames=options.frames,
        init_random_frames=10_000,
    )  # fmt: skip
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(10_000), batch_size=128, prefetch=None)
    loss_module = DQNLoss(actor, loss_function="l2", delay_value=True, action_space=spec)
    loss_module.make_value_estimator(gamma=0.99)
    target = HardUpdate(loss_module, value_network_update_interval=50)
    optimizer = torch.optim.Adam(loss_module.parameters(), lr=2.5e-4)
    frames, updates, returns = 0, 0, []
    for data in collector:
        explore.step(data.numel())
        frames += data.numel()
        returns += data["next", "episode_reward"][data["next", "done"]].tolist()
        buffer.extend(data.reshape(-1))
        if frames < 10_000:
            continue
        for _ in range(data.numel() // 10 if frames > 10_000 else 0):
            loss = loss_module(buffer.sample())["loss"]
            loss.backward()
            torch.nn.utils.clip_grad_norm_(loss_module.parameters(), 10.0)
            optimizer.step()
            optimizer.zero_grad()
            target.step()
            updates += 1
    seconds = time.monotonic() - STARTED
    print(json.dumps({
        "seconds": seconds, "frames": frames, "updates": updates, "frames_per_second": frames / seconds,
        "train_return": sum(returns[-100:]) / len(returns[-100:]), "num_envs": 1,
    }))  # fmt: skip


main()
