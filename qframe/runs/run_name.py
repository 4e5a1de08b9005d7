"""The names of runs and of a sweep's jobs, made from what runs: environment, algorithm, and the changes that are typed.

``name=`` overrides them.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qframe.runs.folder import environment_name

AUTO = "auto"
ALGORITHMS = {
    "ScalarHead": "dqn",
    "CategoricalHead": "c51",
    "QuantileHead": "qrdqn",
    "ImplicitQuantileHead": "iqn",
    "FullyParameterizedQuantileHead": "fqf",
}
"""The algorithm that each head makes of deep Q-learning; another head goes by its own name."""
IDENTITY = re.compile(
    r"experiment|sweep|env(\.(id|game|_target_))?|(head|estimator|priorities)(\._target_)?|loss(\.(double_dqn|_target_))?"
    r"|network(\.(dueling|noisy|_target_))?"
)
"""Keys that the names of the environment and the algorithm depend on."""
UNNAMED = re.compile(
    r"(name|seed|total_frames|device|compile|autocast|deterministic|profile|resume|hydra|score|logger|checkpoint"
    r"|evaluation|collector)\b.*|runner\.threads"
)
"""Keys that have no place in a name: they change where, how long or how visibly a run trains."""
LONGEST = 40  # characters of all changes together, after which the rest become a checksum


def run_name(
    config: Mapping[str, Any], overrides: Iterable[str] = (), swept: Sequence[str] = (), *, preset: str | None = None
) -> str:
    """The name of a run, or of a sweep: the preset or ``environment_algorithm``, then the changes.

    Args:
        config: composed; parts with faults are left out of the name.
        overrides: as typed, those with one value.
        swept: the keys that are swept over, which have no single value to name.
        preset: the option of ``experiment`` chosen, if any; it names the run until an override changes its environment
            or algorithm.

    >>> config = {"env": {"id": "CartPole-v1"}, "head": {"_target_": "qframe.heads.QuantileHead"}}
    >>> run_name(config, ["head=quantile", "optimizer.lr=1e-3"], preset="cartpole_dqn")
    'cartpole_qrdqn-lr=1e-3'
    """
    texts = list(overrides)
    keys = [_key(text) for text in texts]
    if changed := [key for key in swept if IDENTITY.fullmatch(key)]:
        kept = not any(key.startswith(("env", "experiment")) for key in changed)
        base = environment_slug(config) if kept else "sweep"
    elif preset is not None and not any(IDENTITY.fullmatch(key) for key in keys if key != "experiment"):
        base = slug(preset.rpartition("/")[2])
    else:
        base = "_".join([environment_slug(config), *_algorithm(config)])
    named_keys = [key for key in swept if not UNNAMED.fullmatch(key)]
    named = [text for text, key in zip(texts, keys, strict=True) if not IDENTITY.fullmatch(key)]
    return "-".join(filter(None, (base or "run", changes(named), _joined(sorted(short_keys(named_keys).values())))))


def changes(overrides: Iterable[str]) -> str:
    """Overrides as part of a file's name, sorted by key; if they are too long for one, the rest as a checksum.

    >>> changes(["seed=2", "optimizer.lr=1e-3", "trunk.num_cells=[256,256]"])
    'lr=1e-3,num_cells=256_256'
    """
    return _listed(sorted((text for text in overrides if not UNNAMED.fullmatch(_key(text))), key=_key))


def job_folder(number: int, overrides: Iterable[str]) -> str:
    """The name of the folder of a sweep's job: its number, and the overrides in which it differs from the others.

    >>> job_folder(3, ["head=quantile", "seed=2"]), job_folder(0, [])
    ('3-head=quantile,seed=2', '0')
    """
    return "-".join(filter(None, (str(number), _listed(overrides))))


def _listed(overrides: Iterable[str]) -> str:
    texts = {_key(text): text for text in overrides}
    short = short_keys(texts)
    return _joined([f"{short[key]}={slug(text.partition('=')[2]) or 'none'}" for key, text in texts.items()])


def _joined(parts: Sequence[str]) -> str:
    count = len(parts)
    while len(",".join(parts[:count])) > LONGEST:
        count -= 1
    whole = ",".join(parts)
    rest = f"{len(parts) - count}_more_{hashlib.sha256(whole.encode()).hexdigest()[:6]}"
    short = ",".join([*parts[:count], rest])
    return short if len(short) < len(whole) else whole


def environment_slug(config: Mapping[str, Any]) -> str:
    """The environment's name without namespace and version.

    >>> environment_slug({"env": {"id": "ALE/Breakout-v5"}}), environment_slug({"env": {"id": "mylab.envs.Odd"}})
    ('breakout', 'odd')
    """
    env = config.get("env")
    name = environment_name(env) if isinstance(env, Mapping) else None
    return slug(re.sub(r"-v\d+$", "", re.split(r"[:./]", name or "")[-1])).lower()


def slug(text: str) -> str:
    """The text with every character that some file system or shell treats specially replaced by an underscore."""
    return re.sub(r"[^\w.+-]+", "_", text, flags=re.ASCII).strip("_.")


def _algorithm(config: Mapping[str, Any]) -> list[str]:
    network, estimator = _part(config, "network"), _part(config, "estimator")
    head, loss = _part(config, "head"), _part(config, "loss").removesuffix("_loss")
    words = {
        "ensemble": network.startswith("ensemble"),
        "noisy": bool(_node(config, "network").get("noisy")),
        "dueling": network == "shared_trunk" and _node(config, "network").get("dueling", True),
        "double": bool(_node(config, "loss").get("double_dqn")),
        estimator: estimator not in ("", "td0"),
        loss if head == "dqn" and loss else head: True,
        "per": _part(config, "priorities") == "proportional_priorities",
    }
    chosen = [word for word, is_used in words.items() if is_used]
    return ["rainbow"] if chosen == ["noisy", "dueling", "double", "c51", "per"] else chosen


def _part(config: Mapping[str, Any], group: str) -> str:
    """The class of a group's part in snake case; a head by the algorithm that it makes."""
    name = str(_node(config, group).get("_target_", "")).rpartition(".")[2]
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name.removesuffix("Head"))
    return ALGORITHMS.get(name, slug(words).lower())


def _node(config: Mapping[str, Any], group: str) -> Mapping[str, Any]:
    node = config.get(group)
    return node if isinstance(node, Mapping) else {}


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0].strip()


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """The last part of each key, or all of it where two would look alike."""
    ends = {key: slug(key.removesuffix("._target_").split(".")[-1]) for key in keys}
    return {key: end if list(ends.values()).count(end) == 1 else slug(key) for key, end in ends.items()}
