"""Going on with a run: which values may change on its way, and which run the same command has begun before."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from qframe.config import build
from qframe.config.auto import resolved
from qframe.config.compose import Composition
from qframe.config.saved_run import checkpoint, fitting, saved_config
from qframe.config.schema import GROUPS
from qframe.errors import UserError
from qframe.runs.folder import RunFolder

FIXED = (
    "name", "seed", "gamma", "action_space", "network", "trunk", "head",
    "env._target_", "env.id", "env.game", "env.kwargs", "env.wrappers",
)  # fmt: skip
"""What is part of what a run has learnt, or of where it has begun: groups, and entries of groups."""


def go_on(folder: RunFolder, overrides: Sequence[str] = (), *, started: float | None = None) -> int:
    """Load the newest whole checkpoint into the same parts and train on; the exit status.

    Raises:
        UserError: no checkpoint, a run that is finished, or a change that does not fit.
    """
    check_changes(overrides)
    config, state = saved_config(folder, overrides), checkpoint(folder)
    frames, status = state["run"]["frames"], folder.summary.get("status", "unknown")
    if frames >= config.total_frames and status == "finished":
        raise UserError(
            f"expected a run with frames left, got {folder.path} at {frames:,} of {config.total_frames:,} "
            f"(status {status}); to train on, add total_frames={2 * frames}"
        )
    with fitting():
        runner = build.build(config, folder.path, state=state, started=started)
    runner.run()
    return 0


def check_changes(overrides: Sequence[str]) -> None:
    """Refuse what would be ignored, or would make another run of it.

    Raises:
        UserError: such a change; it is named.
    """
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        group, *entries = re.split(r"[./[]", key)
        fixed = next((place for place in (group, ".".join([group, *entries[:1]])) if place in FIXED), None)
        if key in GROUPS:
            raise UserError(
                f"{key}: expected values of the parts that the run has, such as optimizer.lr=1e-4, got '{override}': "
                "a run goes on with its own parts; start another by qframe train"
            )
        if fixed is not None:
            raise UserError(
                f"{key}: expected a value that a run can change on its way, got '{override}': {fixed} is part of what "
                "it has learnt from; start another by qframe train"
            )


def without_resume(overrides: Sequence[str]) -> tuple[list[str], bool]:
    """The overrides without ``resume=auto``, and whether it was among them.

    Raises:
        UserError: another value of ``resume``.

    >>> without_resume(["seed=1", "resume=auto"])
    (['seed=1'], True)
    """
    given = [text for text in overrides if text.partition("=")[0] == "resume"]
    if wrong := [text for text in given if text != "resume=auto"]:
        raise UserError(f"expected resume=auto, got '{wrong[0]}'; a run that you name goes on by qframe resume RUN")
    return [text for text in overrides if text not in given], bool(given)


def begun_before(composition: Composition) -> RunFolder | None:
    """The newest run of this very config in the folders that its command writes to."""
    whole = OmegaConf.create({**composition.config, "hydra": composition.hydra})
    raw = OmegaConf.to_container(composition.hydra.run, resolve=False)
    assert isinstance(whole, DictConfig)
    assert isinstance(raw, dict)
    whole.hydra.run.dir = re.sub(r"\$\{now:[^}]*\}", "*", str(raw["dir"]))
    pattern = str(Path(str(whole.hydra.run.dir)).absolute())
    stamped = "*" in pattern
    paths = map(Path, glob.glob(f"{pattern}*" if stamped else glob.escape(pattern)))
    config, _ = resolved(composition.config)
    same = [path for path in paths if _config(RunFolder(path)) == config]
    return RunFolder(max(same, key=lambda path: (path / "config.yaml").stat().st_mtime)) if same else None


def _config(folder: RunFolder) -> object:
    try:
        return OmegaConf.to_container(OmegaConf.load(folder.config_file))
    except Exception:  # no run, or a damaged one: whatever YAML raises
        return None
