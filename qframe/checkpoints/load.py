"""Reading the newest undamaged checkpoint of a run."""

import io
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from qframe.checkpoints.files import Damaged, other_format, read_checked, read_manifest
from qframe.checkpoints.save import OWN, PAGES, part_of
from qframe.replay.pages import Pages
from qframe.runs.checkpoint_names import checkpoints_in


def load_checkpoint(
    folder: Path, parts: Collection[str] | None = None, *, rank: int = 0, name: str | None = None
) -> dict[str, Any]:
    """Read the newest undamaged checkpoint; a warning names the damaged ones that were skipped.

    Only tensors and plain values are read, never pickled objects. Pages of rows are checked now and read when needed.

    Args:
        folder: of a run's checkpoints.
        parts: the parts to read; None reads all.
        rank: whose own parts are read, of processes that learn together.
        name: of the only checkpoint to read; None: the newest that is not damaged.

    Returns:
        The parts by name, and the checkpoint's own ``name``.

    Raises:
        ValueError: there is no undamaged checkpoint, or it has another format.
    """
    found = [path for path in checkpoints_in(folder) if name in (None, path.name)]
    if not found:
        raise ValueError(_no_checkpoint(folder))
    faults = []
    for path in reversed(found):
        try:
            state = _load(path, parts, rank)
        except Damaged as damage:
            faults.append(f"{path.name} ({damage})")
            continue
        if faults:
            warnings.warn(f"skipped damaged checkpoints: {', '.join(faults)}; using {path.name}", stacklevel=2)
        return state
    raise ValueError(f"all checkpoints in {folder} are damaged: {', '.join(faults)}")


def _load(path: Path, parts: Collection[str] | None, rank: int) -> dict[str, Any]:
    files = read_manifest(path)["files"]
    own = {part: part_of(part, rank) for part in OWN if f"{part_of(part, rank)}.pt" in files}
    common = {name.partition(".")[0] for name in files if "-" not in name.partition(".")[0]}
    places = {part: own.get(part, part) for part in common if parts is None or part in parts}
    if missing := {*(parts or ())} - places.keys():
        raise Damaged(f"{', '.join(sorted(missing))} missing")
    read = {f"{place}.pt" for place in places.values()}
    for name in files:  # those of other ranks by rank 0, which chooses the checkpoint for all
        is_own = name.partition(".")[0] in places.values()
        if name not in read and (is_own or (parts is None and rank == 0)):
            read_checked(path, name, files)
    state: dict[str, Any] = {"name": path.name}
    for part, place in places.items():
        state[part] = _with_pages(_read(path, files, f"{place}.pt"), path, files)
    return state


def _read(path: Path, files: Mapping[str, dict[str, Any]], name: str) -> Any:
    try:
        return torch.load(io.BytesIO(read_checked(path, name, files)), map_location="cpu", weights_only=True)
    except Damaged:
        raise
    except Exception as error:  # torch raises many kinds; the checksum matches, so it was written this way
        reason = next(iter(str(error).splitlines()), type(error).__name__).split(". ")[0]
        raise Damaged(f"{name}: {reason}") from error


def _with_pages(content: Any, path: Path, files: Mapping[str, dict[str, Any]]) -> Any:
    """The content, with descriptions of pages replaced by the pages."""
    if not isinstance(content, dict):
        return content
    if PAGES not in content:
        return {key: _with_pages(value, path, files) for key, value in content.items()}
    place = content[PAGES]
    names = [f"{place}.{page:06}.pt" for page in range(len(content["written"]))]
    written = content["written"].tolist()
    if missing := [name for name, version in zip(names, written, strict=True) if version and name not in files]:
        raise Damaged(f"{missing[0]} missing")
    return Pages(
        content["rows_per_page"], content["written"], content["clock"],
        lambda page: _read(path, files, f"{place}.{page:06}.pt"),
    )  # fmt: skip


def _no_checkpoint(folder: Path) -> str:
    single = folder / "last.pt"
    if single.is_file():
        return other_format(single, _format_of(single))
    return f"there is no checkpoint in {folder}; was the run stopped before its first one?"


def _format_of(path: Path) -> Any:
    """The format number in a checkpoint of a single file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds
        return "unknown"
    return state.get("format", "unknown") if isinstance(state, dict) else "unknown"
