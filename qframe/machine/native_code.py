"""C++ files that are compiled on this machine, and cached for later runs."""

import atexit
import ctypes
import errno
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from functools import cache
from pathlib import Path

CACHE_VARIABLE = "QFRAME_CACHE_DIR"
FLAGS = ("-O2", "-shared", "-fPIC", "-ffp-contract=off")  # no fused multiply-add: NumPy rounds both
SECONDS = 60


def cache_dir() -> Path:
    """Folder of compiled code: ``$QFRAME_CACHE_DIR``, else ``qframe`` in the user's cache folder.

    In a folder of another user it is one of this user's own: code that others compiled is not run. If it cannot be
    written to, it is a temporary folder of this process, with one warning.

    Raises:
        OSError: there is no temporary folder either.
    """
    return _writable(*map(os.environ.get, (CACHE_VARIABLE, "XDG_CACHE_HOME", "HOME")))


@cache
def _writable(chosen: str | None, base: str | None, home: str | None) -> Path:
    try:
        folder = Path(chosen or Path(base or Path.home() / ".cache", "qframe"))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _owner(folder) != os.geteuid():
            folder /= f"user-{os.geteuid()}"
            folder.mkdir(mode=0o700, exist_ok=True)
            if _owner(folder) != os.geteuid():
                raise PermissionError(errno.EACCES, f"{folder} belongs to another user")
        tempfile.TemporaryFile(dir=folder).close()
        return folder
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
        reason = getattr(error, "strerror", None) or str(error).rstrip(".").lower()
        reason += f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
        temporary = Path(tempfile.mkdtemp(prefix="qframe-"))
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        remedy = f"set {CACHE_VARIABLE} to a folder that can be written to"
        warnings.warn(f"compiled code cannot be kept for later runs: {reason}; {remedy}", stacklevel=2)
        return temporary


def _owner(path: Path) -> int:
    return path.stat().st_uid


def compiler() -> str:
    """The C++ compiler's name: ``$CXX``, else ``g++``."""
    return os.environ.get("CXX") or "g++"


def missing_compiler() -> str | None:
    """A message if there is no C++ compiler, else None."""
    if shutil.which(compiler()) is not None:
        return None
    return f"compile=true needs a C++ compiler, but {compiler()!r} is missing; install g++ or set compile=false"


def is_whole(library: Path) -> bool:
    """Whether a file matches the checksum in its name: the loader does not notice a flipped bit."""
    return library.stem.endswith(checksum(library))


def checksum(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def processor() -> str:
    """Model and features of this processor: several machines may share a home directory."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.is_file() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {features}"


def library(source: Path, *, links: tuple[str, ...] = (), **constants: int) -> ctypes.CDLL | None:
    """The functions of a small C++ file, compiled unless a cached library exists; None if that is not possible.

    Args:
        source: the file.
        links: compiler arguments that name other libraries.
        **constants: its macros and their values.
    """
    flags = (*FLAGS, *(f"-D{name}={number}" for name, number in constants.items()))
    key = source.read_bytes() + f"{flags} {links} {processor()}".encode()
    try:
        place = cache_dir() / f"{source.stem}-{hashlib.sha256(key).hexdigest()[:32]}"
        cached = [file for file in place.parent.glob(f"{place.name}-*.so") if is_whole(file)]
        return ctypes.CDLL(str(cached[0] if cached else _compiled(source, place, flags, links)))
    except (OSError, RuntimeError, subprocess.SubprocessError):  # read-only folder, no compiler, or failed load
        return None


def _compiled(source: Path, place: Path, flags: tuple[str, ...], links: tuple[str, ...]) -> Path:
    made = Path(f"{place}.{os.getpid()}")  # another process may be compiling it too
    try:
        command = [compiler(), *flags, "-o", str(made), str(source), *links]
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
        return made.rename(f"{place}-{checksum(made)}.so")
    finally:
        made.unlink(missing_ok=True)
