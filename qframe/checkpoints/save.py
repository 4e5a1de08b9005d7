"""Writing checkpoints: the whole state of a run, in a folder that is renamed once it is complete."""

import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from qframe.checkpoints.files import MANIFEST, read_manifest, sync_folder, write_durably, write_manifest
from qframe.machine.allocator import give_back_freed_memory
from qframe.machine.ranks import Ranks, on_first
from qframe.replay.pages import Pages
from qframe.runs.checkpoint_names import CHECKPOINT, checkpoints_in, order


class Checkpoints:
    """The latest checkpoints of a run, each a folder named by its frames that holds everything, the replay included.

    A folder is written under a temporary name: its files, then a manifest of their sizes and checksums. It is renamed
    once all of it is on disk, so a complete checkpoint survives a crash at any moment.

    The replay's rows are files of about 4 MiB. Those that have not changed since the checkpoint that is about to be
    removed are hard links to its files, so a large replay is not written again. No two kept checkpoints share a file,
    so damage to one leaves the others intact.

    Processes that learn together write one checkpoint, at the same frame: rank 0 the parts that are equal on all of
    them, and every rank its own parts, the replay's rows among them, under names that end with its number.

    Args:
        every: frames between checkpoints.
        keep: the number of checkpoints kept.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(self, *, every: int, keep: int) -> None:
        for name, number, unit in (("every", every, "frame"), ("keep", keep, "checkpoint")):
            if number < 1:
                raise ValueError(f"expected {name} of at least 1 {unit}, got {number}")
        self.every, self.keep = every, keep
        self.ranks: Ranks | None = None
        """The processes that write checkpoints together; each calls ``save``."""
        self._newest: str | None = None  # checkpoint of this run

    def resume_from(self, name: str) -> None:
        """Resume from this checkpoint; newer ones are damaged, and the next save removes them."""
        self._newest = name

    def last(self, folder: Path) -> str:
        """The last checkpoint, for the note on an error."""
        if self._newest is None:
            return "no checkpoint was written yet"
        return f"the last checkpoint is {folder / self._newest}"

    def save(self, folder: Path, frames: int, state: dict[str, Any]) -> str:
        """Write a checkpoint; the earlier ones stay until it is complete.

        Args:
            folder: of all checkpoints.
            frames: of the run.
            state: the parts by name, made of tensors, plain values and ``Pages``.

        Returns:
            Its size and the time it took to write, for a line of the report.

        Raises:
            OSError: the disk is full or cannot be written; on all ranks, if one of them meets it.
        """
        started, ranks = time.monotonic(), self.ranks
        earlier = self._earlier(folder)
        source = earlier[-self.keep] if len(earlier) >= self.keep else None
        temporary = on_first(ranks, lambda: _temporary(folder))
        temporary = temporary if ranks is None else ranks.from_first(temporary)
        assert temporary is not None
        if ranks is not None:
            rank = ranks.rank
            state = {part_of(part, rank): content for part, content in state.items() if not rank or part in OWN}
        writer = _Writer(temporary, source)
        failure: OSError | None = None
        try:
            for part, content in state.items():
                writer.write(part, content)
        except OSError as error:
            failure = error
        written, bytes_written = writer.files, writer.bytes_written
        if ranks is not None:
            found = ranks.gather((written, bytes_written, failure))
            written = {name: entry for files, _, _ in found for name, entry in files.items()}
            bytes_written = sum(count for _, count, _ in found)
            failure = next((error for _, _, error in found if error is not None), None)
        try:
            if failure is not None:
                raise failure
            made = on_first(ranks, lambda: self._finish(temporary, folder, frames, written))
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise OSError(error.errno, error.strerror, str(folder)) from error
        self._newest = made if ranks is None else ranks.from_first(made)
        kept = {folder / str(self._newest), *earlier[max(0, len(earlier) - self.keep + 1) :]}
        on_first(ranks, lambda: _remove_all_but(folder, kept))
        give_back_freed_memory()
        return f"{bytes_written / 1e6:,.1f} MB in {time.monotonic() - started:.2f} s"

    def _finish(self, temporary: Path, folder: Path, frames: int, files: dict[str, dict[str, Any]]) -> str:
        """Complete a checkpoint whose parts are written; its name."""
        write_manifest(temporary, frames, files)
        sync_folder(temporary)
        made = _free_name(folder, frames, after=self._newest)
        temporary.rename(made)
        sync_folder(folder)
        return made.name

    def _earlier(self, folder: Path) -> list[Path]:
        """The checkpoints of this run, oldest first."""
        newest = (-1, 0) if self._newest is None else order(self._newest)
        return [path for path in checkpoints_in(folder) if order(path.name) <= newest]


class _Writer:
    """Writes the parts of a state to a folder; pages that have not changed are linked from another checkpoint.

    Args:
        folder: of the new checkpoint.
        source: an earlier checkpoint of the run, or None.
    """

    def __init__(self, folder: Path, source: Path | None) -> None:
        self.files: dict[str, dict[str, Any]] = {}
        self.bytes_written = 0
        self._folder, self._source = folder, source
        try:
            self._earlier = read_manifest(source)["files"] if source is not None else {}
        except ValueError:  # it is damaged, or has another format
            self._earlier = {}

    def write(self, part: str, content: Any) -> None:
        """Write ``<part>.pt``, and its pages beside it."""
        self._put(f"{part}.pt", self._without_pages(part, content))

    def _without_pages(self, place: str, content: Any) -> Any:
        """Write the pages, and return the content with descriptions in their place."""
        if isinstance(content, Pages):
            pages = {f"{place}.{page:06}.pt": page for page in content.numbers()}
            for name, page in pages.items():
                self._write_page(name, content, page)
            written = content.written.clone()
            return {PAGES: place, "rows_per_page": content.rows_per_page, "written": written, "clock": content.clock}
        if isinstance(content, dict):
            return {key: self._without_pages(f"{place}.{key}", value) for key, value in content.items()}
        return content

    def _write_page(self, name: str, pages: Pages, page: int) -> None:
        version = int(pages.written[page])
        known = self._earlier.get(name, {})
        if known.get("version") == version and self._link(name):
            self.files[name] = known
        else:
            self._put(name, pages.read(page))
            self.files[name]["version"] = version

    def _link(self, name: str) -> bool:
        assert self._source is not None
        try:
            os.link(self._source / name, self._folder / name)
        except OSError:  # a file system without links, or the file is gone
            return False
        return True

    def _put(self, name: str, content: Any) -> None:
        self.files[name] = write_durably(self._folder / name, partial(torch.save, content))
        self.bytes_written += self.files[name]["bytes"]


OWN = ("run", "collector", "replay")
"""The parts that every rank writes."""


def part_of(part: str, rank: int) -> str:
    """The name of a rank's own part; rank 0's is that of a run of one process.

    >>> part_of("replay", 0), part_of("replay", 2)
    ('replay', 'replay-2')
    """
    return f"{part}-{rank}" if rank else part


PAGES = "pages of"
"""The key of a description that stands for pages."""


def _temporary(folder: Path) -> Path:
    """A new folder in which a checkpoint is written."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".new-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    return temporary


def _free_name(folder: Path, frames: int, *, after: str | None) -> Path:
    """The name of a new checkpoint of this frame, with a number if the frame has one already."""
    number = 0 if after is None or order(after)[0] != frames else order(after)[1] + 1
    path = folder / (f"{frames:012}-{number}" if number else f"{frames:012}")
    if path.exists():  # of another run, or damaged
        _remove(path)
    return path


def _remove_all_but(folder: Path, kept: set[Path]) -> None:
    for path in folder.iterdir():
        if path not in kept and (path.name.startswith(".") or CHECKPOINT.fullmatch(path.name)):
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a checkpoint: its name first, so that no half-removed folder looks like one."""
    hidden = path if path.name.startswith(".") else path.with_name(f".old-{path.name}")
    if hidden is not path:
        shutil.rmtree(hidden, ignore_errors=True)
        path.rename(hidden)
    (hidden / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(hidden, ignore_errors=True)
