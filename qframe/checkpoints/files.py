"""The files of a checkpoint: their format, a manifest of sizes and checksums, and writes that survive a crash."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

FORMAT = 4
"""The format of run folders and their checkpoints. Format 1 kept a checkpoint in one file, ``last.pt``; format 3
renamed the classes that configs name, and with them the networks' parameters; format 4 keeps several networks, of which
the best is chosen at the end."""
READERS = {1: "no released qframe reads it", 2: "qframe 0.1.0 reads it", 3: "no released qframe reads it"}
MANIFEST = "manifest.json"


class Damaged(ValueError):
    """A checkpoint that differs from what was written."""


def other_format(path: Path, number: object) -> str:
    """The message that refuses a run folder or checkpoint of another format.

    >>> other_format(Path("outputs/run"), 2)
    'outputs/run has format 2, but this version reads format 4; qframe 0.1.0 reads it'
    """
    reader = READERS.get(number, "a newer qframe may read it") if isinstance(number, int) else "its writer is unknown"
    return f"{path} has format {number}, but this version reads format {FORMAT}; {reader}"


def config_format(config: Any) -> int:
    """The format of a run folder whose ``config.yaml`` holds this content."""
    if isinstance(config, Mapping):
        target = str(config.get("_target_", ""))
        is_old = target.startswith(("qframe.runner.", "qframe.modules.", "qframe.data."))
        return 2 if is_old or any(config_format(value) < FORMAT for value in config.values()) else FORMAT
    return FORMAT


def checksum(content: bytes) -> str:
    """The BLAKE2b hash of 128 bits, which any flipped bit changes."""
    return _new_hash(content).hexdigest()


def _new_hash(content: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(content, digest_size=16)


class WatchedFile(BinaryIO):
    """A file whose size and checksum are computed as it is written, so that its content need not be held in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash, self._size = file, _new_hash(), 0
        self._error: OSError | None = None

    def write(self, part: Any) -> int:
        """Append bytes. ``measured`` raises a disk error: raised here, ``torch.save`` would report another one."""
        self._hash.update(part)
        self._size += len(part)
        if self._error is None:
            try:
                self._file.write(part)
            except OSError as error:
                self._error = error.with_traceback(None)  # its traceback would keep the run alive in torch's writer
        return len(part)

    def flush(self) -> None:
        """Do nothing: whoever opened the file flushes it."""

    def measured(self) -> dict[str, Any]:
        """The size and the checksum of what was written.

        Raises:
            OSError: a part could not be written.
        """
        if self._error is not None:
            raise self._error
        return {"bytes": self._size, "checksum": self._hash.hexdigest()}


def write_durably(path: Path, write: Callable[[WatchedFile], object]) -> dict[str, Any]:
    """Let ``write`` write a file, and wait until it is on disk.

    Returns:
        Its entry in the manifest.
    """
    with path.open("wb") as file:
        watched = WatchedFile(file)
        write(watched)
        entry = watched.measured()
        file.flush()
        os.fsync(file.fileno())
    return entry


def sync_folder(path: Path) -> None:
    """Wait until a folder's entries are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_manifest(folder: Path, frames: int, files: Mapping[str, dict[str, Any]]) -> None:
    """Write the manifest, the last file of a checkpoint."""
    content = _rendered({"format": FORMAT, "frames": frames, "files": dict(files)})
    write_durably(folder / MANIFEST, lambda file: file.write(content))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        Damaged: it is missing, or differs from what was written.
        ValueError: it has another format.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
        manifest = json.loads(text)
        content = {key: manifest[key] for key in ("format", "frames", "files")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{MANIFEST}: {type(error).__name__}") from error
    if _rendered(content) != text:
        raise Damaged(f"{MANIFEST}: the checksum does not match")
    if not _is_listing(content["files"]):
        raise Damaged(f"{MANIFEST}: no list of files")
    if any(Path(name).name != name for name in content["files"]):
        raise Damaged(f"{MANIFEST}: a file outside the checkpoint")
    if content["format"] != FORMAT:
        raise ValueError(other_format(folder, content["format"]))
    return content


def _is_listing(files: Any) -> bool:
    """Whether every file has a size and a checksum."""
    if not isinstance(files, dict) or not files:
        return False
    return all(isinstance(entry, dict) and entry.keys() >= {"bytes", "checksum"} for entry in files.values())


def read_checked(folder: Path, name: str, files: Mapping[str, dict[str, Any]]) -> bytes:
    """The content of a file that the manifest names.

    Raises:
        Damaged: it is missing, or differs from what was written.
    """
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise Damaged(f"{name}: {error.strerror}") from error
    expected = files[name]
    if len(content) != expected["bytes"]:
        raise Damaged(f"{name}: {len(content):,} bytes instead of {expected['bytes']:,}")
    if checksum(content) != expected["checksum"]:
        raise Damaged(f"{name}: the checksum does not match")
    return content


def _rendered(content: dict[str, Any]) -> bytes:
    """The bytes of a manifest with its own checksum: parsed and rendered again, they are the same unless damaged."""
    plain = json.dumps(content, indent=1).encode()
    return json.dumps({**content, "checksum": checksum(plain)}, indent=1).encode()
