"""Files that are whole or absent: written under a temporary name, synced, then renamed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from common.errors import QuadloopError

MAX_JSON_BYTES = 16 * 2**20

_BLOCK_BYTES = 1 << 20
_LEFT_BEHIND = re.compile(r"\..+\.\d+\.tmp")


class FileExistsAlreadyError(QuadloopError):
    """The target exists and overwriting was not asked for, or is to be a directory and is a file."""


@contextmanager
def whole_or_absent(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`, on failure removed.

    An OSError, of a library too that leaves out the name or tells that of the temporary file, names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a directory, which no file takes the place of", str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary), temporary):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_left_behind(directory: Path) -> None:
    """Delete the temporary files in `directory` of writers that were killed. The caller knows that nobody writes there now."""
    for entry in directory.iterdir() if directory.is_dir() else ():
        if _LEFT_BEHIND.fullmatch(entry.name) and entry.is_file():
            entry.unlink()


def files_below(directory: Path, ending: str) -> list[Path]:
    """Files in `directory` or below whose names end so, sorted.

    PermissionError for a folder that may not be looked into, FileNotFoundError for a link to a file that is not there. Linked folders are
    gone into, each folder once: data sets are put together from links.
    """
    found: list[Path] = []
    visited: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(directory, onerror=_refuse_closed, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:
            subfolders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        subfolders.sort()
        paths = [Path(folder, name) for name in names if name.endswith(ending)]
        _refuse_broken_links(paths)
        found += filter(Path.is_file, paths)
    return sorted(found)


def _refuse_broken_links(paths: Iterable[Path]) -> None:
    """Raise on a link to nowhere, which stands for a file that is missing. A file that vanished meanwhile is ignored."""
    for path in paths:
        if path.is_symlink() and not path.exists():
            raise FileNotFoundError(errno.ENOENT, "is a link to a file that is not there; mend or remove it", str(path))


def _refuse_closed(error: OSError) -> None:
    """Raise on a folder that we may not read: its files would be missing without a word. One that vanished meanwhile is ignored."""
    if isinstance(error, PermissionError):
        raise error


@contextmanager
def one_at_a_time(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Work on `path` alone: whoever else asks for it, in another process too, says so by `waiting` and waits. A process that dies gives
    it back.

    An empty file `.<name>.lock` beside `path` stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("ab") as lock:
        if not hold(lock):
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def hold(lock: IO[bytes] | int) -> bool:
    """Whether this open file is now held by nobody but us, until it is closed or this process ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sync(path: Path) -> None:
    """fsync a file or a directory: without the directory's own sync a rename may be lost on power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with whole_or_absent(path) as temporary:
        temporary.write_bytes(content)


def read_json(path: Path) -> Any:
    """The content of a JSON file. OSError if it cannot be read, ValueError if it is no JSON, holds a number that is not finite, which
    `write_json` could not write again, or is larger than 16 MiB.
    """
    with path.open("rb") as file:
        content = file.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise ValueError(f"larger than {MAX_JSON_BYTES:,} bytes")
    try:
        return json.loads(content, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with full float precision, whole or not at all. NaN and infinity are refused."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def refuse_to_overwrite(path: Path, force: bool) -> None:
    """Raise FileExistsAlreadyError if `path` exists and `force` is not set."""
    if path.exists() and not force:
        raise FileExistsAlreadyError(f"{path} exists; choose another --out or add --force")


def refuse_to_fill(directory: Path, names: Iterable[str], force: bool) -> None:
    """Raise FileExistsAlreadyError if `directory` cannot be one, or if a file of these names is in it and `force` is not set.

    QuadloopError if nothing may be written there: better told now than when all is found.
    """
    there = next(place for place in (directory, *directory.absolute().parents) if place.exists())
    if not there.is_dir():
        raise FileExistsAlreadyError(f"{there} is a file, and no directory can be made of it; choose another --out")
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        raise QuadloopError(f"{there} may not be written to; choose another --out")
    for name in names:
        refuse_to_overwrite(directory / name, force)


def sha256_of_bytes(content: bytes) -> str:
    """Hex sha256 of a byte string."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, which may be more than fit into memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
