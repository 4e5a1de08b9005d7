"""The description of a run before it starts, part by part."""

from qframe.config.actor_traffic import actor_line
from qframe.config.auto import Picked
from qframe.config.build import Assembly
from qframe.config.memory_prediction import memory_line
from qframe.envs import Envs
from qframe.networks.observation_scaling import scaled_entries
from qframe.networks.recurrent_trunk import recurrent_trunk
from qframe.objectives import DQNLoss


def describe(assembly: Assembly) -> dict[str, str]:
    """A summary of the run, by part."""
    built, config = assembly.parts, assembly.config
    loss, replay = built.loss, built.replay
    parameters = sum(parameter.numel() for parameter in loss.value_network.parameters())
    update = f"{'double, ' if loss.double_dqn else ''}{type(built.target_update).__name__}"
    return {
        "environment": f"{built.envs.id} × {built.envs.num_envs} ({built.envs.vectorization})"
        + (f"; {built.envs.note}" if built.envs.note else ""),
        "observation": _observation(built.envs),
        "action": f"{built.envs.action_space} as {built.action_space}; "
        + (f"masked by {built.envs.mask_source}" if built.envs.has_masks else "no action mask found"),
        "network": f"{type(loss.value_network).__name__}, {parameters:,} parameters" + _trunk_note(assembly.picked),
        **({"memory": _memory(loss)} if loss.has_memory else {}),
        "head": f"{type(loss.head).__name__}, {loss.head.num_outputs} per action",
        "estimator": f"{type(loss.estimator).__name__}, gamma {loss.gamma}",
        "loss": f"{type(loss).__name__}, {update}",
        "replay": f"{type(replay).__name__}, {replay.capacity:,} transitions, batches of {replay.batch_size}, "
        f"{'drawn uniformly' if replay.priorities is None else type(replay.priorities).__name__}, "
        f"{memory_line(built)}",
        **({"actors": actors} if (actors := actor_line(assembly)) else {}),
        **({"bonus": f"{type(bonus).__name__}, scale {bonus.scale:g}"} if (bonus := built.reward.bonus) else {}),
        **({"weights": assembly.initial} if assembly.initial else {}),
        "device": str(assembly.device),
        "frames": f"{config['total_frames']:,}",
    }


def _memory(loss: DQNLoss) -> str:
    trunk = recurrent_trunk(loss.value_network)
    assert trunk is not None
    memory = trunk.memory
    inputs = "".join(f", last {name}" for name in memory.inputs)
    return f"{type(memory).__name__}, a state of {memory.state_size} numbers, from features{inputs}"


def _observation(envs: Envs) -> str:
    """The observation space, and which of its bytes a network divides by 255."""
    scaled = scaled_entries(envs.observation_space)
    note = f"; bytes scaled to [0, 1]: {', '.join(scaled)}" if scaled else ""
    return f"{' '.join(str(envs.observation_space).split())}{note}"


def _trunk_note(picked: Picked) -> str:
    return f"; trunk={picked['trunk'][0]} ({picked['trunk'][1]})" if "trunk" in picked else ""
