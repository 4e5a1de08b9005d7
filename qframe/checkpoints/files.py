"""The files of a checkpoint: a manifest of sizes and checksums, and what makes a file last through a crash."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

FORMAT = 2
"""The version of a checkpoint's layout; another one is refused with its number. 1 was a single file, ``last.pt``."""
MANIFEST = "manifest.json"


class Damaged(ValueError):
    """A checkpoint that is not as it was written."""


def checksum(content: bytes) -> str:
    """128 bits of BLAKE2b: any flipped bit shows."""
    return _new_hash(content).hexdigest()


def _new_hash(content: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(content, digest_size=16)


class WatchedFile:
    """A file that is written once from its start to its end, measured as it is: a content need not be there twice."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash, self._size = file, _new_hash(), 0
        self._error: OSError | None = None

    def write(self, part: bytes | memoryview) -> int:
        """Append a part; ``told`` raises what the disk says to it, as ``torch.save`` may raise something else then."""
        self._hash.update(part)
        self._size += len(part)
        if self._error is None:
            try:
                self._file.write(part)
            except OSError as error:
                self._error = error.with_traceback(None)  # or torch's writer would keep all frames below, and the run
        return len(part)

    def flush(self) -> None:
        """Nothing: who opened the file does."""

    def told(self) -> dict[str, Any]:
        """What the manifest says of what was written.

        Raises:
            OSError: it was not.
        """
        if self._error is not None:
            raise self._error
        return {"bytes": self._size, "checksum": self._hash.hexdigest()}


def write_durably(path: Path, write: Callable[[WatchedFile], object]) -> dict[str, Any]:
    """Have ``write`` write a file and wait until the disk has it; what the manifest says of it."""
    with path.open("wb") as file:
        watched = WatchedFile(file)
        write(watched)
        told = watched.told()
        file.flush()
        os.fsync(file.fileno())
    return told


def sync_folder(path: Path) -> None:
    """Wait until the disk has the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_manifest(folder: Path, frames: int, files: Mapping[str, dict[str, Any]]) -> None:
    """Write the manifest: the last file of a checkpoint."""
    content = _rendered({"format": FORMAT, "frames": frames, "files": dict(files)})
    write_durably(folder / MANIFEST, lambda file: file.write(content))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        Damaged: it is missing, or not as it was written.
        ValueError: it is of another format.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
        manifest = json.loads(text)
        content = {key: manifest[key] for key in ("format", "frames", "files")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{MANIFEST}: {type(error).__name__}") from error
    if _rendered(content) != text:
        raise Damaged(f"{MANIFEST}: its checksum is another")
    if not _is_listing(content["files"]):
        raise Damaged(f"{MANIFEST}: no list of files")
    if any(Path(name).name != name for name in content["files"]):
        raise Damaged(f"{MANIFEST}: a file outside")
    if content["format"] != FORMAT:
        raise ValueError(f"expected a checkpoint of format {FORMAT} at {folder}, got format {content['format']}")
    return content


def _is_listing(files: Any) -> bool:
    """Whether it says of every file how long it is and what its checksum is."""
    if not isinstance(files, dict) or not files:
        return False
    return all(isinstance(told, dict) and told.keys() >= {"bytes", "checksum"} for told in files.values())


def read_checked(folder: Path, name: str, files: Mapping[str, dict[str, Any]]) -> bytes:
    """The content of a file that the manifest names.

    Raises:
        Damaged: it is missing, or not as it was written.
    """
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise Damaged(f"{name}: {error.strerror}") from error
    expected = files[name]
    if len(content) != expected["bytes"]:
        raise Damaged(f"{name}: expected {expected['bytes']:,} bytes, got {len(content):,}")
    if checksum(content) != expected["checksum"]:
        raise Damaged(f"{name}: its checksum is another")
    return content


def _rendered(content: dict[str, Any]) -> bytes:
    """The manifest's bytes: read and rendered again they are the same, or something has changed them."""
    plain = json.dumps(content, indent=1).encode()
    return json.dumps({**content, "checksum": checksum(plain)}, indent=1).encode()
