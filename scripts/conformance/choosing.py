"""The greedy rule: modules, hooks and actors, scalar and distributional, with and without masks."""

import torch
import torchrl.data as reference_data
import torchrl.modules as reference
from record import Record
from tensordict import TensorDict
from torch import Tensor, nn

import qframe.actions
import qframe.exploration
import qframe.modules
import qframe.networks

CASES = 4000
SPACES = {"one-hot": (5,), "categorical": (5,), "mult-one-hot": (2, 1, 3)}
SUPPORT = torch.linspace(0.5, 4.0, 7)  # positive: TorchRL lets a masked action have the expected value 0
OUT_KEYS = ["action", "action_value", "chosen_action_value"]


def compare(record: Record) -> None:
    """All of this file."""
    torch.manual_seed(0)
    for space, sizes in SPACES.items():
        for dtype in (torch.float32, torch.float64, torch.float16):
            value, mask = torch.randn(CASES, sum(sizes)).to(dtype), _legal(sizes)
            if dtype is torch.float16:
                value = _without_ties(sum(sizes))
            _scalar(record, space, sizes, value, mask)
        _hook(record, space, sizes, torch.randn(CASES, sum(sizes)))
        if space != "mult-one-hot":
            _distributional(record, space, sum(sizes), _legal(sizes))
    _actors(record)
    _specs(record)


def _legal(sizes: tuple[int, ...]) -> Tensor:
    mask = torch.rand(CASES, sum(sizes)) < 0.6
    start = 0
    for size in sizes:
        mask[torch.arange(CASES), start + torch.randint(size, (CASES,))] = True
        start += size
    return mask


def _without_ties(width: int) -> Tensor:
    return torch.stack([torch.randperm(64)[:width] for _ in range(CASES)]).sub(32).half()


def _scalar(record: Record, space: str, sizes: tuple[int, ...], value: Tensor, mask: Tensor) -> None:
    var_nums = list(sizes) if space == "mult-one-hot" else None
    for legal in (None, mask):
        keys = {} if legal is None else {"action_mask_key": "mask"}
        entries = {"action_value": value} if legal is None else {"action_value": value, "mask": legal}
        ours = qframe.modules.QValueModule(space, var_nums=var_nums, **keys)(TensorDict(entries, [CASES]))
        theirs = reference.QValueModule(space, var_nums=var_nums, **keys)(TensorDict(entries, [CASES]))
        for key in OUT_KEYS[:2]:
            record.compare(f"QValueModule, {space}", ours[key], theirs[key], CASES)
        if value.dtype is not torch.float16 or space != "mult-one-hot":  # half a sum is added in another order
            record.compare(f"QValueModule, {space}", ours[OUT_KEYS[2]], theirs[OUT_KEYS[2]], CASES)


def _hook(record: Record, space: str, sizes: tuple[int, ...], value: Tensor) -> None:
    var_nums = list(sizes) if space == "mult-one-hot" else None
    outputs = []
    for library in (qframe.modules, reference):
        network = nn.Identity()
        network.register_forward_hook(library.QValueHook(space, var_nums))
        outputs.append(network(value))
    for ours, theirs in zip(*outputs, strict=True):
        record.compare(f"QValueHook, {space}", ours, theirs, CASES)


def _distributional(record: Record, space: str, width: int, mask: Tensor) -> None:
    value = (3 * torch.randn(CASES, len(SUPPORT), width)).log_softmax(-2)
    outputs = [
        library.DistributionalQValueModule(space, SUPPORT)(TensorDict({"action_value": value}, [CASES]))
        for library in (qframe.modules, reference)
    ]
    lifted = mask.unsqueeze(-2).expand_as(value)
    masked = [
        library.DistributionalQValueModule(space, SUPPORT, action_mask_key="mask")(
            TensorDict({"action_value": value, "mask": legal}, [CASES])
        )
        for library, legal in ((qframe.modules, mask), (reference, lifted))
    ]
    for ours, theirs in (outputs, masked):
        for key in OUT_KEYS[:2]:
            record.compare(f"DistributionalQValueModule, {space}", ours[key], theirs[key], CASES)
    hooked = []
    for library in (qframe.modules, reference):
        network = nn.Identity()
        network.register_forward_hook(library.DistributionalQValueHook(space, SUPPORT))
        hooked.append(network(value))
    for ours, theirs in zip(*hooked, strict=True):
        record.compare(f"DistributionalQValueHook, {space}", ours, theirs, CASES)


def _actors(record: Record) -> None:
    observation = torch.randn(CASES, 4)
    for space in ("one-hot", "categorical"):
        layer = nn.Linear(4, 3)
        actors = [library.QValueActor(layer, action_space=space) for library in (qframe.modules, reference)]
        _same_outputs(record, f"QValueActor, {space}", actors, observation)
        layer = nn.Sequential(nn.Linear(4, 7 * 3), nn.Unflatten(-1, (7, 3)))
        actors = [
            library.DistributionalQValueActor(layer, support=SUPPORT, action_space=space)
            for library in (qframe.modules, reference)
        ]
        _same_outputs(record, f"DistributionalQValueActor, {space}", actors, observation)


def _same_outputs(record: Record, part: str, actors: list, observation: Tensor) -> None:
    ours, theirs = (actor(TensorDict({"observation": observation}, [CASES])) for actor in actors)
    record.same(f"{part}: keys", set(ours.keys()), set(theirs.keys()))
    for key in theirs.keys():  # noqa: SIM118 - a tensordict iterates over its rows
        record.compare(part, ours[key], theirs[key], CASES)


def _specs(record: Record) -> None:
    pairs = {
        "OneHot": ((5,), {}), "Categorical": ((5,), {}), "MultiOneHot": (([2, 3],), {}),
        "MultiCategorical": (([2, 3],), {}), "Binary": ((4,), {}),
    }  # fmt: skip
    for name, (args, kwargs) in pairs.items():
        ours, theirs = (getattr(library, name)(*args, **kwargs) for library in (qframe.actions, reference_data))
        record.same(f"spec {name}: shape", tuple(ours.shape), tuple(theirs.shape))
        drawn = theirs.rand((CASES,)).to(ours.dtype)
        inside = [ours.is_in(row) for row in drawn]
        record.compare(f"spec {name}: TorchRL's draws are in it", inside, [True] * CASES, CASES)
        inside = [theirs.is_in(row.to(theirs.dtype)) for row in ours.rand((CASES,))]
        record.compare(f"spec {name}: its draws are in TorchRL's", inside, [True] * CASES, CASES)
